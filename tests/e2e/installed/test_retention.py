"""ImageRetentions on two real nodes, from the policy that a person applies to the blobs on the volume, and back.

The walk-through of issue 6, with the engine in its Jobs' pods.
"""

import pytest

from tests.registry_content import pull, push
from tests.retained_room import RetainedRoom

pytestmark = pytest.mark.nodes


def test_a_named_image_goes_and_the_others_stay(retained: RetainedRoom) -> None:
    url = retained.url
    gone = push(url, "boke/wordpress", "latest", seed=1)
    stay = {name: push(url, name, tag, seed=2) for name, tag in (("web/tomcat", "v1"), ("db/mysql", "5.7"))}
    retained.retain("clean", delete=["boke/wordpress:latest"], undoWindow="0s")
    last = retained.await_run("clean", "Done")
    assert last["tagsDeleted"] == 1
    assert last["bytesFreed"] > 0
    assert retained.repositories() == ["db/mysql", "web/tomcat"]
    assert pull(url, "web/tomcat", "v1") == stay["web/tomcat"]
    assert pull(url, "db/mysql", "5.7") == stay["db/mysql"]
    assert not retained.has_blob(gone)
    assert all(map(retained.has_blob, stay.values()))
    retained.room.delete("imageretention", "clean")


def test_twenty_tags_wait_for_approval_leave_five_and_come_back(retained: RetainedRoom) -> None:
    url = retained.url
    digests = {f"v{number:02}": push(url, "boke/blog", f"v{number:02}", seed=number) for number in range(1, 21)}
    retained.retain("keep", rules=[{"name": "newest", "repositories": ["boke/blog"], "keep": {"last": 5}}])
    waiting = retained.await_run("keep", "AwaitingApproval")
    assert waiting["tagsDeleted"] == 15
    assert retained.tags("boke/blog") == sorted(digests)
    assert "v20" in (planned := retained.command("plan", "keep"))
    assert "among the last 5 (keep/newest)" in planned
    retained.command("approve", "keep")
    done = retained.await_run("keep", "Done", after=waiting["job"])
    assert done["tagsDeleted"] == 15
    assert retained.tags("boke/blog") == [f"v{number:02}" for number in range(16, 21)]
    assert not retained.has_blob(digests["v01"])
    retained.room.kubectl("delete", "job", done["job"])
    assert "- v01  delete: " in retained.command("plan", "keep", done["run"]), "read by a Job, as the log is gone"

    retained.command("undo", "keep")
    retained.await_undo("keep", "Done")
    assert retained.tags("boke/blog") == sorted(digests)
    assert pull(url, "boke/blog", "v01") == digests["v01"]
    push(url, "boke/blog", "v21", seed=21)
    retained.room.delete("imageretention", "keep")
