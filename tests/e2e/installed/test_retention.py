"""ImageRetentions on two real nodes, from the policy that a person applies to the blobs on the volume, and back.

The walk-through of issue 6, with the engine in its Jobs' pods.
"""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.installed.conftest import DIRECTORIES, WORKER
from tests.registry_content import pull, push, takes_pushes
from tests.retention_objects import retention_object
from tests.room import SOON, Room, on_node
from tests.waiting import wait_for

pytestmark = pytest.mark.nodes

NAME = "retained"
AT_ONCE: dict[str, Any] = {"protect": {"youngerThan": "0s"}, "garbage": {"deleteAfter": "0s"}}
"""Nothing stays for being young: CI pushes before it deploys, a test just pushes."""

RUN = 2 * SOON  # seconds; takes 15 on a quiet machine


class RetainedRoom:
    """A Registry on a directory of the worker, and what is in it."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.directory = room.cluster.node(WORKER).root / f"{DIRECTORIES}/{NAME}".lstrip("/")

    def retain(self, name: str, **spec: Any) -> None:
        """Apply an ImageRetention."""
        body = retention_object(name, namespace=self.room.namespace, **{**AT_ONCE, **spec})
        body["spec"]["registryRef"]["name"] = NAME
        self.room.apply(body)

    def await_run(self, name: str, outcome: str, *, after: str = "") -> dict[str, Any]:
        """Wait until a run other than that of the Job `after` has ended so, and its registry takes pushes again."""

        def ended() -> dict[str, Any]:
            status = self.room.need("imageretention", name).get("status") or {}
            last: dict[str, Any] = status.get("lastRun") or {}
            if last.get("outcome", "Running") == "Running" or last["job"] == after:
                return {}
            assert last["outcome"] == outcome, self.story(name)
            return last

        found = wait_for(ended, RUN, lambda: f"{name} to end as {outcome}: {self.story(name)}")
        self.await_pushes()
        return found

    def await_pushes(self) -> None:
        """Wait until the registry takes pushes. While it is being replaced nobody answers."""
        wait_for(lambda: takes_pushes(self.room.url(NAME)), SOON, "the registry to take pushes")

    def story(self, name: str) -> str:
        """What a person would look at."""
        parts = [
            self.room.kubectl("get", "imageretention", name, "--output=yaml"),
            self.room.kubectl("get", "jobs,leases,pods", "--output=wide"),
        ]
        selector = f"--selector=regkeeper.dev/retention={name}"
        parts.append(self.room.kubectl("logs", selector, "--all-containers", "--tail=40", "--ignore-errors"))
        return "\n".join(parts)

    def tags(self, repository: str) -> list[str]:
        """Its tags as the registry lists them."""
        with urllib.request.urlopen(f"{self.room.url(NAME)}/v2/{repository}/tags/list", timeout=10) as answer:
            return sorted(json.load(answer)["tags"] or [])

    def repositories(self) -> list[str]:
        """As the registry lists them."""
        with urllib.request.urlopen(f"{self.room.url(NAME)}/v2/_catalog", timeout=10) as answer:
            found: list[str] = json.load(answer)["repositories"]
            return found

    def has_blob(self, digest: str) -> bool:
        """Whether a blob is where the registry would look for it."""
        algorithm, _, name = digest.partition(":")
        blobs: Path = self.directory / "docker/registry/v2/blobs"
        return (blobs / algorithm / name[:2] / name / "data").exists()

    def command(self, *arguments: str) -> str:
        """Run the command `regkeeper` against this cluster."""
        program = str(Path(sys.executable).with_name("regkeeper"))
        environment = {**os.environ, "KUBECONFIG": str(self.room.cluster.kubeconfig)}
        namespace = f"--namespace={self.room.namespace}"
        done = subprocess.run(
            [program, *arguments, namespace], check=False, capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def a_registry(local_room: Room) -> Iterator[RetainedRoom]:
    """A Registry on a directory of the worker, reached at a port of the nodes."""
    path = f"{DIRECTORIES}/{NAME}"
    local_room.cluster.node_exec(WORKER, ["mkdir", "--parents", path])
    storage = {"local": {"node": WORKER, "path": path}}
    local_room.registry(NAME, storage=storage, access={"nodePort": {"nodes": [WORKER]}}, **on_node(WORKER))
    local_room.await_serving(NAME)
    yield RetainedRoom(local_room)
    local_room.kubectl("delete", "imageretentions", "--all", f"--timeout={SOON}s")
    local_room.delete("registry", NAME)


@pytest.fixture
def retained(a_registry: RetainedRoom) -> RetainedRoom:
    """The same, taking pushes: the run of a test that failed may have left it being replaced."""
    a_registry.await_pushes()
    return a_registry


def test_a_named_image_goes_and_the_others_stay(retained: RetainedRoom) -> None:
    url = retained.room.url(NAME)
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
    url = retained.room.url(NAME)
    digests = {f"v{number:02}": push(url, "boke/blog", f"v{number:02}", seed=number) for number in range(1, 21)}
    retained.retain("keep", rules=[{"name": "newest", "repositories": ["boke/blog"], "keep": {"last": 5}}])
    waiting = retained.await_run("keep", "AwaitingApproval")
    assert waiting["tagsDeleted"] == 15
    assert retained.tags("boke/blog") == sorted(digests)
    retained.command("approve", "keep")
    done = retained.await_run("keep", "Done", after=waiting["job"])
    assert done["tagsDeleted"] == 15
    assert retained.tags("boke/blog") == [f"v{number:02}" for number in range(16, 21)]
    assert not retained.has_blob(digests["v01"])

    retained.command("undo", "keep")

    def undone() -> bool:
        outcome = retained.room.need("imageretention", "keep")["status"].get("undone", {}).get("outcome", "Running")
        assert outcome in ("Running", "Done"), retained.story("keep")
        return bool(outcome == "Done")

    wait_for(undone, RUN, lambda: f"the undo: {retained.story('keep')}")
    retained.await_pushes()
    assert retained.tags("boke/blog") == sorted(digests)
    assert pull(url, "boke/blog", "v01") == digests["v01"]
    push(url, "boke/blog", "v21", seed=21)
