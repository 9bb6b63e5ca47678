"""A namespace of which the operator is a process of these tests, and no node runs the pods."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from tests.audit_log import AuditLog
from tests.cluster import Cluster
from tests.operator_process import OperatorProcess
from tests.room import Room
from tests.waiting import wait_for

SOON = 30  # seconds; takes under one on a quiet machine


@dataclass(frozen=True)
class Operated:
    """An operator of one namespace."""

    process: OperatorProcess
    namespace: str
    user: str
    """Its account, as the API server's audit log calls it."""


class OperatedRoom(Room):
    """The namespace, and what its operator does there."""

    def __init__(self, cluster: Cluster, operated: Operated) -> None:
        super().__init__(cluster, operated.namespace)
        self._operated = operated
        self._poke = itertools.count()

    def settle(self, name: str = "main") -> None:
        """Wait until all objects of a Registry are there; no node runs its pods, so it goes on no further."""
        wait_for(
            lambda: self._has_pods(name) and self.condition("Reconciling", name),
            SOON,
            lambda: f"{name} to wait for its pods: {self.get('registry', name)}",
        )
        wait_for(lambda: self._stays(name), SOON, lambda: f"all to be said of {name}: {self.status(name)}")

    def _has_pods(self, name: str) -> bool:
        """Whether the controllers have made a Deployment's pods, all of them by its present template."""
        deployment = self.get("deployment", name)
        if deployment is None:
            return False
        status, replicas = deployment["status"], deployment["spec"]["replicas"]
        if status.get("observedGeneration") != deployment["metadata"]["generation"]:
            return False
        return bool(status.get("replicas", 0) == status.get("updatedReplicas", 0) == replicas)

    def _stays(self, name: str) -> bool:
        """Whether a pass has nothing to add to the status."""
        before = self.status(name)
        self.provoke_passes(1, name)
        return self.status(name) == before

    def writes_while(self, wait: Callable[[], object]) -> list[str]:
        """What the operator wrote meanwhile, here and elsewhere."""
        log = AuditLog(self.cluster.audit_log)
        wait()
        return log.writes_of(self._operated.user)

    def provoke_passes(self, count: int, *names: str) -> None:
        """Change what concerns nobody on Registries, `count` times, and wait for the pass that each change provokes."""
        for _ in range(count):
            for name in names or ("main",):
                before = self._passes()
                self.annotate("registry", name, **{"test/poke": str(next(self._poke))})
                wait_for(lambda before=before: self._passes() > before, SOON, "another pass")  # type: ignore[misc]

    def _passes(self) -> float:
        counter = "regkeeper_reconcile_duration_seconds_count"
        lines = self._operated.process.metrics().splitlines()
        return float(next((line for line in lines if line.startswith(counter)), "0 0").split()[-1])
