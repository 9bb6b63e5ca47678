"""What the chart's admission policies let the operator's service account make for runs of retention, and what not."""

import copy
import json

import pytest

from regkeeper.api.v1alpha1.retention import ImageRetention
from regkeeper.resources.lease import Lock, lease
from regkeeper.resources.retention import cron_job, policy_job, registry_job, snapshot_part
from regkeeper.snapshot import Part
from tests.cluster import Cluster
from tests.cluster.api import ApiError
from tests.cluster.commands import CommandError
from tests.e2e.asker import Asker
from tests.e2e.refused_objects import NAMESPACES, NOT_ROOT, OWNED, PRIVILEGE, Change
from tests.e2e.tenant import CLAIM, SETTINGS, TENANT, disown, registry
from tests.helm import Object
from tests.registry_objects import UID
from tests.retention_objects import retention_object

pytestmark = pytest.mark.control_plane


def retention_objects() -> list[Object]:
    """All that carries a policy out."""
    of, policy = registry(CLAIM), ImageRetention.model_validate(retention_object(namespace=TENANT, schedule="@daily"))
    policy = policy.model_copy(update={"metadata": policy.metadata.model_copy(update={"uid": UID})})
    return [
        cron_job(policy, of, SETTINGS),
        policy_job(policy, of, SETTINGS, name="keep-last-1", annotations={}, cron_job_uid=UID),
        registry_job(of, SETTINGS, name="main-purge", annotations={}),
        lease(Lock(), claim="main-storage", namespace=TENANT, registry="main"),
        snapshot_part(of, 0, Part("{}", b"content")),
    ]


def test_what_carries_a_policy_out_is_admitted(confined: Asker) -> None:
    for body in retention_objects():
        confined.ask(body)


def job_pod(body: Object) -> Object:
    spec = body["spec"]["jobTemplate"]["spec"] if body["kind"] == "CronJob" else body["spec"]
    found: Object = spec["template"]["spec"]
    return found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pod: pod["volumes"].append({"name": "host", "hostPath": {"path": "/"}}), "nothing of the node"),
        (lambda pod: pod.update(automountServiceAccountToken=True), "no token"),
        (lambda pod: pod["containers"][0]["securityContext"].update(readOnlyRootFilesystem=False), PRIVILEGE),
        (lambda pod: pod["securityContext"].update(runAsUser=0), NOT_ROOT),
        (lambda pod: pod.update(hostPID=True), NAMESPACES),
    ],
)
def test_no_run_is_more_than_a_registry(confined: Asker, change: Change, message: str) -> None:
    for body in retention_objects()[:3]:
        change(job_pod(body))
        with pytest.raises(ApiError, match=message):
            confined.ask(body)


def test_jobs_and_leases_of_others_are_theirs(confined: Asker) -> None:
    for body in retention_objects():
        del body["metadata"]["labels"]
        body["metadata"].pop("ownerReferences", None)
        with pytest.raises(ApiError, match=OWNED):
            confined.ask(body)


def test_a_job_whose_cron_job_was_deleted_without_it_can_still_be_ended(
    confined: Asker, control_plane: Cluster
) -> None:
    for name, labels in (
        ("orphan", {"regkeeper.dev/retention": "policy", "regkeeper.dev/registry": "main"}),
        ("stranger", {"regkeeper.dev/registry": "main"}),
    ):
        body = copy.deepcopy(retention_objects()[1])
        body["metadata"] |= {"name": name, "labels": labels, "finalizers": ["regkeeper.dev/run"]}
        disown(body)
        with pytest.raises(ApiError, match=OWNED):
            confined.ask(body)  # it makes none such
        control_plane.kubectl("create", "--filename=-", stdin=json.dumps(body))
        let_fall = [
            "patch",
            "job",
            name,
            "--namespace",
            TENANT,
            "--type=merge",
            '--patch={"metadata":{"finalizers":[]}}',
        ]
        remove = ["delete", "job", name, "--namespace", TENANT, "--dry-run=server"]
        if name == "orphan":
            confined.run(*remove)
            confined.run(*let_fall)
        else:
            for refused in (remove, let_fall):
                with pytest.raises(CommandError, match=OWNED):
                    confined.run(*refused)
            control_plane.kubectl(*let_fall)


def test_a_lock_that_lost_the_label_of_its_registry_gets_it_again(confined: Asker, control_plane: Cluster) -> None:
    body = lease(Lock(), claim="unlabelled", namespace=TENANT, registry="main")
    label = '{"metadata": {"labels": {"regkeeper.dev/registry": "main"}}}'
    for name, labels, is_ours in (("ours", {"regkeeper.dev/retention": ""}, True), ("theirs", {}, False)):
        body["metadata"] |= {"name": name, "labels": labels}
        control_plane.kubectl("create", "--filename=-", stdin=json.dumps(body))
        patch = ["patch", "lease", name, "--namespace", TENANT, "--type=merge", "--patch", label]
        if is_ours:
            confined.run(*patch)
        else:
            with pytest.raises(CommandError, match=OWNED):
                confined.run(*patch)


def test_of_a_pod_the_operator_may_only_nudge_those_of_runs(confined: Asker, control_plane: Cluster) -> None:
    for name, labels in (("run", {"regkeeper.dev/retention": "policy"}), ("other", {})):
        spec = {"containers": [{"name": "c", "image": "x"}]}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": TENANT, "labels": labels}}
        control_plane.kubectl("create", "--filename=-", stdin=json.dumps({**body, "spec": spec}))
    patch = ["patch", "pod", "--namespace", TENANT, "--type=merge", "--patch"]
    nudge = '{"metadata": {"annotations": {"regkeeper.dev/nudge": "now"}}}'
    confined.run(*patch, nudge, "run")
    for change, name in (
        (nudge, "other"),
        ('{"metadata": {"annotations": {"other": "x"}}}', "run"),
        ('{"metadata": {"labels": {"other": "x"}}}', "run"),
        ('{"spec": {"activeDeadlineSeconds": 1}}', "run"),
    ):
        with pytest.raises(CommandError, match="the operator may"):
            confined.run(*patch, change, name)
