"""What carries a retention out: CronJob, Jobs, pods, the lock."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from regkeeper.api.v1alpha1.retention import ImageRetention
from regkeeper.naming import REGISTRY_LABEL, RETENTION_LABEL, selector_labels
from regkeeper.resources.lease import Holder, Lock, Quiet, Rescue, Stage, change, lease, read_lock
from regkeeper.resources.retention import cron_job, policy_job, registry_job, snapshot_part
from regkeeper.settings import Settings
from regkeeper.snapshot import PARTS, Document, Part, decode, encode
from regkeeper.snapshot import Stage as SnapshotStage
from tests.registry_objects import a_registry
from tests.retention_objects import retention_object

SETTINGS = Settings(image="regkeeper@sha256:abc")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def a_retention(**spec: Any) -> ImageRetention:
    body = retention_object(**spec)
    body["metadata"]["uid"] = "1b6f6e52-7e6e-4a53-9a52-000000000000"
    return ImageRetention.model_validate(body)


def built(**spec: Any) -> dict[str, Any]:
    return cron_job(a_retention(**spec), a_registry(), SETTINGS)


def test_jobs_are_born_suspended_one_at_a_time_and_never_twice() -> None:
    spec = built(
        schedule="0 3 * * *", timeZone="Europe/Berlin", history=5, startingDeadline="2h", activeDeadline="30m"
    )["spec"]
    assert (spec["schedule"], spec["timeZone"]) == ("0 3 * * *", "Europe/Berlin")
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["startingDeadlineSeconds"] == 7200
    assert spec["successfulJobsHistoryLimit"] == spec["failedJobsHistoryLimit"] == 5
    job = spec["jobTemplate"]["spec"]
    assert job["suspend"] is True
    assert (job["backoffLimit"], job["podReplacementPolicy"]) == (0, "Failed")
    assert job["activeDeadlineSeconds"] > 1800
    assert "ttlSecondsAfterFinished" not in job
    assert job["template"]["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize(
    ("spec", "suspended"),
    [({}, True), ({"schedule": "@daily"}, False), ({"schedule": "@daily", "suspend": True}, True)],
)
def test_only_a_schedule_that_is_not_suspended_makes_jobs(spec: dict[str, Any], suspended: bool) -> None:
    assert built(**spec)["spec"]["suspend"] is suspended


def test_the_pod_has_no_token_and_only_its_second_stage_may_write() -> None:
    pod = built()["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    (plan,), (run,) = pod["initContainers"], pod["containers"]
    mounts = [{mount["name"]: mount for mount in container["volumeMounts"]} for container in (plan, run)]
    assert [mount["storage"].get("readOnly", False) for mount in mounts] == [True, False]
    assert [container["args"] for container in (plan, run)] == [["job", "plan"], ["job", "run"]]
    names = {"storage", "handover", *(f"snapshot-{part}" for part in range(PARTS))}
    assert {volume["name"] for volume in pod["volumes"]} == names == set(mounts[0]) == set(mounts[1])
    assert all(volume["configMap"]["optional"] for volume in pod["volumes"] if "configMap" in volume)
    for container in (plan, run):
        assert container["image"] == SETTINGS.image
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_registrys_service_and_budget_do_not_find_the_pods_of_runs() -> None:
    labels = built()["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
    assert labels[REGISTRY_LABEL] == "main"
    assert labels[RETENTION_LABEL] == "keep-last"
    assert not selector_labels("main").items() <= labels.items()


def test_the_pod_goes_where_the_registry_may_go() -> None:
    taint = {"key": "a", "operator": "Exists"}
    registry = a_registry(tolerations=[taint], imagePullSecrets=[{"name": "pull"}])
    own = {"key": "b", "operator": "Exists"}
    retention = a_retention(job={"tolerations": [own, taint], "priorityClassName": "low"})
    pod = cron_job(retention, registry, SETTINGS)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["tolerations"] == [taint, own]
    assert pod["priorityClassName"] == "low"
    assert pod["imagePullSecrets"] == [{"name": "pull"}]


def test_a_job_of_the_operator_is_the_cronjobs_and_a_purge_the_registrys() -> None:
    job = policy_job(
        a_retention(), a_registry(), SETTINGS, name="keep-last-abc", annotations={"a": "b"}, cron_job_uid="u"
    )
    assert (
        job["metadata"]["ownerReferences"][0] | {"uid": "u", "kind": "CronJob", "name": "keep-last"}
        == (job["metadata"]["ownerReferences"][0])
    )
    assert job["spec"] == built()["spec"]["jobTemplate"]["spec"]
    purge = registry_job(a_registry(), SETTINGS, name="main-purge", annotations={})
    assert purge["metadata"]["ownerReferences"][0]["kind"] == "Registry"
    assert purge["metadata"]["labels"][RETENTION_LABEL] == ""
    assert purge["spec"]["suspend"] is True


HOLDER = Holder(
    uid="7c0e",
    job="keep-last-29",
    retention="keep-last",
    action="retain",
    since=NOON,
    end=NOON.replace(hour=13),
    stage=Stage.RUNNING,
    quiet=Quiet.READ_ONLY,
    quiet_since=NOON.replace(minute=1),
    aborted="somebody's reason, with ü",
)


def merged(body: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(body) if isinstance(body, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


@pytest.mark.parametrize(
    "lock",
    [
        Lock(),
        Lock(HOLDER),
        Lock(replace(HOLDER, quiet=None, quiet_since=None, aborted="", stage=Stage.PREPARING), NOON, ("7c0d", "9a2f")),
        Lock(replace(HOLDER, node="k8sworker1")),
        Lock(replace(HOLDER, overdue_since=NOON.replace(hour=14))),
        Lock(None, NOON),
        Lock(rescue=Rescue("keep-last", NOON, NOON.replace(minute=1), "Job x: Refused: full")),
    ],
)
def test_a_lock_is_read_as_it_was_written(lock: Lock) -> None:
    made = lease(lock, claim="main-storage", namespace="images", registry="main")
    assert read_lock(merged({}, made)) == lock
    before = lease(
        Lock(HOLDER, NOON, ("x",), Rescue("", NOON, NOON)), claim="main-storage", namespace="images", registry="main"
    )
    assert read_lock(merged(before, change(lock))) == lock


def test_no_lease_is_a_free_lock() -> None:
    assert read_lock(None) == Lock()


@pytest.mark.parametrize("key", ["regkeeper.dev/stage", "regkeeper.dev/end-time", "regkeeper.dev/quiet"])
def test_what_somebody_else_wrote_into_it_is_a_free_lock(key: str) -> None:
    body = lease(Lock(HOLDER), claim="main-storage", namespace="images", registry="main")
    body["metadata"]["annotations"][key] = "2026-01-01T00:00:00"
    assert read_lock(body) == Lock()


def test_what_a_run_was_told_can_be_read_again_from_its_parts() -> None:
    document = Document(action="retain", name="keep", end_time="", in_use=[("a:1", "Pod shop/web")])
    parts = encode(document, run="uid", generation=1, stage=SnapshotStage.RUN)
    assert decode(parts, "uid") == document
    assert decode(parts, "another") is None
    assert decode([Part("", b"")] * PARTS, "uid") is None
    assert decode([Part(parts[0].header, parts[0].content[:-1])], "uid") is None


def test_a_part_of_a_snapshot_is_unseen_by_the_watches_and_can_be_emptied() -> None:
    part = snapshot_part(a_registry(), 2, Part("{}", b"\0\1"))
    assert part["metadata"]["name"] == "main-retention-2"
    assert REGISTRY_LABEL not in part["metadata"]["labels"]
    assert part["binaryData"] == {"part": "AAE="}
    empty = snapshot_part(a_registry(), 2, Part("", b""))
    assert "data" not in empty
    assert "binaryData" not in empty
