"""What the operator may do in the namespace of the node agents: one DaemonSet of one shape, its key, one annotation."""

import copy
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from regkeeper import naming
from regkeeper.resources.node_agent import local_registry_hosting, node_agent, node_agent_key
from regkeeper.settings import Settings, TrustSettings
from tests.chart_account import apply_account, delete_account
from tests.cluster import Cluster
from tests.cluster.api import ApiError
from tests.cluster.commands import CommandError
from tests.e2e.asker import Asker, is_refused
from tests.e2e.tenant import container, pod
from tests.helm import NAMESPACE, Object
from tests.waiting import wait_for

pytestmark = [pytest.mark.control_plane, pytest.mark.xdist_group("agent-policies")]

RELEASE = "agents"
AGENTS = f"{RELEASE}-nodes"
SETTINGS = Settings(image="regkeeper:0.1.0", trust=TrustSettings(agents_namespace=AGENTS))
DAEMON_SET = node_agent(SETTINGS)
KEY = node_agent_key(SETTINGS, b"k" * 32)

Change = Callable[[Object], Any]

SHARES = "share the node's process ids and nothing else"
MOUNTS = "mount the node, their list and their key"
PLACES = "have each volume at its place"
RUNS = "the operator's own image and its one program"
KNOWS = "nothing else is started in them"
PRIVILEGE = "no privilege, no capability"


@pytest.fixture(scope="module")
def operator(control_plane: Cluster) -> Iterator[Asker]:
    """The chart's objects under a release name of their own; no operator runs."""
    account = apply_account(control_plane, release=RELEASE)
    asker = Asker(control_plane, f"system:serviceaccount:{NAMESPACE}:{RELEASE}-regkeeper", AGENTS)
    # A policy works from a moment after its making.
    wait_for(partial(is_refused, asker, changed(update_pod(hostIPC=True)), SHARES), 30, "the policy over DaemonSets")
    other = {**KEY, "metadata": {**KEY["metadata"], "name": "other"}}
    wait_for(partial(is_refused, asker, other, "belongs to a Registry"), 30, "the policy over Secrets")
    yield asker
    delete_account(control_plane, account)


def test_what_tells_tools_of_the_registry_is_admitted_only_where_a_value_asks_for_it(control_plane: Cluster) -> None:
    with_value, without = "hosting", "no-hosting"
    values = {"trust": {"localRegistryHosting": "default/main"}}
    made = [apply_account(control_plane, values, release=with_value), apply_account(control_plane, release=without)]
    body = local_registry_hosting([{"type": "HostPort", "host": "k8smaster:5000"}])
    assert body is not None
    other = {**body, "metadata": {**body["metadata"], "name": "cluster-info"}}
    asker, stranger = (
        Asker(control_plane, f"system:serviceaccount:{NAMESPACE}:{release}-regkeeper", "default")
        for release in (with_value, without)
    )
    for who, what in ((asker, other), (stranger, body)):
        refused = partial(is_refused, who, what, "belongs to a Registry")
        wait_for(refused, 30, "the policy over ConfigMaps")
    asker.ask(body)
    for account in made:
        delete_account(control_plane, account)


def changed(change: Change) -> Object:
    body = copy.deepcopy(DAEMON_SET)
    change(body)
    return body


def update_container(**fields: Any) -> Change:
    return lambda body: container(body).update(fields)


def update_mount(position: int, **fields: Any) -> Change:
    return lambda body: container(body)["volumeMounts"][position].update(fields)


def update_security(**fields: Any) -> Change:
    return lambda body: container(body)["securityContext"].update(fields)


def update_pod(**fields: Any) -> Change:
    return lambda body: pod(body).update(fields)


