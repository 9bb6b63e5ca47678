"""Which rights the chart gives to the operator and to users, by its roles and by the policy over Registries."""

import json

import pytest

from tests.cluster import Cluster
from tests.cluster.commands import CommandError
from tests.e2e.asker import Asker
from tests.e2e.tenant import CLAIM, RELEASE, TENANT, registry
from tests.helm import render_text
from tests.waiting import wait_for

pytestmark = pytest.mark.control_plane


def test_the_spec_of_a_registry_is_its_users(confined: Asker, control_plane: Cluster) -> None:
    body = {**registry(CLAIM).model_dump(include={"kind"}), "apiVersion": "regkeeper.dev/v1alpha1", "spec": CLAIM}
    body["metadata"] = {"name": "main", "namespace": TENANT}
    control_plane.kubectl("apply", "--server-side", "--filename=-", stdin=json.dumps(body))
    patch = ["patch", "registry", "main", "--namespace", TENANT, "--type=merge", "--patch"]
    confined.run(*patch, '{"metadata": {"finalizers": ["regkeeper.dev/cleanup"]}}')
    confined.run(*patch, '{"metadata": {"finalizers": null}}')
    assert confined.can("patch", "registries.regkeeper.dev/status")
    with pytest.raises(CommandError, match="never change what a user asked for"):
        confined.run(*patch, '{"spec": {"readOnly": true}}')


@pytest.fixture(scope="module")
def names(confined: Asker) -> set[str]:
    """All kinds of resources that the API server has, with their groups."""
    return set(confined.run("api-resources", "--output=name").split())


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
        ("patch", "storageclasses.storage.k8s.io"),
        ("create", "pods"),
        ("create", "pods/exec"),
        ("create", "serviceaccounts/token"),
        ("delete", "registries.regkeeper.dev"),
        ("create", "daemonsets.apps"),
        ("patch", "nodes"),
        ("create", "clusterroles.rbac.authorization.k8s.io"),
        ("patch", "validatingadmissionpolicies.admissionregistration.k8s.io"),
        ("impersonate", "users"),
    ],
)
def test_rights_that_it_lacks(confined: Asker, names: set[str], verb: str, resource: str) -> None:
    assert verb == "impersonate" or resource.partition("/")[0] in names, "nobody has a right to what is not there"
    assert not confined.can(verb, resource)


@pytest.mark.parametrize(
    ("role", "yes", "no"),
    [
        ("view", ["get", "list", "watch"], ["create", "patch", "delete"]),
        ("edit", ["get", "create", "update", "patch", "delete", "deletecollection"], []),
    ],
)
@pytest.mark.parametrize("prefix", ["", f"{RELEASE}-regkeeper-"], ids=["aggregated", "own"])
def test_roles_for_users(
    confined: Asker, control_plane: Cluster, role: str, yes: list[str], no: list[str], prefix: str
) -> None:
    user = f"{prefix}{role}er"
    group = "rbac.authorization.k8s.io"
    control_plane.api().create(
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": user, "namespace": TENANT},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": f"{prefix}{role}"},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        }
    )
    asker = Asker(control_plane, user, TENANT)
    # The controller manager fills the aggregated roles, and the authorizer reads bindings, a moment later.
    wait_for(lambda: asker.can("get", "registries.regkeeper.dev"), 30, f"{user} to get registries")
    assert [verb for verb in yes if not asker.can(verb, "registries.regkeeper.dev")] == []
    assert [verb for verb in no if asker.can(verb, "registries.regkeeper.dev")] == []
    assert asker.can("get", "registries.regkeeper.dev/status")
    assert not asker.can("patch", "registries.regkeeper.dev/status")
    assert not asker.can("get", "registries.regkeeper.dev", namespace="default")


def test_the_operators_own_namespace_may_be_restricted(confined: Asker, control_plane: Cluster) -> None:
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
