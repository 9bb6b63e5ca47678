"""What becomes of a claim that is there already."""

from datetime import UTC, datetime
from typing import Any

import pytest

from regkeeper import naming
from regkeeper.errors import BlockedError, WaitingError
from regkeeper.reconcile import conditions
from regkeeper.reconcile.conditions import READY, RECONCILING
from regkeeper.reconcile.ownership import require_ours
from regkeeper.reconcile.registry import claims
from regkeeper.reconcile.registry.diagnosis import Problem
from regkeeper.resources.metadata import owner_reference
from regkeeper.resources.storage import claim as build_claim
from tests.registry_objects import LOCAL, SHARED, a_registry


def live_claim(size: str = "10Gi", *, phase: str = "Bound", capacity: str | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": "main-storage",
            "namespace": "images",
            "uid": "c1",
            "labels": naming.object_labels("main"),
            "managedFields": [
                {
                    "manager": naming.FIELD_MANAGER,
                    "operation": "Apply",
                    "fieldsV1": {"f:spec": {"f:accessModes": {}, "f:storageClassName": {}}},
                }
            ],
        },
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec},
        "status": {"phase": phase, "capacity": {"storage": capacity or size}},
    }


def desired(**storage: Any) -> dict[str, Any]:
    built = build_claim(a_registry(storage=storage or {"size": "10Gi"}))
    assert built is not None
    return built


def test_a_claim_that_fits_is_applied_as_wanted() -> None:
    fitted = claims.fit(desired(), live_claim(), may_grow=True)
    assert fitted.notes == []
    assert fitted.claim == desired()


def test_a_claim_grows_where_its_class_lets_it() -> None:
    assert claims.wants_growth(desired(size="20Gi"), live_claim())
    fitted = claims.fit(desired(size="20Gi"), live_claim(storageClassName="fast"), may_grow=True)
    assert fitted.claim["spec"]["resources"]["requests"]["storage"] == "20Gi"
    assert fitted.notes == []


def test_a_claim_that_may_not_grow_says_why_and_stays() -> None:
    fitted = claims.fit(desired(size="20Gi"), live_claim(storageClassName="slow"), may_grow=False)
    assert fitted.claim["spec"]["resources"]["requests"]["storage"] == "10Gi"
    assert fitted.notes == ["it has 10Gi and can't grow to 20Gi: its storage class slow does not allow expansion"]


def test_a_kept_claim_that_does_not_fit_is_adopted_as_it_is() -> None:
    kept = live_claim("50Gi", storageClassName="slow")
    fitted = claims.fit(desired(**SHARED, storageClassName="fast"), kept, may_grow=False)
    assert fitted.claim["spec"] == kept["spec"]
    assert fitted.notes == ["its access modes are ReadWriteOnce", "its storage class is slow", "it has 50Gi"]


def test_what_an_earlier_apply_set_is_applied_again_for_it_cannot_be_removed() -> None:
    fitted = claims.fit(desired(), live_claim(storageClassName="slow"), may_grow=False)
    assert fitted.claim["spec"]["storageClassName"] == "slow"
    defaulted = live_claim(storageClassName="standard")
    defaulted["metadata"]["managedFields"] = []
    assert "storageClassName" not in claims.fit(desired(), defaulted, may_grow=False).claim["spec"]


