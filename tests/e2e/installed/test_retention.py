"""ImageRetentions on two real nodes, from the policy that a person applies to the blobs on the volume, and back.

The walk-through of issue 6, with the engine in its Jobs' pods.
"""

from typing import Any

import pytest

from tests.pulls import Pulls
from tests.registry_content import pull, push, refuses_pushes
from tests.retained_room import RUN, RetainedRoom
from tests.waiting import wait_for

pytestmark = pytest.mark.nodes

LAG = 8
"""Seconds that pulls may fail longer than pods say: whole seconds, a node's kube-proxy, the last pull that hung."""


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def test_a_named_image_goes_and_the_others_stay(retained: RetainedRoom) -> None:
    """retention.md: "With one replica the switch replaces the pod: pulls fail …, measured and shown". That it is for at
    most 10 s, tests/bench/gate.py expects: it depends on what else the machine does. Issue 6: "a push during ReadOnly
    gets 405 and succeeds after".
    """
    url = retained.url
    gone = push(url, "boke/wordpress", "latest", seed=1)
    stay = {name: push(url, name, tag, seed=2) for name, tag in (("web/tomcat", "v1"), ("db/mysql", "5.7"))}
    retained.retain("clean", delete=["boke/wordpress:latest"], undoWindow="0s")
    with Pulls([url], "web/tomcat", "v1").going_on() as pulls:
        wait_for(lambda: refuses_pushes(url), RUN, lambda: f"a push to be refused: {retained.story('clean')}")
        retained.await_run("clean", "Done")
        last = wait_for(
            lambda: resumed(retained, "clean"), RUN, lambda: f"what pulls waited: {retained.story('clean')}"
        )
        served = pulls.count
        wait_for(lambda: pulls.count > served, RUN, lambda: f"pulls to succeed again: {pulls.failures}")
    assert last["tagsDeleted"] == 1
    assert last["bytesFreed"] > 0
    # What is told begins before the first pull fails. Where kube-proxy lags, both outages seem to be one.
    told = [seconds(last["pullsWaited"]), seconds(last["resumedAfter"])]
    longest = max(told) if len(pulls.outages) > 1 else sum(told) + seconds(last["pushesWaited"])
    assert 0 < max(pulls.outages) <= longest + LAG, (last, pulls.outages)
    listed = retained.repositories()
    assert "boke/wordpress" not in listed
    assert {"db/mysql", "web/tomcat"} <= set(listed)
    assert pull(url, "web/tomcat", "v1") == stay["web/tomcat"]
    assert pull(url, "db/mysql", "5.7") == stay["db/mysql"]
    next_one = push(url, "boke/wordpress", "next", seed=3)
    assert pull(url, "boke/wordpress", "next") == next_one
    assert not retained.has_blob(gone)
    assert all(map(retained.has_blob, stay.values()))
    retained.room.delete("imageretention", "clean")


def resumed(retained: RetainedRoom, name: str) -> dict[str, Any]:
    """The last run, once its status says when the registry served as before."""
    last = retained.last_run(name)
    return last if "resumedAfter" in last else {}


def times(retained: RetainedRoom, repository: str, digests: dict[str, str]) -> list[int]:
    """When the links of tags and the data of their manifests were written, in nanoseconds."""
    files = [retained.layout / f"repositories/{repository}/_manifests/tags/{tag}/current/link" for tag in digests]
    return [file.stat().st_mtime_ns for file in (*files, *map(retained.blob, digests.values()))]


def test_twenty_tags_wait_for_approval_leave_five_and_come_back(retained: RetainedRoom) -> None:
    """retention.md: "Undo is done once for a run id; what it brought back is … kept by every later run until the rules
    change"; "File times come back because files are renamed"; "A dry run, and a plan that deletes nothing or awaits
    approval, never switches the registry". Issue 6: "approval carries out only its victims that still are", with pushes
    between.
    """
    url = retained.url
    digests = {f"v{number:02}": push(url, "boke/blog", f"v{number:02}", seed=number) for number in range(1, 21)}
    running = retained.serving_pods()
    retained.retain("keep", rules=[{"name": "newest", "repositories": ["boke/blog"], "keep": {"last": 5}}])
    waiting = retained.await_run("keep", "AwaitingApproval")
    assert waiting["tagsDeleted"] == 15
    assert retained.tags("boke/blog") == sorted(digests)
    assert "v20" in (planned := retained.command("plan", "keep"))
    assert "among the last 5 (keep/newest)" in planned
    assert retained.serving_pods() == running
    # A victim's tag now names an image that stays; and v16 would be a further victim, if v21 counted.
    digests["v03"] = push(url, "boke/blog", "v03", seed=20)
    before = times(retained, "boke/blog", digests)
    newest = push(url, "boke/blog", "v21", seed=21)
    retained.command("approve", "keep")
    done = retained.await_run("keep", "Done", after=waiting["job"])
    assert done["tagsDeleted"] == 14
    assert retained.tags("boke/blog") == ["v03", *(f"v{number:02}" for number in range(16, 22))]
    assert pull(url, "boke/blog", "v21") == newest
    assert not retained.has_blob(digests["v01"])
    retained.room.kubectl("delete", "job", done["job"])
    assert "- v01  delete: " in retained.command("plan", "keep", done["run"]), "read by a Job, as the log is gone"

    retained.command("undo", "keep")
    retained.await_undo("keep", "Done")
    assert retained.tags("boke/blog") == [*sorted(digests), "v21"]
    assert times(retained, "boke/blog", digests) == before
    for digest in digests.values():
        assert pull(url, "boke/blog", digest) == digest

    # With that v16 to v20 are the last five again.
    digests["v21"] = push(url, "boke/blog", "v21", seed=20)
    running = retained.serving_pods()
    retained.run_now("keep", "keep-again")
    kept = retained.await_run("keep", "NothingToDo", after=done["job"])
    assert {"reason": "restored by an undo", "tags": 14} in kept["keptByReason"], retained.story("keep")
    changed = {"name": "newest", "repositories": ["boke/blog"], "keep": {"last": 6}}
    retained.retain("keep", rules=[changed], dryRun=True)
    assert retained.await_run("keep", "DryRun", after=kept["job"])["tagsDeleted"] == 13
    assert retained.tags("boke/blog") == sorted(digests)
    assert retained.serving_pods() == running
    retained.room.delete("imageretention", "keep")
