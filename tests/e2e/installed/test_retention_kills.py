"""Runs that are disturbed on real nodes: at the end pushes go on, nothing is half gone, and the status says why.

The end of the operator itself, and of what is around a run, is proved on a control plane, in
test_retention_gate.py and test_retention_interrupted.py.
"""

import json
import os
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from inotify_simple import INotify, flags

from regkeeper import kube, naming
from regkeeper.resources.lease import STAGE
from tests.e2e.installed.conftest import WORKER
from tests.registry_content import pull, push
from tests.retained_room import BY_HAND, RUN, RetainedRoom
from tests.room import SOON
from tests.waiting import wait_for

pytestmark = pytest.mark.nodes

USER = 65532
REPOSITORY = "disturbed/app"
TAGS = 60
"""So many that a run takes a while to move them."""


def lease(retained: RetainedRoom) -> dict[str, Any]:
    return retained.room.need("lease", naming.lock_name(naming.claim_name(retained.name)))


def await_stage(retained: RetainedRoom, stage: str) -> None:
    """Wait until a run has come so far."""

    def has_come() -> bool:
        lock = retained.room.get("lease", naming.lock_name(naming.claim_name(retained.name)))
        return lock is not None and bool(lock["metadata"].get("annotations", {}).get(STAGE) == stage)

    wait_for(has_come, RUN, lambda: f"a run to be {stage}: {retained.story_of_jobs()}")


def is_done(job: dict[str, Any]) -> bool:
    """Whether a Job has ended and is not held: one that waits, as to put back what was moved, is about to switch."""
    has_ended = any(each["type"] in ("Complete", "Failed") for each in job.get("status", {}).get("conditions", ()))
    return has_ended and naming.RUN_FINALIZER not in job["metadata"].get("finalizers", ())


def require_nothing_left(retained: RetainedRoom) -> None:
    """Require that no run has the lock or waits for it, and that nothing of what one was told is there."""

    def left() -> list[str]:
        found = [] if "holderIdentity" not in lease(retained)["spec"] else ["the lock"]
        for kind, selector in ((kube.CONFIG_MAP, naming.SNAPSHOT_LABEL), (kube.JOB, naming.REGISTRY_LABEL)):
            found += [
                f"{kind.kind} {body['metadata']['name']}"
                for body in retained.room.listed(kind, f"{selector}={retained.name}")
                if "binaryData" in body or (kind == kube.JOB and not is_done(body))
            ]
        return found

    wait_for(lambda: not left(), RUN, lambda: f"{left()} to go: {retained.story_of_jobs()}")
    retained.await_pushes()


def engine_of(pod_uid: str) -> int:
    """Process id, as this machine sees it, of the engine that waits in the second container of a run's pod."""

    def found() -> int:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
                if b"job" in words and b"run" in words and pod_uid in (process / "cgroup").read_text():
                    return int(process.name)
            except (FileNotFoundError, ProcessLookupError):
                continue
        return 0

    return wait_for(found, RUN, f"the engine of pod {pod_uid}")


def folder_of_engine(retained: RetainedRoom, name: str) -> Path:
    """A folder of what the engine keeps on the volume, made as the engine makes it if it is not there."""
    wanted = retained.layout / ".regkeeper" / name
    for folder in (wanted.parent, wanted):
        if not folder.exists():
            folder.mkdir()
            os.chown(folder, USER, USER)
    return wanted


def kill_in_the_middle(retained: RetainedRoom, engine: int) -> None:
    """Kill the engine as soon as it has moved something into its quarantine."""
    quarantine = folder_of_engine(retained, "quarantine")
    with closing(INotify()) as changes:
        watch = changes.add_watch(str(quarantine), flags.CREATE)
        while True:
            events = changes.read(timeout=RUN * 1000)
            assert events, "nothing was moved"
            for event in events:
                if event.wd != watch:
                    os.kill(engine, signal.SIGKILL)
                    return
                # It must not have moved everything before this is seen.
                os.kill(engine, signal.SIGSTOP)
                changes.add_watch(str(quarantine / event.name), flags.MOVED_TO)
                os.kill(engine, signal.SIGCONT)


