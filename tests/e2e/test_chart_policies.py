"""What the operator's service account may do, asked of a real API server: RBAC and the admission policies."""

import copy
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.api.v1alpha1.retention import ImageRetention
from regkeeper.resources.http_secret import http_secret
from regkeeper.resources.retention.cron_job import cron_job
from regkeeper.resources.retention.lock import Lock, lease
from regkeeper.resources.retention.run_job import policy_job, purge_job
from regkeeper.resources.retention.snapshot_part import snapshot_part
from regkeeper.settings import LocalStorageRule, Settings
from regkeeper.snapshot import Part
from tests.chart_account import apply_account
from tests.cluster import Cluster
from tests.cluster.commands import CommandError
from tests.helm import CHART, NAMESPACE, Object, render_text
from tests.registry_objects import UID, all_objects
from tests.retention_objects import retention_object
from tests.waiting import wait_for

pytestmark = pytest.mark.control_plane

RELEASE = "policies"
OPERATOR = f"system:serviceaccount:{NAMESPACE}:{RELEASE}-regkeeper"
TENANT = "chart-policies"
RULE = {"namespaces": [TENANT], "nodes": ["k8smaster"], "path": "/docker/var/lib/registry"}
SETTINGS = Settings(local_storage=(LocalStorageRule.model_validate(RULE),))

CLAIM = {"storage": {"size": "1Gi"}}
LOCAL = {"storage": {"local": {"node": "k8smaster", "path": RULE["path"]}}}
HOST_PORT = {**CLAIM, "access": {"hostPort": {"port": 443}}, "nodeSelector": {"kubernetes.io/hostname": "k8smaster"}}
NODE_PORT = {**CLAIM, "access": {"nodePort": {"port": 30500}}}
SHARED = {"storage": {"size": "1Gi", "accessModes": ["ReadWriteMany"]}, "replicas": 2}

Change = Callable[[Object], Any]


def registry(spec: dict[str, Any]) -> Registry:
    return Registry.model_validate(
        {
            "apiVersion": "regkeeper.dev/v1alpha1",
            "kind": "Registry",
            "metadata": {"name": "main", "namespace": TENANT, "uid": "7b0e1d7c-0000-4000-8000-000000000001"},
            "spec": spec,
        }
    )


def built(spec: dict[str, Any], kind: str) -> Object:
    """The object of that kind that the operator makes for a Registry with that spec."""
    (body,) = [body for body in all_objects(registry(spec), SETTINGS) if body["kind"] == kind]
    return copy.deepcopy(body)


class Asker:
    """Asks the API server as one of its users."""

    def __init__(self, cluster: Cluster, user: str) -> None:
        self._cluster = cluster
        self._user = user

    def ask(self, body: Object) -> None:
        """Whether it might create or change `body`, by server-side apply; a Secret it has the right to create only.

        Raises:
            CommandError: it might not; the message says why.
        """
        verb = ["create"] if body["kind"] == "Secret" else ["apply", "--server-side", "--field-manager=regkeeper"]
        self.run(*verb, "--dry-run=server", "--filename=-", stdin=json.dumps(body))

    def run(self, *arguments: str, stdin: str = "") -> str:
        return self._cluster.kubectl(*arguments, "--as", self._user, stdin=stdin)

    def can(self, verb: str, resource: str, namespace: str = TENANT) -> bool:
        """Whether it has the right; `resource` as in `pods` or `pods/exec`."""
        kind, _, subresource = resource.partition("/")
        question = ["auth", "can-i", verb, kind, f"--subresource={subresource}", "--namespace", namespace]
        try:
            return self.run(*question).strip() == "yes"
        except CommandError:  # "no" has exit status 1
            return False


