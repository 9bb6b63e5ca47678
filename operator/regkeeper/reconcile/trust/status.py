"""Write what nodes make of a Registry into its status, beside what the Registry's own pass writes there."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from regkeeper import kube
from regkeeper.reconcile import conditions
from regkeeper.reconcile.conditions import NODES_TRUSTED, State
from regkeeper.reconcile.registry.status import NODE_FIELDS
from regkeeper.reconcile.status import StatusWriter
from regkeeper.reconcile.store import Store
from regkeeper.reconcile.trust.judgement import MAXIMUM_NAMED, Lag, Verdict
from regkeeper.reconcile.trust.wishes import trusted_hosts

PASSING = frozenset({"Progressing", "NotServing", "Reverting"})
"""Reasons that need nobody."""


class TrustStatusWriter:
    """Writes the condition NodesTrusted and the fields that belong to it. `now` gives the time of day with its zone."""

    def __init__(self, cluster: kube.Cluster, store: Store, status: StatusWriter, now: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._store = store
        self._status = status
        self._now = now

    async def verdict(self, body: kube.Object, hosts: Sequence[str], verdict: Verdict) -> None:
        """Write a verdict about these hosts."""
        fields = {
            "trustedNodes": f"{verdict.trusted}/{verdict.selected}",
            "trustedHosts": list(hosts),
            "nodes": _listed(verdict.lags),
        }
        await self._write(body, verdict.state, fields)

    async def state(self, body: kube.Object, state: State, lags: Sequence[Lag] = ()) -> None:
        """Write why there is no verdict, and which nodes that is about; the hosts that nodes may still trust stay."""
        hosts = list(trusted_hosts(body)) or None
        await self._write(body, state, {"trustedNodes": None, "trustedHosts": hosts, "nodes": _listed(lags)})

    async def clear(self, body: kube.Object) -> None:
        """Say nothing of nodes."""
        await self._write(body, None, dict.fromkeys(NODE_FIELDS))

    async def post(self, body: kube.Object, state: State) -> None:
        """Post an Event about a Registry."""
        await self._status.post(body, state)

    async def _write(self, body: kube.Object, state: State | None, fields: dict[str, Any]) -> None:
        before = body.get("status") or {}
        previous = before.get("conditions") or []
        generation = body["metadata"]["generation"]
        listed = conditions.put(previous, NODES_TRUSTED, state, generation=generation, now=self._now())
        if listed == previous and all(before.get(key) == fields[key] for key in NODE_FIELDS):
            return
        metadata = body["metadata"]
        guard = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        patch = {"status": {**fields, "conditions": listed}, "metadata": guard}
        patched = await self._cluster.patch_status(kube.REGISTRY, metadata["namespace"], metadata["name"], patch)
        self._store.put(patched)
        last = conditions.find(previous, NODES_TRUSTED)
        if state is not None and (last is None or (last["status"], last["reason"]) != (state.status, state.reason)):
            was_trusted = last is not None and last["status"] == "True"
            if state.status == "True" or state.reason not in PASSING or was_trusted:
                await self.post(body, state)


def _listed(lags: Sequence[Lag]) -> list[dict[str, str]] | None:
    entries = [{"name": lag.node, "reason": lag.reason, "message": lag.message} for lag in lags[:MAXIMUM_NAMED]]
    return sorted(entries, key=lambda entry: entry["name"]) or None
