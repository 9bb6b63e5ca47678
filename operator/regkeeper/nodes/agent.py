"""The agent: a pass over its node whenever the list or the node changes, seldom otherwise, until it is told to stop.

Stopping changes nothing on the node: SIGTERM, eviction and upgrade are no orders to revert.
"""

import json
import os
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from regkeeper.nodes.desired import MAXIMUM_BYTES, decode
from regkeeper.nodes.engine import RESYNC_SECONDS, Engine
from regkeeper.nodes.files import NodeFiles
from regkeeper.nodes.reasons import NodeProblemError
from regkeeper.nodes.runtimes import runtimes
from regkeeper.nodes.server import ReportServer
from regkeeper.nodes.watch import Watcher

if TYPE_CHECKING:
    from regkeeper.nodes.report import Report

_STUCK_SECONDS = 5 * RESYNC_SECONDS
"""A pass that takes longer hangs; kubelet is told."""


class Agent:
    """Everything that runs in the agent's pod."""

    def __init__(self, *, node: str, pod_uid: str, root: str, list_path: str, key_path: str, port: int) -> None:
        """Put the parts together; nothing runs yet.

        Args:
            node: name of the Node.
            pod_uid: of this pod.
            root: where the node's `/` is mounted.
            list_path: of the mounted list of registries.
            key_path: of the mounted key.
            port: of the report; 0 lets the kernel choose.
        """
        self._list_path = list_path
        self._watcher = Watcher(root)
        files = NodeFiles(root)
        self._engine = Engine(files, runtimes(files), node=node, pod_uid=pod_uid, answered=self._watcher.wake)
        self.server = ReportServer(port, key_path=key_path, pod_uid=pod_uid, report=self._report, healthy=self._healthy)
        self._stopping = False
        self._last_turn = time.monotonic()
        self._logged: Report | None = None

    def run(self) -> None:
        """Work until `stop`."""
        self.server.start()
        changed = True
        try:
            while not self._stopping:
                now = time.monotonic()
                if changed or self._engine.is_due(now):
                    self._engine.run(read_list(self._list_path), now)
                    changed = self._watcher.watch(self._engine.watched(), outside=(os.path.dirname(self._list_path),))
                else:
                    self._engine.ask(now)
                self._last_turn = time.monotonic()
                self._log()
                if not changed:
                    changed = self._watcher.wait(self._engine.pause(self._last_turn))
        finally:
            self.server.shutdown()
            self.server.server_close()
            self._engine.verifier.close()
            self._watcher.close()

    def stop(self) -> None:
        """End `run` after the present pass; safe in a signal handler."""
        self._stopping = True
        self._watcher.wake()

    def _report(self) -> "Report":
        """The last pass's, and what a longer one is about: the operator is not to tell that again meanwhile."""
        report = self._engine.report()
        return msgspec.structs.replace(report, mounted=_mounted(self._list_path))

    def _healthy(self) -> bool:
        return time.monotonic() - self._last_turn < _STUCK_SECONDS

    def _log(self) -> None:
        """Write the report into the pod's log when it differs from the last."""
        report = self._engine.report()
        if report != self._logged:
            self._logged = report
            line = {"event": "report", **msgspec.to_builtins(report)}
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()


def read_list(path: str) -> bytes | None:
    """The mounted list, cut one byte beyond its largest size; None if it is not there."""
    try:
        with open(path, "rb") as file:
            return file.read(MAXIMUM_BYTES + 1)
    except OSError:
        return None


def _mounted(path: str) -> int | None:
    """Generation of the mounted list; None if it can't be read."""
    try:
        return decode(read_list(path) or b"").generation
    except NodeProblemError:
        return None
