"""A Registry on a real cluster whose images ImageRetentions keep, what is on its volume, and how its runs go."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from regkeeper import naming
from tests.registry_content import takes_pushes
from tests.retention_objects import retention_object
from tests.room import SOON, Room
from tests.waiting import wait_for

AT_ONCE: dict[str, Any] = {"protect": {"youngerThan": "0s"}, "garbage": {"deleteAfter": "0s"}}
"""Nothing stays for being young: CI pushes before it deploys, a test just pushes."""

BY_HAND = "0 0 29 2 *"
"""A schedule that makes no run while a test lasts: its runs are started by hand."""

RUN = 2 * SOON  # seconds; takes 15 on a quiet machine


class RetainedRoom:
    """A Registry on a directory of a node, and what is in it."""

    def __init__(self, room: Room, name: str, *, node: str, path: str) -> None:
        self.room = room
        self.name = name
        self._node = node
        self._path = path

    @property
    def directory(self) -> Path:
        """Where this machine sees what the registry mounts, as long as the node is not booted anew."""
        return self.room.cluster.node(self._node).root / self._path.lstrip("/")

    @property
    def url(self) -> str:
        """Where this machine reaches it."""
        return self.room.url(self.name)

    @property
    def layout(self) -> Path:
        """What every registry's volume has below its root."""
        return self.directory / "docker/registry/v2"

    def retain(self, name: str, **spec: Any) -> None:
        """Apply an ImageRetention."""
        body = retention_object(name, namespace=self.room.namespace, **{**AT_ONCE, **spec})
        body["spec"]["registryRef"]["name"] = self.name
        self.room.apply(body)

    def run_now(self, name: str, job: str) -> None:
        """Start a run as a person does, once the operator has made the CronJob."""
        wait_for(lambda: self.room.get("cronjob", name), SOON, f"the CronJob {name}")
        self.room.kubectl("create", "job", job, f"--from=cronjob/{name}")

    def last_run(self, name: str) -> dict[str, Any]:
        """What the status of an ImageRetention says of its last run."""
        status = self.room.need("imageretention", name).get("status") or {}
        last: dict[str, Any] = status.get("lastRun") or {}
        return last

    def await_run(self, name: str, *outcomes: str, after: str = "") -> dict[str, Any]:
        """Wait until a run other than that of the Job `after` has ended so, and its registry takes pushes again."""
        found = self.await_outcome(name, *outcomes, after=after)
        self.await_pushes()
        return found

    def await_outcome(self, name: str, *outcomes: str, after: str = "") -> dict[str, Any]:
        """Wait until a run other than that of the Job `after` has ended so."""

        def ended() -> dict[str, Any]:
            last = self.last_run(name)
            if last.get("outcome", "Running") == "Running" or last["job"] == after:
                return {}
            assert last["outcome"] in outcomes, self.story(name)
            return last

        return wait_for(ended, RUN, lambda: f"{name} to end as {' or '.join(outcomes)}: {self.story(name)}")

    def await_undo(self, name: str, outcome: str, *, after: str = "") -> dict[str, Any]:
        """Wait until an undo other than that of the Job with the uid `after` has ended so, as `await_run`."""

        def undone() -> dict[str, Any]:
            said: dict[str, Any] = self.room.need("imageretention", name)["status"].get("undone") or {}
            if said.get("outcome", "Running") == "Running" or said["uid"] == after:
                return {}
            assert said["outcome"] == outcome, self.story(name)
            return said

        found = wait_for(undone, RUN, lambda: f"the undo to end as {outcome}: {self.story(name)}")
        self.await_pushes()
        return found

    def await_pushes(self) -> None:
        """Wait until the registry takes pushes. While it is being replaced nobody answers."""
        wait_for(lambda: takes_pushes(self.url), SOON, "the registry to take pushes")

    def plan(self, job: str) -> str:
        """What a run planned, as its log has it."""
        return self.room.kubectl("logs", f"job/{job}", "--container=plan")

    def story(self, name: str) -> str:
        """What a person would look at."""
        selector = f"--selector=regkeeper.dev/retention={name}"
        return "\n".join(
            (
                self.room.kubectl("get", "imageretention", name, "--output=yaml"),
                self.story_of_jobs(),
                self.room.kubectl("logs", selector, "--all-containers", "--tail=40", "--ignore-errors"),
            )
        )

    def story_of_jobs(self) -> str:
        """The same where there is no policy any more."""
        return self.room.kubectl("get", "jobs,leases,pods", "--output=wide")

    def tags(self, repository: str) -> list[str]:
        """Its tags as the registry lists them."""
        with urllib.request.urlopen(f"{self.url}/v2/{repository}/tags/list", timeout=10) as answer:
            return sorted(json.load(answer)["tags"] or [])

    def repositories(self) -> list[str]:
        """As the registry lists them."""
        with urllib.request.urlopen(f"{self.url}/v2/_catalog", timeout=10) as answer:
            found: list[str] = json.load(answer)["repositories"]
            return found

    def serving_pods(self) -> set[str]:
        """The uids of the registry's pods that are not about to go; those of runs have one of its labels too."""
        found = [pod["metadata"] for pod in self.room.pods(self.name)]
        return {
            metadata["uid"]
            for metadata in found
            if naming.RETENTION_LABEL not in metadata["labels"] and "deletionTimestamp" not in metadata
        }

    def blob(self, digest: str) -> Path:
        """Where the registry would look for a blob."""
        algorithm, _, name = digest.partition(":")
        return self.layout / "blobs" / algorithm / name[:2] / name / "data"

    def has_blob(self, digest: str) -> bool:
        """Whether a blob is there."""
        return self.blob(digest).exists()

    def quarantined(self, run: str) -> list[str]:
        """What is left in the quarantine of a run."""
        folder = self.layout / ".regkeeper/quarantine" / run
        return sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []

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
