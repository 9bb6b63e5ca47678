"""What becomes of a claim that is there already, and what the state of a claim means. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from regkeeper import kube
from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.reconcile import conditions
from regkeeper.reconcile.conditions import State
from regkeeper.reconcile.drift import quantity
from regkeeper.reconcile.ownership import applies
from regkeeper.reconcile.registry.diagnosis import Problem


@dataclass(slots=True)
class Fitted:
    """A claim to apply over a live one."""

    claim: kube.Object
    notes: list[str] = field(default_factory=list)
    """How the live claim differs from what the spec asks for, for people."""


def wants_growth(desired: Mapping[str, Any], live: Mapping[str, Any]) -> bool:
    """Whether the spec asks for a larger claim than there is."""
    return quantity(_request(desired)) > quantity(_request(live))


def fit(desired: kube.Object, live: Mapping[str, Any], *, may_grow: bool) -> Fitted:
    """Adopt a live claim as it is: what can't change any more is taken from it, and noted.

    `may_grow` says whether its class allows expansion; a refused PATCH would be a write in every pass.
    """
    spec = dict(desired["spec"])
    fitted = Fitted({**desired, "spec": spec})
    there = live["spec"]
    if sorted(there["accessModes"]) != sorted(spec["accessModes"]):
        fitted.notes.append(f"its access modes are {', '.join(there['accessModes'])}")
    spec["accessModes"] = there["accessModes"]
    for field_name, what in (("storageClassName", "storage class"), ("volumeName", "volume")):
        present = there.get(field_name)
        if field_name in spec and present is not None and present != spec[field_name]:
            fitted.notes.append(f"its {what} is {present or 'none'}")
        if present is not None and (field_name in spec or applies(live, field_name)):
            spec[field_name] = present
    wanted, requested = _request(desired), _request(live)
    size = requested
    if quantity(wanted) > quantity(requested):
        if may_grow:
            size = wanted
        else:
            fitted.notes.append(
                f"it has {requested} and can't grow to {wanted}: "
                f"its storage class {there.get('storageClassName') or '(none)'} does not allow expansion"
            )
    elif quantity(wanted) < quantity(requested):
        fitted.notes.append(f"it has {requested}")
    spec["resources"] = {"requests": {"storage": size}}
    return fitted


def state(registry: Registry, claim: Mapping[str, Any] | None, notes: Sequence[str], problem: Problem | None) -> State:
    """The condition StorageReady. `problem` is what the pods or the Events say about the storage."""
    if registry.spec.storage.ephemeral is not None:
        return conditions.true("Ephemeral", "The images end with the pod.")
    if claim is None:
        return conditions.false(
            "ClaimNotFound",
            f"PersistentVolumeClaim {registry.spec.storage.existing_claim} is not there: make it, "
            "or ask for a claim with spec.storage.size",
        )
    name = claim["metadata"]["name"]
    if problem is not None:
        return conditions.false(problem.reason, problem.message)
    phase = (claim.get("status") or {}).get("phase", "Pending")
    if phase == "Lost":
        return conditions.false(
            "ClaimLost", f"PersistentVolumeClaim {name} has lost its volume: restore the volume, or delete the claim"
        )
    if phase != "Bound":
        return conditions.unknown("ClaimPending", f"PersistentVolumeClaim {name} is not bound yet.")
    resizing = _resizing(claim)
    if notes or resizing:
        text = "; ".join([*notes, *resizing])
        return conditions.true(
            "Resizing" if resizing and not notes else "ClaimDiffers", f"PersistentVolumeClaim {name} is used: {text}."
        )
    return conditions.true("Bound", f"PersistentVolumeClaim {name} is bound.")


def is_bound(claim: Mapping[str, Any]) -> bool:
    """Whether a claim has its volume."""
    return (claim.get("status") or {}).get("phase") == "Bound"


def no_class(claim: Mapping[str, Any]) -> Problem:
    """What to say of an unbound claim whose StorageClass does not exist, or that has none.

    Where a cluster has a default class, the API server writes it into each claim, later too
    (https://kubernetes.io/docs/concepts/storage/persistent-volumes/#retroactive-default-storageclass-assignment).
    """
    about = f"PersistentVolumeClaim {claim['metadata']['name']}"
    name = claim["spec"].get("storageClassName")
    if name is None:
        return Problem(
            "NoDefaultStorageClass",
            f"{about} names no StorageClass and the cluster has no default: mark one with `kubectl annotate "
            "storageclass NAME storageclass.kubernetes.io/is-default-class=true`, or make the Registry anew with "
            "spec.storage.storageClassName",
            storage=True,
        )
    return Problem(
        "StorageClassNotFound",
        f"{about}: there is no StorageClass {name}: create it, or make the Registry anew with a "
        "spec.storage.storageClassName that `kubectl get storageclasses` lists",
        storage=True,
    )


def _resizing(claim: Mapping[str, Any]) -> list[str]:
    capacity = ((claim.get("status") or {}).get("capacity") or {}).get("storage")
    if capacity is None or quantity(capacity) >= quantity(_request(claim)):
        return []
    reasons = [
        condition.get("message") or condition["type"]
        for condition in (claim.get("status") or {}).get("conditions") or ()
        if condition["status"] == "True"
    ]
    return [f"it grows from {capacity} to {_request(claim)}" + (f" ({'; '.join(reasons)})" if reasons else "")]


def _request(claim: Mapping[str, Any]) -> str:
    return str(claim["spec"]["resources"]["requests"]["storage"])