@pytest.mark.parametrize(
    ("storage", "claim", "notes", "problem", "status", "reason", "text"),
    [
        ({"ephemeral": {}}, None, [], None, "True", "Ephemeral", "end with the pod"),
        ({"existingClaim": "mine"}, None, [], None, "False", "ClaimNotFound", "PersistentVolumeClaim mine"),
        ({"size": "10Gi"}, live_claim(), [], None, "True", "Bound", "is bound"),
        ({"size": "10Gi"}, live_claim(phase="Pending"), [], None, "Unknown", "ClaimPending", "not bound yet"),
        ({"size": "10Gi"}, live_claim(phase="Lost"), [], None, "False", "ClaimLost", "restore the volume"),
        ({"size": "10Gi"}, live_claim(), ["it has 50Gi"], None, "True", "ClaimDiffers", "it has 50Gi"),
        ({"size": "10Gi"}, live_claim(capacity="5Gi"), [], None, "True", "Resizing", "from 5Gi to 10Gi"),
        (LOCAL, live_claim(), [], Problem("FailedMount", "no such path", storage=True), "False", "FailedMount", "path"),
    ],
)
def test_the_state_of_a_claim_is_the_state_of_the_storage(
    storage: dict[str, Any],
    claim: dict[str, Any] | None,
    notes: list[str],
    problem: Problem | None,
    status: str,
    reason: str,
    text: str,
) -> None:
    state = claims.state(a_registry(storage=storage), claim, notes, problem)
    assert (state.status, state.reason) == (status, reason)
    assert text in state.message


def body_of(kind: str, *, references: list[dict[str, Any]], labels: dict[str, str]) -> dict[str, Any]:
    namespace = {} if kind == "PersistentVolume" else {"namespace": "images"}
    return {"kind": kind, "metadata": {"name": "main", **namespace, "ownerReferences": references, "labels": labels}}


OURS = naming.object_labels("main")
REFERENCE = owner_reference(a_registry())
FORMER = {**REFERENCE, "uid": "of-another-time"}
FOREIGN = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "main", "uid": "d1"}
VOLUME_LABELS = {**OURS, naming.REGISTRY_NAMESPACE_LABEL: "images"}


@pytest.mark.parametrize(
    ("kind", "references", "labels", "error"),
    [
        ("Service", [REFERENCE], {}, None),
        ("Service", [], OURS, BlockedError),
        ("Service", [FOREIGN], OURS, BlockedError),
        ("Service", [FORMER], OURS, WaitingError),
        ("PersistentVolumeClaim", [], OURS, None),
        ("PersistentVolumeClaim", [], {}, BlockedError),
        ("PersistentVolumeClaim", [], naming.object_labels("other"), BlockedError),
        ("PersistentVolumeClaim", [FOREIGN], OURS, BlockedError),
        ("PersistentVolumeClaim", [FORMER], OURS, WaitingError),
        ("PersistentVolume", [], VOLUME_LABELS, None),
        ("PersistentVolume", [], OURS, BlockedError),
    ],
)
def test_only_what_is_proved_ours_is_ours(
    kind: str, references: list[dict[str, Any]], labels: dict[str, str], error: type[Exception] | None
) -> None:
    body = body_of(kind, references=references, labels=labels)
    if error is None:
        require_ours(body, a_registry().metadata)
    else:
        with pytest.raises(error, match=f"{kind} main"):
            require_ours(body, a_registry().metadata)


def test_a_transition_time_moves_only_with_the_status() -> None:
    first, second = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    before = conditions.merge([], {READY: conditions.false("A", "a")}, generation=1, now=first)
    same = conditions.merge(before, {READY: conditions.false("B", "b")}, generation=2, now=second)
    assert same[0]["lastTransitionTime"] == before[0]["lastTransitionTime"]
    assert (same[0]["reason"], same[0]["observedGeneration"]) == ("B", 2)
    turned = conditions.merge(same, {READY: conditions.true("C", "c")}, generation=2, now=second)
    assert turned[0]["lastTransitionTime"] == "2026-01-02T00:00:00Z"


def test_abnormal_conditions_go_and_those_of_others_stay() -> None:
    foreign = {"type": "NodesTrusted", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "x"}
    reconciling = {**foreign, "type": RECONCILING}
    merged = conditions.merge(
        [reconciling, foreign], {READY: conditions.true("A", "a")}, generation=1, now=datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert [condition["type"] for condition in merged] == ["NodesTrusted", READY]
    assert merged[0] == foreign
