"""The objects of the node agents."""

from pathlib import Path
from typing import Any

import yaml

from regkeeper import naming
from regkeeper.resources.node_agent import HOSTING_KEY, local_registry_hosting, node_agent, node_agent_key
from regkeeper.settings import Settings, TrustSettings

SETTINGS = Settings(image="regkeeper:test", trust=TrustSettings(agents_namespace="agents"))


def pod(settings: Settings = SETTINGS) -> dict[str, Any]:
    spec: dict[str, Any] = node_agent(settings)["spec"]["template"]["spec"]
    return spec


def test_privileges_are_as_measured() -> None:
    """nodes.md: "No API token"; facts: uid 0, no capability, no-new-privileges, read-only root, hostPID, Unconfined."""
    built = pod()
    (container,) = built["containers"]
    assert built["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in built
    assert built["hostPID"] is True
    assert "hostNetwork" not in built
    assert built["securityContext"]["runAsUser"] == 0
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "appArmorProfile": {"type": "Unconfined"},
    }
    assert [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")] == ["/host"]


def test_the_guide_says_first_that_this_makes_them_root() -> None:
    guide = (Path(__file__).parents[2] / "docs/guides/nodes.md").read_text()
    assert "**The agent is root on your nodes.**" in guide.partition("\n## ")[0]


def test_they_run_on_every_linux_node_whatever_its_taints() -> None:
    built = pod()
    assert built["tolerations"] == [{"operator": "Exists"}]
    assert built["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert built["priorityClassName"] == "system-node-critical"


def test_what_to_trust_is_read_from_the_pods_own_annotation() -> None:
    volume = next(volume for volume in pod()["volumes"] if volume["name"] == "list")
    (item,) = volume["downwardAPI"]["items"]
    assert item["fieldRef"]["fieldPath"] == f"metadata.annotations['{naming.TRUST_ANNOTATION}']"


def test_secrets_for_its_image_are_those_of_its_own_namespace() -> None:
    assert "imagePullSecrets" not in pod()
    trust = TrustSettings(image_pull_secrets=({"name": "pull"},))
    assert pod(Settings(trust=trust))["imagePullSecrets"] == [{"name": "pull"}]


def test_the_key_is_made_once() -> None:
    secret = node_agent_key(SETTINGS, b"key")
    assert (secret["metadata"]["namespace"], secret["type"]) == ("agents", "Opaque")
    assert "immutable" not in secret, "kubelet would not bring a new key to agents that run"


CLUSTER_IP = {"type": "ClusterIP", "host": "main.default.svc:5000"}


def test_it_names_the_first_address_on_a_node_and_the_one_for_pods() -> None:
    built = local_registry_hosting(
        [{"type": "HostPort", "host": "k8smaster:5000"}, {"type": "NodePort", "host": "k8smaster:30500"}, CLUSTER_IP]
    )
    assert built is not None
    assert (built["metadata"]["namespace"], built["metadata"]["name"]) == ("kube-public", "local-registry-hosting")
    assert list(built["data"]) == [HOSTING_KEY] == ["localRegistryHosting.v1"]
    assert yaml.safe_load(built["data"][HOSTING_KEY]) == {
        "host": "k8smaster:5000",
        "hostFromClusterNetwork": "main.default.svc:5000",
    }


def test_a_registry_for_pods_alone_is_none_for_tools() -> None:
    assert local_registry_hosting([CLUSTER_IP]) is None
