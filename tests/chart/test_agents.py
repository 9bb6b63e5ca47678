"""What surrounds the node agents: a namespace of their own, its wall, and the hook that has nodes forget."""

import pytest

from regkeeper.resources.node_agent import AGENT_PORT
from regkeeper.settings import Settings
from tests.chart.values import EVERYTHING
from tests.helm import NAMESPACE, render


@pytest.mark.parametrize("release", ["regkeeper", "mine"])
def test_the_agents_are_reached_by_the_operator_at_their_port_and_by_nobody_else(release: str) -> None:
    """nodes.md: "NetworkPolicy is a second wall"."""
    objects = render(EVERYTHING, release=release)
    (deployment,) = [body for body in objects if body["kind"] == "Deployment"]
    (policy,) = [body for body in objects if body["kind"] == "NetworkPolicy"]
    assert policy["metadata"]["namespace"] == Settings().trust.agents_namespace
    assert policy["spec"]["podSelector"] == {}
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policy["spec"], "they ask nobody"
    (rule,) = policy["spec"]["ingress"]
    assert rule["ports"] == [{"port": AGENT_PORT, "protocol": "TCP"}]
    (peer,) = rule["from"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": NAMESPACE}
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert peer["podSelector"]["matchLabels"].items() <= labels.items()
    (job,) = [body for body in objects if body["kind"] == "Job"]
    others = job["spec"]["template"]["metadata"].get("labels", {})
    assert not peer["podSelector"]["matchLabels"].items() <= others.items()


@pytest.mark.parametrize("release", ["regkeeper", "mine"])
def test_the_agents_have_a_namespace_of_their_own_that_admits_them(release: str) -> None:
    """nodes.md: "labelled `enforce: privileged`, nothing else in it"."""
    objects = render({**EVERYTHING, "watchNamespaces": []}, release=release)
    (namespace,) = [body for body in objects if body["kind"] == "Namespace"]
    name = namespace["metadata"]["name"]
    assert name == Settings().trust.agents_namespace != NAMESPACE
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"
    inside = {body["kind"] for body in objects if body["metadata"].get("namespace") == name}
    assert inside == {"Role", "RoleBinding", "NetworkPolicy"}, "no pod of ours but the agents"


def test_nodes_forget_before_an_uninstall_only_if_asked() -> None:
    assert not [body for body in render() if body["metadata"]["name"] == "regkeeper-revert"]
    kinds = [
        (body["kind"], body["metadata"]["annotations"]["helm.sh/hook"])
        for body in render({"trust": {"revertOnUninstall": True}})
        if body["metadata"]["name"] == "regkeeper-revert"
    ]
    assert sorted(kinds) == [(kind, "pre-delete") for kind in ("Job", "Role", "RoleBinding", "ServiceAccount")]
