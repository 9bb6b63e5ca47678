"""The Jobs that an ImageRetention asks for besides its schedule: after a change, for an approval, for an undo; pure."""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

from regkeeper.api.v1alpha1.retention import ImageRetention
from regkeeper.reconcile.retention.policies import digest
from regkeeper.reconcile.retention.requests import Action, Request
from regkeeper.reconcile.retention.scene import Scene
from regkeeper.resources.lease import Lock, Rescue


def wanted_jobs(policy: ImageRetention, status: Mapping[str, Any], now: datetime) -> dict[str, Request]:
    """Names of the Jobs that should have been made, each with what it is for.

    The names are made from what asks for them, so that each is made once, whoever dies in between; the status says
    which of them have ended.
    """
    name = policy.metadata.name
    wanted: dict[str, Request] = {}
    changed = digest(policy)
    if policy.spec.schedule is None and not policy.spec.suspend and status.get("policyRun") != changed:
        # With the generation, as rules may be what they were before: their Job of then may still be there.
        wanted[f"{name}-{_short(changed, str(policy.metadata.generation))}"] = Request(policy=changed)
    awaiting = status.get("awaiting")
    if awaiting is not None and approves(policy, status, awaiting) and is_open(awaiting, policy, now):
        wanted[approved_name(name, awaiting)] = Request(approved=awaiting["hash"], policy=changed)
    undo = policy.spec.undo
    if undo is not None:
        done = status.get("undone") or {}
        if (undo.run, undo.forget) != (done.get("run"), done.get("forget", False)):
            # With the undo before it, as one may be asked for again after another.
            suffix = _short(undo.run, str(undo.forget), done.get("uid", ""))
            wanted[f"{name}-{suffix}"] = Request(action=Action.RESTORE, run=undo.run, forget=undo.forget)
    return wanted


def approved_name(policy: str, awaiting: Mapping[str, Any]) -> str:
    """Name of the Job that carries out a plan of a policy which waits for an approval, once it has it."""
    return f"{policy}-{_short(awaiting['hash'], awaiting['now'])}"


def due_name(registry: str, action: Action, due: datetime) -> str:
    """Name of the Job that frees what can be freed at a time, or looks then for what came into use.

    A Job's name has at most 63 characters.
    """
    return f"{registry[:45]}-{action}-{_short(registry, due.isoformat())}"


def due_rescue(scene: Scene, lock: Lock) -> Rescue | None:
    """What the lock says of a rescue, unless no policy wants what is in use to stay."""
    return lock.rescue if scene.policies.in_use_matters else None


def approves(policy: ImageRetention, status: Mapping[str, Any], awaiting: Mapping[str, Any]) -> bool:
    """Whether somebody approved the plan that waits.

    An earlier one of the same hash had other garbage, or its victims were pushed anew since.
    """
    approved: str = awaiting["hash"]
    return policy.spec.approve == approved and status.get("approved") != approved


def made_by(awaiting: Mapping[str, Any], policy: ImageRetention) -> str:
    """Digest of the policy that made a plan which waits.

    Where nobody says, as of a Job of the schedule, the present one; the API server then says "".
    """
    return awaiting.get("policy") or digest(policy)


def is_open(awaiting: Mapping[str, Any], policy: ImageRetention, now: datetime) -> bool:
    """Whether a plan that waits may still be approved."""
    return now < datetime.fromisoformat(awaiting["expires"]) and made_by(awaiting, policy) == digest(policy)


def _short(*parts: str) -> str:
    return sha256("\0".join(parts).encode()).hexdigest()[:10]