def test_what_the_operator_builds_is_admitted(operator: Asker) -> None:
    operator.ask(DAEMON_SET)
    operator.ask(KEY)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (update_pod(hostNetwork=True), SHARES),
        (update_pod(hostIPC=True), SHARES),
        (update_pod(automountServiceAccountToken=True), SHARES),
        (update_pod(serviceAccountName="admin"), SHARES),
        (lambda body: pod(body)["volumes"][0]["hostPath"].update(path="/etc"), MOUNTS),
        (lambda body: pod(body)["volumes"].append({"name": "more", "hostPath": {"path": "/"}}), MOUNTS),
        (lambda body: pod(body)["volumes"][2]["secret"].update(secretName="admin"), MOUNTS),
        (update_container(workingDir="/host/tmp"), PLACES),
        (update_mount(0, mountPath="/opt/regkeeper"), PLACES),
        (update_mount(0, subPath="tmp"), PLACES),
        (update_mount(0, subPathExpr="$(REGKEEPER_NODE)"), PLACES),
        (update_mount(1, mountPath="/opt/regkeeper/lib/python3.13/site-packages/regkeeper/nodes"), PLACES),
        (lambda body: container(body)["volumeMounts"].append({"name": "node", "mountPath": "/opt"}), PLACES),
        (update_container(image="evil"), RUNS),
        (update_container(command=["sh", "-c"]), RUNS),
        (update_container(args=["--root=/"]), RUNS),
        (lambda body: pod(body).update(initContainers=[{"name": "first", "image": "evil"}]), RUNS),
        (lambda body: pod(body)["containers"].append({"name": "second", "image": "evil"}), RUNS),
        (lambda body: container(body)["env"].append({"name": "PYTHONPATH", "value": "/host/tmp"}), KNOWS),
        (lambda body: container(body)["env"][0].update(valueFrom=None, value="other"), KNOWS),
        (update_container(envFrom=[{"configMapRef": {"name": "x"}}]), KNOWS),
        (update_container(lifecycle={"postStart": {"exec": {"command": ["sh"]}}}), KNOWS),
        (update_container(livenessProbe={"exec": {"command": ["sh"]}}), KNOWS),
        (update_container(startupProbe={"exec": {"command": ["sh"]}}), KNOWS),
        (update_container(readinessProbe={"exec": {"command": ["sh"]}}), KNOWS),
        (lambda body: container(body)["ports"][0].update(hostPort=8082), KNOWS),
        (update_security(privileged=True, allowPrivilegeEscalation=True), PRIVILEGE),
        (update_security(readOnlyRootFilesystem=False), PRIVILEGE),
        (update_security(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]}), PRIVILEGE),
        (update_security(capabilities={}), PRIVILEGE),
    ],
)
def test_what_the_agents_do_not_need_is_refused(operator: Asker, change: Change, message: str) -> None:
    with pytest.raises(ApiError, match=message):
        operator.ask(changed(change))


def test_nothing_else_is_made_in_their_namespace(operator: Asker) -> None:
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "more", "namespace": AGENTS}}
    with pytest.raises(ApiError, match="belongs to a Registry"):
        operator.ask(config_map)


def test_a_daemon_set_elsewhere_or_of_another_name_is_beyond_its_rights(operator: Asker) -> None:
    named = changed(lambda body: body["metadata"].update(name="other"))
    assert operator.can("create", "daemonsets.apps")
    assert not operator.can("create", "daemonsets.apps", "default")
    with pytest.raises(CommandError, match="make one DaemonSet"):
        operator.run("create", "--dry-run=server", "--filename=-", stdin=json.dumps(named))
    assert not operator.can("create", "pods")
    assert not operator.can("get", "secrets"), "but the one with the key, by its name"
    assert operator.run("auth", "can-i", "get", f"secret/{naming.NODE_AGENT_KEY}", f"--namespace={AGENTS}")


def test_of_a_pod_just_one_annotation_may_change(operator: Asker, control_plane: Cluster) -> None:
    spec = {"containers": [{"name": "agent", "image": "agent"}]}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "agent"}, "spec": spec}
    body["metadata"] = {"name": "agent", "namespace": AGENTS, "labels": naming.node_agent_labels()}
    control_plane.kubectl("apply", "--filename=-", stdin=json.dumps(body))
    patch = partial(operator.run, "patch", "pod", "agent", f"--namespace={AGENTS}")
    patch("--type=merge", "--patch", json.dumps({"metadata": {"annotations": {naming.TRUST_ANNOTATION: "told"}}}))
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "y"}
    applied = "kubectl.kubernetes.io~1last-applied-configuration"
    for message, operation in (
        ("and no other", {"op": "add", "path": "/metadata/annotations/regkeeper.dev~1nudge", "value": "x"}),
        ("and no other", {"op": "remove", "path": f"/metadata/annotations/{applied}"}),
        ("what a pod is", {"op": "add", "path": "/metadata/labels/app", "value": "bank"}),
        ("what a pod is", {"op": "add", "path": "/metadata/ownerReferences", "value": [owner]}),
        ("what a pod is", {"op": "replace", "path": "/spec/containers/0/image", "value": "evil"}),
    ):
        with pytest.raises(CommandError, match=message):
            patch("--type=json", "--patch", json.dumps([operation]))
