"""ImageRetention's CRD on a real API server: what apply refuses and says, what it takes, what kubectl shows."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regkeeper.reconcile.retention.policies import manifest
from regkeeper.retention.policies.policy import InvalidPolicyError, parse_policy
from tests.applying import Place
from tests.cluster import Cluster
from tests.cluster.api import ApiError
from tests.engine.strategies import SPECS
from tests.operator_process import a_namespace
from tests.retention_objects import retention_object

pytestmark = [pytest.mark.control_plane, pytest.mark.xdist_group("crd-retention")]


@pytest.fixture(scope="module")
def place(control_plane: Cluster) -> Iterator[Place]:
    with a_namespace(control_plane, "crd-retention") as namespace:
        yield Place(control_plane, namespace)


def apply(place: Place, *, dry_run: bool = True, **spec: Any) -> dict[str, Any]:
    return place.apply(retention_object(namespace=place.namespace, **spec), dry_run=dry_run)


def refusal(place: Place, spec: dict[str, Any]) -> str:
    return place.refusal(retention_object(namespace=place.namespace, **spec))


RULE = {"keep": {"last": 5}}
REGULAR_EXPRESSION = "between slashes stands a regular expression in RE2's syntax: correct it, or remove the slashes"
REFERENCE = "not a reference: write repository:tag, repository@sha256:"
SCHEDULE = "schedule: not in cron's syntax: write minute, hour, day of the month, month and day of the week"
ZONE = "timeZone: unknown: write a name of the IANA time zone database, as in Europe/Berlin"


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ({"rules": [{}]}, "spec.rules[0].keep", "Required value"),
        ({"rules": [{"keep": {}}]}, "spec.rules[0].keep", "it keeps nothing; say `keep: {last: 0}` to delete all"),
        ({"rules": [{"keep": {"matching": []}}]}, "spec.rules[0].keep", "it keeps nothing"),
        ({"rules": [{"keep": {"last": -1}}]}, "spec.rules[0].keep.last", "greater than or equal to 0"),
        ({"rules": [{"keep": {"semver": {}}}]}, "spec.rules[0].keep.semver", "say `highest`, `constraint` or both"),
        ({"rules": [{**RULE, "tags": ["/(/"]}]}, "spec.rules[0].tags[0]", REGULAR_EXPRESSION),
        ({"rules": [{**RULE, "tags": ["v1", r"/(a)\1/"]}]}, "spec.rules[0].tags[1]", REGULAR_EXPRESSION),
        ({"rules": [{**RULE, "repositories": ["/[a/"]}]}, "spec.rules[0].repositories[0]", REGULAR_EXPRESSION),
        ({"rules": [{"keep": {"matching": ["/(?=a)/"]}}]}, "spec.rules[0].keep.matching[0]", REGULAR_EXPRESSION),
        ({"rules": [{**RULE, "tags": []}]}, "spec.rules[0].tags", "at least 1 items"),
        ({"delete": ["App:v1"]}, "spec.delete[0]", REFERENCE),
        ({"delete": ["app:v1", "app:"]}, "spec.delete[1]", REFERENCE),
        ({"delete": ["/app:v1"]}, "spec.delete[0]", REFERENCE),
        ({"delete": ["../app:v1"]}, "spec.delete[0]", REFERENCE),
        ({"delete": ["app@sha256:12"]}, "spec.delete[0]", REFERENCE),
        ({"delete": ["k8smaster:5000/app:v1"]}, "spec.delete[0]", REFERENCE),
        ({"untagged": {"deleteAfter": "1 day"}}, "spec.untagged.deleteAfter", "should match"),
        ({"undoWindow": 3600}, "spec.undoWindow", "less than or equal to 0"),
        ({"undoWindow": ""}, "spec.undoWindow", "at least 1 chars"),
        ({"limits": {"maxDeletedShare": "101%"}}, "spec.limits.maxDeletedShare", "should match"),
        ({"schedule": "every night"}, "spec.schedule", SCHEDULE),
        ({"schedule": "TZ=UTC 0 3 * * *"}, "spec.schedule", SCHEDULE),
        ({"schedule": "@daily", "timeZone": "Mars/Olympus"}, "spec.timeZone", ZONE),
        ({"schedule": "@daily", "timeZone": "+02:00"}, "spec.timeZone", ZONE),
        ({"schedule": "@daily", "timeZone": "local"}, "spec.timeZone", ZONE),
        ({"timeZone": "Europe/Berlin"}, "spec", "timeZone: it is about the schedule: set schedule too, or remove it"),
        ({"uploads": {"deleteAfter": "7d"}}, "spec", "uploads: they may go only while the registry is stopped: set"),
        ({"approval": "Never", "approve": "0" * 64}, "spec", "approve: approval is Never"),
        ({"approve": "yes"}, "spec.approve", "should match"),
        ({"undo": {"run": "the last one"}}, "spec.undo.run", "should match"),
        ({"mode": "Live"}, "spec.mode", "supported values"),
        ({"history": 0}, "spec.history", "greater than or equal to 1"),
        ({"startingDeadline": "59s"}, "spec.startingDeadline", "too short: write at least 1m"),
        ({"startTimeout": "0h0m"}, "spec.startTimeout", "too short: write at least 1m"),
        ({"activeDeadline": "0"}, "spec.activeDeadline", "should match"),
        ({"protect": {"hosts": ["a b"]}}, "spec.protect.hosts[0]", "should match"),
        ({"rule": []}, ".spec.rule", "field not declared in schema"),
    ],
)
def test_what_can_not_work_is_refused_by_name(place: Place, spec: dict[str, Any], field: str, message: str) -> None:
    said = refusal(place, spec)
    assert f"{field}:" in said
    assert message in said


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({**RULE, "repositories": None}, "spec.rules[0]: `repositories` has no value"),
        ({"keep": {"last": 1, "pushedWithin": None}}, "spec.rules[0].keep: `pushedWithin` has no value"),
        ({"keep": {"last": 1, "matching": None}}, "spec.rules[0].keep: `matching` has no value"),
        ({"keep": {"semver": {"highest": 1, "constraint": None}}}, "spec.rules[0].keep.semver: `constraint` has no"),
    ],
)
def test_a_field_without_a_value_is_not_dropped_and_makes_the_policy_invalid(
    place: Place, rule: dict[str, Any], message: str
) -> None:
    """An unset variable of a template meant all repositories, or kept nothing."""
    applied = apply(place, rules=[rule])
    with pytest.raises(InvalidPolicyError) as error:
        parse_policy(manifest(applied), "keep-last")
    assert message in str(error.value)


def test_a_policy_without_a_registry_is_refused(place: Place) -> None:
    body = retention_object(namespace=place.namespace)
    del body["spec"]["registryRef"]
    assert "spec.registryRef: Required value" in place.refusal(body)


def test_a_name_that_no_cron_job_can_have_is_refused(place: Place) -> None:
    said = place.refusal(retention_object("a" * 53, namespace=place.namespace))
    assert "metadata.name: a CronJob has this name, and its Jobs a longer one: write at most 52 characters" in said


def test_the_registry_of_a_policy_stays_what_it_is(place: Place) -> None:
    place.apply(retention_object("stays", namespace=place.namespace))
    said = place.refusal(retention_object("stays", namespace=place.namespace, registryRef={"name": "other"}))
    assert "registryRef can't change: what can be undone lies on its volume: make a new ImageRetention" in said


@pytest.mark.parametrize(
    "schedule",
    [
        "0 3 * * *",
        "*/15 0-6,22 1,15 jan-mar,DEC Mon-Fri",
        "59 23 31 12 6",
        "05 03 * * 0",
        "? ? ? ? ?",
        "0/20 * * * *",
        " 0  3 * * * ",
        "@daily",
        "@Hourly",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * * 7",
        "* * * foo *",
        "*/0 * * * *",
        "1- * * * *",
        "* * * *",
        "* * * * * *",
        "@noon",
        "CRON_TZ=UTC * * * * *",
    ],
)
def test_a_schedule_is_taken_exactly_if_a_cron_job_takes_it(place: Place, schedule: str) -> None:
    assert _taken(lambda: apply(place, schedule=schedule)) == _taken(
        lambda: place.apply(_cron_job(place, schedule), dry_run=True)
    )


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "Etc/UTC", "UTC", "America/Argentina/Buenos_Aires", "Nowhere", "Local"]
)
def test_a_time_zone_is_taken_exactly_if_a_cron_job_takes_it(place: Place, zone: str) -> None:
    ours = _taken(lambda: apply(place, schedule="@daily", timeZone=zone))
    assert ours == _taken(lambda: place.apply(_cron_job(place, "@daily", timeZone=zone), dry_run=True))


def _taken(attempt: Any) -> bool:
    try:
        attempt()
    except ApiError as error:
        if "is invalid" not in str(error):
            raise
        return False
    return True


def _cron_job(place: Place, schedule: str, **further: Any) -> dict[str, Any]:
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "registry"}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "like-ours", "namespace": place.namespace},
        "spec": {"schedule": schedule, **further, "jobTemplate": {"spec": {"template": {"spec": pod}}}},
    }


DURATIONS = st.sampled_from(["1m", "60s", "1h30m", "7d", "090s", "0h01m"])
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "schedule": st.sampled_from(["@daily", "30 3 * * 6"]),
        "suspend": st.booleans(),
        "dryRun": st.booleans(),
        "mode": st.sampled_from(["ReadOnly", "Offline"]),
        "approval": st.sampled_from(["WhenLimitExceeded", "Always"]),
        "approve": st.just("0" * 64),
        "undo": st.fixed_dictionaries({"run": st.just("20261124T103145Z-0002")}, optional={"forget": st.booleans()}),
        "history": st.integers(1, 100),
        "undoWindow": st.sampled_from([0, "0s", "24h"]),
        "startingDeadline": DURATIONS,
        "startTimeout": DURATIONS,
        "activeDeadline": DURATIONS,
        "job": st.just({"resources": {"limits": {"memory": "256Mi"}}, "nodeSelector": {"a.example/b": "c"}}),
    },
)


def _policy(spec: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    # Only a policy has a mode; on the command line it is an option.
    return {**spec, **options, **({"mode": "Offline"} if "uploads" in spec else {})}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(policies=st.lists(st.builds(_policy, SPECS, OPTIONS), min_size=5, max_size=10))
def test_every_policy_that_the_engine_takes_is_taken(place: Place, policies: list[dict[str, Any]]) -> None:
    for number, spec in enumerate(policies):
        place.apply(retention_object(f"random-{number}", namespace=place.namespace, **spec), dry_run=True)


def test_what_is_left_out_stays_out(place: Place) -> None:
    spec = apply(place, rules=[RULE])["spec"]
    assert spec == {
        "registryRef": {"name": "main"},
        "rules": [{"name": "", "keep": {"last": 5}}],
        "undoWindow": "24h",
        "suspend": False,
        "dryRun": False,
        "mode": "ReadOnly",
        "approval": "WhenLimitExceeded",
        "history": 3,
        "startTimeout": "2m",
        "activeDeadline": "1h",
    }


def test_kubectl_shows_what_matters(place: Place) -> None:
    place.apply(retention_object("shown", namespace=place.namespace, schedule="@daily"))
    status = {
        "status": {
            "observedGeneration": 1,
            "lastRun": {
                "job": "shown-1",
                "outcome": "Done",
                "started": "2026-01-02T03:04:05Z",
                "tagsDeleted": 15,
                "bytesFreed": 73400320,
            },
        }
    }
    patch = f"--patch={json.dumps(status)}"
    place.kubectl("patch", "imageretention", "shown", "--subresource=status", "--type=merge", patch)
    header, row = place.kubectl("get", "retentions", "shown").splitlines()
    assert header.split() == ["NAME", "REGISTRY", "SCHEDULE", "LAST", "RUN", "OUTCOME", "DELETED", "FREED", "AGE"]
    name, registry, schedule, _, outcome, deleted, freed, _ = row.split()
    assert (name, registry, schedule, outcome, deleted, freed) == ("shown", "main", "@daily", "Done", "15", "73400320")