@pytest.fixture(scope="module")
def operator(control_plane: Cluster) -> Iterator[Asker]:
    """The chart's objects under a release name of their own; no operator runs."""
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", f"--filename={CHART.parent.parent / 'crds'}")
    control_plane.kubectl("create", "namespace", TENANT)
    account = apply_account(control_plane, {"localStorage": [RULE]}, release=RELEASE)
    asker = Asker(control_plane, OPERATOR)
    # A policy works from a moment after its making.
    for body, change, message in FIRST_OF_EACH_POLICY:
        changed = copy.deepcopy(body)
        change(changed)
        wait_for(partial(is_refused, asker, changed, message), 30, f"the policy that says: {message}")
    yield asker
    control_plane.kubectl("delete", "--wait=false", "--filename=-", stdin=json.dumps(account))
    control_plane.kubectl("delete", "namespace", TENANT, "--wait=false")


def is_refused(asker: Asker, body: Object, message: str) -> bool:
    try:
        asker.ask(body)
    except CommandError as error:
        return message in str(error)
    return False


def pod(body: Object) -> Object:
    spec: Object = body["spec"]["template"]["spec"]
    return spec


def container(body: Object) -> Object:
    first: Object = pod(body)["containers"][0]
    return first


def add_container_security(**fields: Any) -> Change:
    return lambda body: container(body)["securityContext"].update(fields)


def add_init_container_security(**fields: Any) -> Change:
    return lambda body: pod(body)["initContainers"][0]["securityContext"].update(fields)


def add_pod_security(**fields: Any) -> Change:
    return lambda body: pod(body)["securityContext"].update(fields)


def add_pod(**fields: Any) -> Change:
    return lambda body: pod(body).update(fields)


def add_volume(**source: Any) -> Change:
    return lambda body: pod(body)["volumes"].append({"name": "more", **source})


def disown(body: Object) -> None:
    del body["metadata"]["ownerReferences"]


def disown_and_unlabel(body: Object) -> None:
    body["metadata"].pop("ownerReferences", None)
    del body["metadata"]["labels"]["regkeeper.dev/registry"]


SECRET = http_secret(registry(CLAIM), "value")

PRIVILEGE = "no privilege, no capability"
POD_SAYS = "with what their pod says"
NOT_ROOT = "a user and a group that are not root"
NODE = "nothing of the node"
NAMESPACES = "namespaces of their own"
TOKEN = "no service account of their own"
PORTS = "port 5000 of the container registry"
OWNED = "only what belongs to a Registry"
VOLUMES = "only local PersistentVolumes of its own"
ALLOWED = "the chart's value localStorage does not allow"

