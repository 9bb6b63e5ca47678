"""Write the status of an object of ours when it changed, and an Event when its readiness did."""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

from regkeeper import kube, naming
from regkeeper.reconcile import conditions
from regkeeper.reconcile.conditions import PAUSED, READY, RECONCILING, STALLED, State
from regkeeper.reconcile.store import Store

logger = logging.getLogger(__name__)

LONGEST_EVENT_MESSAGE = 1024
"""Characters: the API's limit."""

PASSING = frozenset({"Progressing", "NotAnswering", "Waiting", "FormerObject", "ClaimPending"})
"""Reasons that belong to every start and need nobody."""


class StatusWriter:
    """The one writer of the status of a kind. `now` gives the time of day with its zone."""

    def __init__(self, cluster: kube.Cluster, store: Store, now: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._store = store
        self._now = now

    async def write(
        self, body: kube.Object, states: Mapping[str, State], fields: Mapping[str, Any] | None = None
    ) -> None:
        """Set our conditions and, if given, all other fields of the status; no write if nothing changes.

        Without `fields` the rest of the status stays as it is: what was last seen is the best that is known.
        """
        before = body.get("status") or {}
        previous = before.get("conditions") or []
        generation = body["metadata"]["generation"]
        after = {key: value for key, value in (before if fields is None else fields).items() if value is not None}
        after["observedGeneration"] = generation
        after["conditions"] = conditions.merge(previous, states, generation=generation, now=self._now())
        if after == before:
            return
        metadata = body["metadata"]
        # A merge patch replaces the list of conditions, in which others have theirs.
        guard = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        patch = {"status": _turning(before, after), "metadata": guard}
        patched = await self._cluster.patch_status(
            kube.resource_of(body), metadata["namespace"], metadata["name"], patch
        )
        self._store.put(patched)
        event = _transition(conditions.find(previous, READY), states)
        if event is not None:
            await self.post(body, event)

    async def pause(self, body: kube.Object, note: str = "") -> None:
        """Say that a Registry is paused; everything else stays as it was last seen, the observed generation as well."""
        before = (body.get("status") or {}).get("conditions") or []
        message = f"The annotation {naming.PAUSED_ANNOTATION} keeps the operator away.{note}"
        last = conditions.find(before, PAUSED)
        if last is not None and last["message"] == message:
            return
        metadata = body["metadata"]
        said = {PAUSED: conditions.true("Annotated", message)}
        generation = metadata["generation"]
        paused = conditions.merge([last] if last else (), said, generation=generation, now=self._now())
        others = [each for each in before if each["type"] != PAUSED]
        guard = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        patch = {"status": {"conditions": [*others, *paused]}, "metadata": guard}
        self._store.put(await self._cluster.patch_status(kube.REGISTRY, metadata["namespace"], metadata["name"], patch))

    async def post(self, body: kube.Object, state: State) -> None:
        """Post an Event about a Registry. A lost one is no reason to fail: the condition says the same."""
        metadata = body["metadata"]
        moment = conditions.timestamp(self._now())
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": metadata["namespace"], "name": f"{metadata['name']}.{uuid4().hex[:16]}"},
            "involvedObject": {
                "apiVersion": body["apiVersion"],
                "kind": body["kind"],
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "type": "Normal" if state.status == "True" else "Warning",
            "reason": state.reason,
            "message": state.message[:LONGEST_EVENT_MESSAGE],
            "source": {"component": "regkeeper"},
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
        }
        try:
            await self._cluster.create(event)
        except kube.ApiError as error:
            logger.warning("an Event could not be posted: %s", error)


def _turning(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that makes the one of the other: objects in it are merged too, and keep what it does not name."""
    patch: dict[str, Any] = dict.fromkeys(before)
    for key, value in after.items():
        earlier = before.get(key)
        both = isinstance(earlier, Mapping) and isinstance(value, Mapping)
        patch[key] = _turning(before[key], value) if both else value
    return patch


def _transition(before: Mapping[str, Any] | None, states: Mapping[str, State]) -> State | None:
    """What to announce: becoming ready, ceasing to be, and each new reason for not being. Not that time passes."""
    after = states[READY]
    if before is not None and (before["status"], before["reason"]) == (after.status, after.reason):
        return None
    was_ready = before is not None and before["status"] == "True"
    if after.status == "True":
        return None if was_ready else after
    passing = after.reason in PASSING and STALLED not in states
    return after if was_ready or not passing else None


def failing(reason: str, message: str, *, stalled: bool) -> dict[str, State]:
    """The conditions of a Registry that a pass could not finish."""
    states = {READY: conditions.false(reason, message)}
    if stalled:
        states[STALLED] = conditions.true(reason, message)
    else:
        states[RECONCILING] = conditions.true(reason, message)
    return states