def kill_at_the_end(retained: RetainedRoom, engine: int) -> None:
    """Kill the engine as soon as its answer is on the volume, before it has given it to kubelet."""
    answers = folder_of_engine(retained, "answers")
    with closing(INotify()) as changes:
        changes.add_watch(str(answers), flags.MOVED_TO)
        assert changes.read(timeout=RUN * 1000), "it did not answer"
        os.kill(engine, signal.SIGKILL)


def pod_of_run(retained: RetainedRoom, job: str) -> dict[str, Any]:
    return wait_for(
        lambda: retained.room.listed(kube.POD, f"job-name={job}"),
        RUN,
        lambda: f"a pod of {job}: {retained.story_of_jobs()}",
    )[0]


def push_tags(retained: RetainedRoom) -> dict[str, str]:
    """Push what runs are to delete, and one tag that they keep."""
    return {f"v{number:02}": push(retained.url, REPOSITORY, f"v{number:02}", seed=number) for number in range(TAGS)}


def keep_one(**spec: Any) -> dict[str, Any]:
    rule = {"name": "newest", "repositories": [REPOSITORY], "keep": {"last": 1}}
    return {"schedule": BY_HAND, "rules": [rule], "limits": {"maxDeletedShare": "100%"}, **spec}


def journal(retained: RetainedRoom) -> str:
    """The last line of the last run's journal; empty if there was no run."""
    folder = retained.layout / ".regkeeper/journals"
    files = sorted(folder.iterdir()) if folder.exists() else []
    return files[-1].read_text().rstrip("\0\n").rpartition("\n")[2] if files else ""


def test_an_engine_that_is_killed_in_the_middle_is_rolled_back_at_once(retained: RetainedRoom) -> None:
    """retention.md: "An open journal (crash, kill) is rolled back by the next command that changes": the operator makes
    one, as no schedule may bring another run for a year.
    """
    digests = push_tags(retained)
    retained.retain("killed", **keep_one())
    retained.run_now("killed", "killed-1")
    kill_in_the_middle(retained, engine_of(pod_of_run(retained, "killed-1")["metadata"]["uid"]))
    assert json.loads(journal(retained))["state"] == "open", "it was killed too late"
    retained.await_run("killed", "Unknown")
    assert "the next run puts back" in retained.last_run("killed")["message"]

    wait_for(lambda: '"rolled-back"' in journal(retained), RUN, lambda: f"its end: {retained.story('killed')}")
    require_nothing_left(retained)
    assert retained.tags(REPOSITORY) == sorted(digests)
    for tag, digest in digests.items():
        assert pull(retained.url, REPOSITORY, tag) == digest
    retained.room.delete("imageretention", "killed")


@pytest.mark.rare
def test_an_engine_that_is_killed_at_its_end_has_done_what_a_later_job_says(retained: RetainedRoom) -> None:
    """retention.md: "A lost answer is repeated by the next Job from the volume": here by a purge, made at once."""
    digests = push_tags(retained)
    retained.retain("answered", **keep_one())
    retained.run_now("answered", "answered-1")
    kill_at_the_end(retained, engine_of(pod_of_run(retained, "answered-1")["metadata"]["uid"]))

    def last() -> dict[str, Any]:
        found = retained.last_run("answered")
        return found if found["outcome"] not in ("Running", "Unknown") else {}

    told = wait_for(last, RUN, lambda: f"what came of it: {retained.story('answered')}")
    assert (told["job"], told["outcome"], told["tagsDeleted"]) == ("answered-1", "Done", TAGS - 1)
    assert "its answer was lost, and repeated later" in told["message"], "it was killed too late"
    require_whole(retained, digests)
    assert retained.tags(REPOSITORY) == [max(digests)]
    retained.room.delete("imageretention", "answered")


def restart_kubelet(retained: RetainedRoom, job: str) -> None:
    retained.room.cluster.restart_kubelet(WORKER)


def restart_node(retained: RetainedRoom, job: str) -> None:
    retained.room.cluster.kill_node(WORKER)
    retained.room.cluster.start_node(WORKER)


