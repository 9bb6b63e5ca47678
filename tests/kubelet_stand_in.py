"""Plays kubelet for the pods of one namespace on a control plane without nodes: only what their status says.

What a real one does with these pods is proved on the two nodes (tests/e2e/installed).
"""

import json
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from regkeeper import kube, naming
from regkeeper.answer import Answer, Outcome, encode

Script = Callable[[kube.Object], tuple[Answer, Answer | None]]
"""Given a run's pod: what its first stage answers and what its second one does; None: it never ends."""


class KubeletStandIn:
    """Sets the status of pods: those of registries become ready, those of runs do what `script` says."""

    def __init__(self, cluster: kube.Cluster, namespace: str, script: Script) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self.script = script
        self.idle = False
        """Whether it leaves the pods of runs alone."""
        self.starts = True
        """Whether the pods of registries begin to serve."""
        self.told: list[dict[str, Any]] = []
        """Headers of the snapshots on whose word a second stage began."""

    async def step(self) -> None:
        """Look at each pod once."""
        for pod in [each async for each in self._cluster.list(kube.POD, self._namespace)]:
            if "deletionTimestamp" in pod["metadata"]:
                continue
            labels = pod["metadata"].get("labels") or {}
            if naming.RETENTION_LABEL in labels:
                if not self.idle:
                    await self._run(pod)
            elif naming.REGISTRY_LABEL in labels and self.starts:
                await self._serve(pod)

    async def _serve(self, pod: kube.Object) -> None:
        if (pod.get("status") or {}).get("phase") == "Running":
            return
        now = _now()
        names = [container["name"] for container in pod["spec"]["containers"]]
        await self._set(
            pod,
            {
                "phase": "Running",
                "conditions": [
                    {"type": kind, "status": "True", "lastTransitionTime": now}
                    for kind in ("Initialized", "ContainersReady", "Ready")
                ],
                "containerStatuses": [_status(name, {"running": {"startedAt": now}}, ready=True) for name in names],
            },
        )

    async def _run(self, pod: kube.Object) -> None:
        status = pod.get("status") or {}
        if status.get("phase") in ("Succeeded", "Failed"):
            return
        plan, run = self.script(pod)
        if not status.get("initContainerStatuses"):
            await self._set(
                pod,
                {
                    "phase": "Running",
                    "initContainerStatuses": [_status("plan", _terminated(plan))],
                    "containerStatuses": [_status("run", {"running": {"startedAt": _now()}})],
                },
            )
            return
        if plan.outcome in (Outcome.SWITCH, Outcome.SKIPPED):
            header = await self._header(pod)
            if header is None or header["stage"] != "run" or run is None:
                return
            self.told.append(header)
        else:
            run = plan
        failed = run.outcome is Outcome.FAILED
        await self._set(
            pod,
            {
                "phase": "Failed" if failed else "Succeeded",
                "containerStatuses": [_status("run", _terminated(run, code=int(failed)))],
            },
        )

    async def _header(self, pod: kube.Object) -> dict[str, Any] | None:
        name = next(volume["configMap"]["name"] for volume in pod["spec"]["volumes"] if volume["name"] == "snapshot-0")
        try:
            body = await self._cluster.get(kube.CONFIG_MAP, self._namespace, name)
        except kube.NotFoundError:
            return None
        if "data" not in body:
            return None
        header: dict[str, Any] = json.loads(body["data"]["header"])
        assert b64decode(body["binaryData"]["part"])
        return header if header["run"] == pod["metadata"]["labels"]["batch.kubernetes.io/controller-uid"] else None

    async def _set(self, pod: kube.Object, status: dict[str, Any]) -> None:
        metadata = pod["metadata"]
        try:
            await self._cluster.patch_status(kube.POD, metadata["namespace"], metadata["name"], {"status": status})
        except kube.NotFoundError:
            return


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _terminated(answer: Answer, code: int = 0) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": "Completed", "message": encode(answer).decode()}}


def _status(name: str, state: dict[str, Any], *, ready: bool = False) -> dict[str, Any]:
    return {"name": name, "state": state, "ready": ready, "restartCount": 0, "image": "x", "imageID": ""}
