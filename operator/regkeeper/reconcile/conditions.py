"""Conditions of our kinds: what holds now, merged into what stood there before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

READY = "Ready"
STORAGE_READY = "StorageReady"
RECONCILING = "Reconciling"
STALLED = "Stalled"
CONTESTED = "Contested"
"""No longer written; one that an earlier version left is removed with the next write."""

PAUSED = "Paused"
"""Present while the annotation of that name makes the operator leave the Registry alone."""

ACCESS_INCOMPLETE = "AccessIncomplete"
"""Present while some of the nodes that `spec.access` speaks of can't be served, or are not."""

AWAITING_APPROVAL = "AwaitingApproval"
"""On an ImageRetention: present while a plan waits for somebody's approval."""

NODES_TRUSTED = "NodesTrusted"
"""Present where nodes are to trust the Registry. Written by the pass over nodes (`reconcile/trust`)."""

OURS = (READY, STORAGE_READY, RECONCILING, STALLED, CONTESTED, PAUSED, ACCESS_INCOMPLETE, AWAITING_APPROVAL)
"""Condition types that the pass of an object's own writes; others in the list are left as they are."""

LONGEST_MESSAGE = 8192
"""Characters; the API allows 32,768, and a person reads less."""


@dataclass(frozen=True, slots=True)
class State:
    """What one condition says."""

    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


def true(reason: str, message: str) -> State:
    """It holds."""
    return State("True", reason, message)


def false(reason: str, message: str) -> State:
    """It does not hold."""
    return State("False", reason, message)


def unknown(reason: str, message: str) -> State:
    """Nobody can say yet."""
    return State("Unknown", reason, message)


def merge(
    previous: Sequence[Mapping[str, Any]], states: Mapping[str, State], *, generation: int, now: datetime
) -> list[dict[str, Any]]:
    """The conditions to write: `lastTransitionTime` moves only with the status.

    kstatus wants conditions of what is wrong absent unless true, so what is not in `states` goes.
    """
    before = {condition["type"]: condition for condition in previous}
    merged = [dict(condition) for condition in previous if condition["type"] not in OURS]
    for kind in OURS:
        state = states.get(kind)
        if state is not None:
            merged.append(_written(kind, state, before.get(kind), generation=generation, now=now))
    return merged


def put(
    previous: Sequence[Mapping[str, Any]], kind: str, state: State | None, *, generation: int, now: datetime
) -> list[dict[str, Any]]:
    """The conditions to write where just one, which `merge` leaves as it is, is new; with None, where it goes."""
    old = find(previous, kind)
    new = [] if state is None else [_written(kind, state, old, generation=generation, now=now)]
    others = [dict(condition) for condition in previous if condition["type"] != kind]
    # Where `merge` would put it: else two writers would take turns in moving it.
    foreign = [condition for condition in previous if condition["type"] not in OURS]
    place = next((index for index, condition in enumerate(foreign) if condition["type"] == kind), len(foreign))
    ours = [condition for condition in others if condition["type"] in OURS]
    kept = [condition for condition in others if condition["type"] not in OURS]
    return [*kept[:place], *new, *kept[place:], *ours]


def _written(
    kind: str, state: State, old: Mapping[str, Any] | None, *, generation: int, now: datetime
) -> dict[str, Any]:
    same = old is not None and old["status"] == state.status
    return {
        "type": kind,
        "status": state.status,
        "reason": state.reason,
        "message": state.message[:LONGEST_MESSAGE],
        "observedGeneration": generation,
        "lastTransitionTime": old["lastTransitionTime"] if old and same else timestamp(now),
    }


def find(conditions: Sequence[Mapping[str, Any]], kind: str) -> Mapping[str, Any] | None:
    """The condition of a type."""
    return next((condition for condition in conditions if condition["type"] == kind), None)


def is_true(conditions: Sequence[Mapping[str, Any]], kind: str) -> bool:
    """Whether a condition is there and holds."""
    condition = find(conditions, kind)
    return condition is not None and condition["status"] == "True"


def timestamp(moment: datetime) -> str:
    """A time as metav1.Time has it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