def delete_pod(retained: RetainedRoom, job: str) -> None:
    retained.room.kubectl("delete", "pods", f"--selector=job-name={job}", "--wait=false")


def restart_what_is_around(retained: RetainedRoom, job: str) -> None:
    """And let the schedule make a second Job meanwhile."""
    retained.room.cluster.restart_api_server()
    retained.run_now("disturbed", f"{job}-more")
    restart_kubelet(retained, job)


Disturbance = Callable[[RetainedRoom, str], None]

DISTURBED: dict[str, tuple[str, Disturbance, tuple[str, ...]]] = {
    "pod-while-it-plans": ("Planning", delete_pod, ("Failed",)),
    "pod-while-it-deletes": ("Running", delete_pod, ("Failed", "Done")),
    "restarts": ("Switching", restart_what_is_around, ("Done", "NothingToDo")),
    "kubelet-while-it-deletes": ("Running", restart_kubelet, ("Done",)),
    "node": ("Running", restart_node, ("Unknown", "Failed", "Done")),
}
"""What happens, when it does, and how the run may end: some ends come a moment before it, or after."""

OFTEN = "restarts"
"""What each run of CI tries, three disturbances in one; the others take half a minute each and find little else."""


def require_whole(retained: RetainedRoom, digests: dict[str, str]) -> None:
    """Require that nothing of a run is left, that it deleted all that it should or nothing, and that all else pulls."""
    require_nothing_left(retained)
    wait_for(lambda: '"open"' not in journal(retained), RUN, lambda: f"a roll-back: {retained.story_of_jobs()}")
    require_nothing_left(retained)
    left = retained.tags(REPOSITORY)
    assert left in (sorted(digests), [max(digests)])
    for tag in left:
        assert pull(retained.url, REPOSITORY, tag) == digests[tag]


@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=() if what == OFTEN else pytest.mark.rare) for what in DISTURBED]
)
def test_whatever_disturbs_a_run_pushes_go_on_and_nothing_is_half_gone(retained: RetainedRoom, what: str) -> None:
    stage, disturb, outcomes = DISTURBED[what]
    digests = push_tags(retained)
    job = f"disturbed-{what}"
    retained.retain("disturbed", **keep_one())
    retained.run_now("disturbed", job)
    await_stage(retained, stage)
    disturb(retained, job)
    retained.await_run("disturbed", *outcomes)
    require_whole(retained, digests)
    retained.room.delete("imageretention", "disturbed")


@pytest.mark.rare
@pytest.mark.parametrize("stage", ["Switching", "Running"])
def test_a_run_ends_with_its_policy(retained: RetainedRoom, stage: str) -> None:
    digests = push_tags(retained)
    retained.retain("deleted", **keep_one())
    retained.run_now("deleted", "deleted-1")
    await_stage(retained, stage)
    retained.room.delete("imageretention", "deleted")
    require_whole(retained, digests)
    # The garbage collector of a new cluster hears of our kinds within half a minute.
    wait_for(lambda: retained.room.get("job", "deleted-1") is None, SOON, "its Job to go with it")
    if stage == "Switching":
        assert retained.tags(REPOSITORY) == sorted(digests)


@pytest.mark.rare
@pytest.mark.parametrize("stage", ["Switching", "Running"])
def test_a_run_ends_with_its_registry_and_another_one_on_its_volume_takes_pushes(
    retained: RetainedRoom, stage: str
) -> None:
    room, name = retained.room, retained.name
    digests = push_tags(retained)
    retained.retain("orphaned", **keep_one())
    retained.run_now("orphaned", "orphaned-1")
    await_stage(retained, stage)
    registry = room.need("registry", name)
    room.delete("registry", name)
    last = retained.await_outcome("orphaned", "Failed", "Unknown", "Done")
    room.apply({**registry, "metadata": {"name": name}})
    room.await_serving(name)
    require_whole(retained, digests)
    assert retained.last_run("orphaned")["uid"] == last["uid"], "it began anew"
    room.delete("imageretention", "orphaned")