REFUSED: list[tuple[Object, Change, str]] = [
    (built(CLAIM, "Deployment"), add_container_security(privileged=True, allowPrivilegeEscalation=True), PRIVILEGE),
    (
        built(CLAIM, "Deployment"),
        add_init_container_security(privileged=True, allowPrivilegeEscalation=True),
        PRIVILEGE,
    ),
    (built(CLAIM, "Deployment"), add_container_security(allowPrivilegeEscalation=True), PRIVILEGE),
    (
        built(CLAIM, "Deployment"),
        add_container_security(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
        PRIVILEGE,
    ),
    (built(CLAIM, "Deployment"), add_container_security(capabilities={"drop": ["CHOWN"]}), PRIVILEGE),
    (built(CLAIM, "Deployment"), add_container_security(readOnlyRootFilesystem=False), PRIVILEGE),
    (built(CLAIM, "Deployment"), lambda body: container(body).pop("securityContext"), PRIVILEGE),
    (built(CLAIM, "Deployment"), add_container_security(runAsUser=0), POD_SAYS),
    (built(CLAIM, "Deployment"), add_container_security(runAsNonRoot=False), POD_SAYS),
    (built(CLAIM, "Deployment"), add_container_security(seccompProfile={"type": "Unconfined"}), POD_SAYS),
    (built(CLAIM, "Deployment"), add_pod_security(runAsUser=0, runAsNonRoot=True), NOT_ROOT),
    (built(CLAIM, "Deployment"), add_pod_security(runAsNonRoot=False), NOT_ROOT),
    (built(CLAIM, "Deployment"), add_pod_security(seccompProfile={"type": "Unconfined"}), NOT_ROOT),
    (built(CLAIM, "Deployment"), add_pod_security(supplementalGroups=[0]), NOT_ROOT),
    (built(CLAIM, "Deployment"), add_pod_security(fsGroup=0), NOT_ROOT),
    (built(CLAIM, "Deployment"), lambda body: pod(body).pop("securityContext"), NOT_ROOT),
    (built(CLAIM, "Deployment"), add_pod(hostNetwork=True), NAMESPACES),
    # The API server itself refuses both at once.
    (built(CLAIM, "Deployment"), add_pod(hostPID=True, shareProcessNamespace=False), NAMESPACES),
    (built(CLAIM, "Deployment"), add_pod(hostIPC=True), NAMESPACES),
    (built(CLAIM, "Deployment"), add_pod(nodeName="k8smaster"), NAMESPACES),
    (built(CLAIM, "Deployment"), add_pod(serviceAccountName="cluster-admin"), TOKEN),
    (built(CLAIM, "Deployment"), add_pod(automountServiceAccountToken=True), TOKEN),
    (built(CLAIM, "Deployment"), add_volume(hostPath={"path": "/etc"}), NODE),
    (built(CLAIM, "Deployment"), add_volume(secret={"secretName": "other"}), NODE),
    (built(CLAIM, "Deployment"), add_volume(csi={"driver": "any.example.com"}), NODE),
    (built(CLAIM, "Deployment"), add_volume(projected={"sources": [{"serviceAccountToken": {"path": "t"}}]}), NODE),
    (built(HOST_PORT, "Deployment"), lambda body: container(body)["ports"][0].update(containerPort=22), PORTS),
    (built(HOST_PORT, "Deployment"), lambda body: container(body)["ports"][0].update(hostIP="127.0.0.1"), PORTS),
    (built(HOST_PORT, "Deployment"), lambda body: container(body).update(name="other"), PORTS),
    (built(CLAIM, "Deployment"), disown, OWNED),
    (built(CLAIM, "ConfigMap"), disown, OWNED),
    (built(CLAIM, "Service"), disown, OWNED),
    (built(SHARED, "PodDisruptionBudget"), disown, OWNED),
    (built(CLAIM, "PersistentVolumeClaim"), disown_and_unlabel, OWNED),
    (SECRET, disown, OWNED),
    (
        SECRET,
        lambda body: body.update(type="kubernetes.io/dockerconfigjson", data={".dockerconfigjson": "e30="}),
        "Opaque",
    ),
    (built(CLAIM, "Service"), lambda body: body["spec"].update(type="LoadBalancer"), "ClusterIP and NodePort only"),
    (built(CLAIM, "Service"), lambda body: body["spec"].update(externalIPs=["192.0.2.1"]), "externalIPs"),
    (built(CLAIM, "Service"), lambda body: body["spec"].update(selector={"app": "bank"}), "pods of a Registry only"),
    (built(LOCAL, "PersistentVolume"), lambda body: body["spec"]["local"].update(path="/etc"), ALLOWED),
    (built(LOCAL, "PersistentVolume"), lambda body: body["spec"]["local"].update(path=f"{RULE['path']}/a"), ALLOWED),
    (built(LOCAL, "PersistentVolume"), lambda body: body["spec"]["claimRef"].update(namespace="other"), ALLOWED),
    (
        built(LOCAL, "PersistentVolume"),
        lambda body: body["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0].update(
            values=["k8sworker1"]
        ),
        ALLOWED,
    ),
    (
        built(LOCAL, "PersistentVolume"),
        lambda body: body["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0].update(
            operator="NotIn"
        ),
        ALLOWED,
    ),
    (
        built(LOCAL, "PersistentVolume"),
        lambda body: body["spec"].update(persistentVolumeReclaimPolicy="Delete"),
        "are retained",
    ),
    (built(LOCAL, "PersistentVolume"), lambda body: body["spec"].pop("claimRef"), "meant for one claim"),
    (built(LOCAL, "PersistentVolume"), disown_and_unlabel, VOLUMES),
    (
        built(LOCAL, "PersistentVolume"),
        lambda body: body["spec"].update(hostPath={"path": body["spec"].pop("local")["path"]}),
        VOLUMES,
    ),
]

_OF_EACH_POLICY = {"Deployment": PRIVILEGE, "ConfigMap": OWNED, "Service": "externalIPs", "PersistentVolume": ALLOWED}
FIRST_OF_EACH_POLICY = [
    next(case for case in REFUSED if case[0]["kind"] == kind and case[2] == message)
    for kind, message in [*_OF_EACH_POLICY.items(), ("Secret", "Opaque")]
]


@pytest.mark.parametrize("spec", [CLAIM, LOCAL, HOST_PORT, NODE_PORT, SHARED, {"storage": {"ephemeral": {}}}])
def test_what_the_operator_builds_is_admitted(operator: Asker, spec: dict[str, Any]) -> None:
    for body in [*all_objects(registry(spec), SETTINGS), SECRET]:
        operator.ask(body)


def retention_objects() -> list[Object]:
    """All that carries a policy out."""
    of, policy = registry(CLAIM), ImageRetention.model_validate(retention_object(namespace=TENANT, schedule="@daily"))
    policy = policy.model_copy(update={"metadata": policy.metadata.model_copy(update={"uid": UID})})
    return [
        cron_job(policy, of, SETTINGS),
        policy_job(policy, of, SETTINGS, name="keep-last-1", annotations={}, cron_job_uid=UID),
        purge_job(of, SETTINGS, name="main-purge", annotations={}),
        lease(Lock(), claim="main-storage", namespace=TENANT, registry="main"),
        snapshot_part(of, 0, Part("{}", b"content")),
    ]


def test_what_carries_a_policy_out_is_admitted(operator: Asker) -> None:
    for body in retention_objects():
        operator.ask(body)


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
def test_no_run_is_more_than_a_registry(operator: Asker, change: Change, message: str) -> None:
    for body in retention_objects()[:3]:
        change(job_pod(body))
        with pytest.raises(CommandError, match=message):
            operator.ask(body)


def test_jobs_and_leases_of_others_are_theirs(operator: Asker) -> None:
    for body in retention_objects():
        del body["metadata"]["labels"]
        body["metadata"].pop("ownerReferences", None)
        with pytest.raises(CommandError, match=OWNED):
            operator.ask(body)


def test_a_job_whose_cron_job_was_deleted_without_it_can_still_be_ended(
    operator: Asker, control_plane: Cluster
) -> None:
    for name, labels in (
        ("orphan", {"regkeeper.dev/retention": "policy", "regkeeper.dev/registry": "main"}),
        ("stranger", {"regkeeper.dev/registry": "main"}),
    ):
        body = copy.deepcopy(retention_objects()[1])
        body["metadata"] |= {"name": name, "labels": labels, "finalizers": ["regkeeper.dev/run"]}
        disown(body)
        with pytest.raises(CommandError, match=OWNED):
            operator.ask(body)  # it makes none such
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
            operator.run(*remove)
            operator.run(*let_fall)
        else:
            for refused in (remove, let_fall):
                with pytest.raises(CommandError, match=OWNED):
                    operator.run(*refused)
            control_plane.kubectl(*let_fall)


def test_a_lock_that_lost_the_label_of_its_registry_gets_it_again(operator: Asker, control_plane: Cluster) -> None:
    body = lease(Lock(), claim="unlabelled", namespace=TENANT, registry="main")
    label = '{"metadata": {"labels": {"regkeeper.dev/registry": "main"}}}'
    for name, labels, is_ours in (("ours", {"regkeeper.dev/retention": ""}, True), ("theirs", {}, False)):
        body["metadata"] |= {"name": name, "labels": labels}
        control_plane.kubectl("create", "--filename=-", stdin=json.dumps(body))
        patch = ["patch", "lease", name, "--namespace", TENANT, "--type=merge", "--patch", label]
        if is_ours:
            operator.run(*patch)
        else:
            with pytest.raises(CommandError, match=OWNED):
                operator.run(*patch)


def test_of_a_pod_the_operator_may_only_nudge_those_of_runs(operator: Asker, control_plane: Cluster) -> None:
    for name, labels in (("run", {"regkeeper.dev/retention": "policy"}), ("other", {})):
        spec = {"containers": [{"name": "c", "image": "x"}]}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": TENANT, "labels": labels}}
        control_plane.kubectl("create", "--filename=-", stdin=json.dumps({**body, "spec": spec}))
    patch = ["patch", "pod", "--namespace", TENANT, "--type=merge", "--patch"]
    nudge = '{"metadata": {"annotations": {"regkeeper.dev/nudge": "now"}}}'
    operator.run(*patch, nudge, "run")
    for change, name in (
        (nudge, "other"),
        ('{"metadata": {"annotations": {"other": "x"}}}', "run"),
        ('{"metadata": {"labels": {"other": "x"}}}', "run"),
        ('{"spec": {"activeDeadlineSeconds": 1}}', "run"),
    ):
        with pytest.raises(CommandError, match="the operator may"):
            operator.run(*patch, change, name)


@pytest.mark.parametrize(
    ("body", "change", "message"), REFUSED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_it_does_not_need_is_refused(operator: Asker, body: Object, change: Change, message: str) -> None:
    changed = copy.deepcopy(body)
    change(changed)
    with pytest.raises(CommandError, match=message):
        operator.ask(changed)


def test_others_are_not_held_to_it(operator: Asker, control_plane: Cluster) -> None:
    body, change, _ = FIRST_OF_EACH_POLICY[0]
    changed = copy.deepcopy(body)
    change(changed)
    control_plane.kubectl("apply", "--server-side", "--dry-run=server", "--filename=-", stdin=json.dumps(changed))


def test_a_foreign_object_is_neither_changed_nor_deleted(operator: Asker, control_plane: Cluster) -> None:
    ours = built(SHARED, "PodDisruptionBudget")
    foreign = {**ours, "metadata": {"name": "foreign", "namespace": TENANT}}
    control_plane.kubectl("apply", "--server-side", "--filename=-", stdin=json.dumps(foreign))
    with pytest.raises(CommandError, match=OWNED):
        operator.run("delete", "poddisruptionbudget", "foreign", "--namespace", TENANT)
    taken = {**ours, "metadata": {**ours["metadata"], "name": "foreign"}}
    with pytest.raises(CommandError, match=OWNED):
        operator.ask(taken)


@pytest.mark.parametrize("kind", ["PersistentVolume", "PersistentVolumeClaim"])
def test_what_lost_its_label_may_be_repaired_and_deleted(operator: Asker, control_plane: Cluster, kind: str) -> None:
    ours = built(LOCAL, kind)
    metadata = ours["metadata"]
    where = (kind, metadata["name"], *(("--namespace", TENANT) if "namespace" in metadata else ()))
    operator.run("apply", "--server-side", "--field-manager=regkeeper", "--filename=-", stdin=json.dumps(ours))
    control_plane.kubectl("label", *where, "regkeeper.dev/registry-", "regkeeper.dev/registry-namespace-")
    operator.ask(ours)
    operator.run("delete", *where, "--wait=false")


def test_the_spec_of_a_registry_is_its_users(operator: Asker, control_plane: Cluster) -> None:
    body = {**registry(CLAIM).model_dump(include={"kind"}), "apiVersion": "regkeeper.dev/v1alpha1", "spec": CLAIM}
    body["metadata"] = {"name": "main", "namespace": TENANT}
    control_plane.kubectl("apply", "--server-side", "--filename=-", stdin=json.dumps(body))
    patch = ["patch", "registry", "main", "--namespace", TENANT, "--type=merge", "--patch"]
    operator.run(*patch, '{"metadata": {"finalizers": ["regkeeper.dev/cleanup"]}}')
    operator.run(*patch, '{"metadata": {"finalizers": null}}')
    assert operator.can("patch", "registries.regkeeper.dev/status")
    with pytest.raises(CommandError, match="never change what a user asked for"):
        operator.run(*patch, '{"spec": {"readOnly": true}}')


@pytest.mark.parametrize(
    ("verb", "resource"),
    [
        ("get", "secrets"),
        ("list", "secrets"),
        ("delete", "secrets"),
        ("get", "nodes/proxy"),
        ("delete", "configmaps"),
        ("delete", "services"),
        ("delete", "deployments.apps"),
        ("patch", "storageclasses"),
        ("create", "pods"),
        ("create", "pods/exec"),
        ("create", "serviceaccounts/token"),
        ("delete", "registries"),
        ("create", "daemonsets"),
        ("patch", "nodes"),
        ("create", "clusterroles"),
        ("patch", "validatingadmissionpolicies"),
        ("impersonate", "users"),
    ],
)
def test_rights_that_it_lacks(operator: Asker, verb: str, resource: str) -> None:
    assert not operator.can(verb, resource)


@pytest.mark.parametrize(
    ("role", "yes", "no"),
    [
        ("view", ["get", "list", "watch"], ["create", "patch", "delete"]),
        ("edit", ["get", "create", "update", "patch", "delete", "deletecollection"], []),
    ],
)
@pytest.mark.parametrize("prefix", ["", f"{RELEASE}-regkeeper-"], ids=["aggregated", "own"])
def test_roles_for_users(
    operator: Asker, control_plane: Cluster, role: str, yes: list[str], no: list[str], prefix: str
) -> None:
    user = f"{prefix}{role}er"
    binding = ["rolebinding", user, f"--clusterrole={prefix}{role}", f"--user={user}", "--namespace", TENANT]
    control_plane.kubectl("create", *binding)
    asker = Asker(control_plane, user)
    # The controller manager fills the aggregated roles, and the authorizer reads bindings, a moment later.
    wait_for(lambda: asker.can("get", "registries.regkeeper.dev"), 30, f"{user} to get registries")
    assert [verb for verb in yes if not asker.can(verb, "registries.regkeeper.dev")] == []
    assert [verb for verb in no if asker.can(verb, "registries.regkeeper.dev")] == []
    assert asker.can("get", "registries.regkeeper.dev/status")
    assert not asker.can("patch", "registries.regkeeper.dev/status")
    assert not asker.can("get", "registries.regkeeper.dev", namespace="default")


def test_the_operators_own_namespace_may_be_restricted(operator: Asker, control_plane: Cluster) -> None:
    """The API server's Pod Security admission warns of each pod of the chart that would be refused."""
    control_plane.kubectl("create", "namespace", "chart-restricted")
    control_plane.kubectl("label", "namespace", "chart-restricted", "pod-security.kubernetes.io/warn=restricted")
    # The agents' namespace is one that is there: a dry run makes none.
    values = {"crds": {"install": False}, "trust": {"agentsNamespace": "kube-public"}}
    chart = render_text(values, release="restricted", namespace="chart-restricted")
    try:
        control_plane.kubectl(
            "apply", "--server-side", "--dry-run=server", "--warnings-as-errors", "--filename=-", stdin=chart
        )
    finally:
        control_plane.kubectl("delete", "namespace", "chart-restricted", "--wait=false")
