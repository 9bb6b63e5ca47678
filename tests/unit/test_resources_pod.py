"""The pod template: security, the two containers, and where each field of the spec lands."""

from typing import Any

import pytest

from regkeeper.resources.config import config_file
from regkeeper.resources.pod import pod_template
from regkeeper.settings import Settings
from tests.registry_objects import LOCAL, SHARED, UID, a_registry

SETTINGS = Settings(image="regkeeper:test", registry_image="registry:test")

RESTRICTED_CONTAINER = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


def build(*, read_only: bool = False, **spec: Any) -> dict[str, Any]:
    registry = a_registry(**spec)
    return pod_template(registry, SETTINGS, config_file(registry, read_only=read_only))


def pod(**spec: Any) -> dict[str, Any]:
    answer: dict[str, Any] = build(**spec)["spec"]
    return answer


def container(**spec: Any) -> dict[str, Any]:
    (only,) = pod(**spec)["containers"]
    answer: dict[str, Any] = only
    return answer


def check_container(**spec: Any) -> dict[str, Any]:
    (only,) = pod(**spec)["initContainers"]
    answer: dict[str, Any] = only
    return answer


def test_pods_are_restricted_and_know_nothing_of_the_cluster() -> None:
    built = pod()
    assert built["automountServiceAccountToken"] is False
    assert built["enableServiceLinks"] is False
    assert built["shareProcessNamespace"] is True, "distribution as process 1 would lose an early SIGTERM"
    assert built["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container()["securityContext"] == check_container()["securityContext"] == RESTRICTED_CONTAINER


def test_registry_serves_the_generated_config_on_its_volume() -> None:
    built = container()
    assert built["image"] == "registry:test"
    assert built["args"] == ["serve", "/etc/regkeeper/config.yml"]
    assert built["ports"] == [{"name": "registry", "containerPort": 5000, "protocol": "TCP"}]
    assert built["volumeMounts"] == [
        {"name": "config", "mountPath": "/etc/regkeeper", "readOnly": True},
        {"name": "storage", "mountPath": "/var/lib/registry"},
    ]
    assert built["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_probes_ask_the_path_that_needs_no_login() -> None:
    built = container()
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert built[probe]["httpGet"] == {"path": "/", "port": "registry", "scheme": "HTTP"}
    assert built["startupProbe"]["periodSeconds"] == 1


def test_the_config_hash_rolls_the_pods() -> None:
    digest = config_file(a_registry(), read_only=True).digest
    assert build(read_only=True)["metadata"]["annotations"] == {"regkeeper.dev/config-hash": digest}
    assert build(read_only=True) != build(read_only=False)


def test_the_volume_is_checked_with_the_registrys_ids_and_limits() -> None:
    resources = {"limits": {"memory": "1Gi"}}
    built = check_container(resources=resources)
    assert built["image"] == "regkeeper:test"
    assert built["args"] == ["check-volume", "--root", "/var/lib/registry"]
    assert built["volumeMounts"] == [{"name": "storage", "mountPath": "/var/lib/registry"}]
    assert built["resources"] == resources
    assert built["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert "securityContext" in built
    assert not {"runAsUser", "runAsGroup"} & built["securityContext"].keys(), "the pod's own ids"


def test_the_check_of_a_local_directory_knows_its_path_on_the_node() -> None:
    assert check_container(storage=LOCAL)["args"][-2:] == ["--volume-path", "/docker/var/lib/registry"]


def test_ephemeral_storage_needs_no_check() -> None:
    assert "initContainers" not in pod(storage={"ephemeral": {}})


@pytest.mark.parametrize(
    ("storage", "source"),
    [
        ({"size": "10Gi"}, {"persistentVolumeClaim": {"claimName": "main-storage"}}),
        (LOCAL, {"persistentVolumeClaim": {"claimName": "main-storage"}}),
        ({"existingClaim": "mine"}, {"persistentVolumeClaim": {"claimName": "mine"}}),
        ({"ephemeral": {}}, {"emptyDir": {}}),
        ({"ephemeral": {"sizeLimit": "1Gi"}}, {"emptyDir": {"sizeLimit": "1Gi"}}),
    ],
)
def test_each_kind_of_storage_is_mounted(storage: dict[str, Any], source: dict[str, Any]) -> None:
    config, volume = pod(storage=storage)["volumes"]
    assert config == {"name": "config", "configMap": {"name": "main-config"}}
    assert volume == {"name": "storage", **source}


def test_the_http_secret_comes_from_a_secret() -> None:
    assert container()["env"] == [
        {
            "name": "REGISTRY_HTTP_SECRET",
            "valueFrom": {"secretKeyRef": {"name": f"main-http-{UID[:8]}", "key": "http-secret"}},
        }
    ]


def test_an_http_secret_of_the_users_replaces_ours() -> None:
    mine = {"name": "REGISTRY_HTTP_SECRET", "valueFrom": {"secretKeyRef": {"name": "mine", "key": "k"}}}
    assert container(extraEnv=[mine])["env"] == [mine]


def test_extra_environment_follows_ours() -> None:
    mine = {"name": "REGISTRY_LOG_LEVEL", "value": "debug"}
    assert container(extraEnv=[mine])["env"][1:] == [mine]


def test_grace_is_longer_than_the_drain() -> None:
    assert pod()["terminationGracePeriodSeconds"] == 40
    assert pod(config={"http": {"draintimeout": "5m"}})["terminationGracePeriodSeconds"] == 310


def test_a_pod_with_others_serves_on_until_everybody_has_heard_of_its_end() -> None:
    registry = a_registry(storage=SHARED, replicas=2)
    config = config_file(registry, read_only=False)
    built = pod_template(registry, SETTINGS, config, rolling=True)["spec"]
    assert built["containers"][0]["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}
    assert built["terminationGracePeriodSeconds"] == 45
    assert "lifecycle" not in container()


def test_a_host_port_is_a_port_of_the_container() -> None:
    (port,) = container(access={"hostPort": {"port": 5001}})["ports"]
    assert port["hostPort"] == 5001
    assert port["containerPort"] == 5000


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("nodeSelector", {"kubernetes.io/hostname": "k8smaster"}),
        ("tolerations", [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}]),
        ("affinity", {"nodeAffinity": {}}),
        ("priorityClassName", "system-cluster-critical"),
        ("topologySpreadConstraints", [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}]),
        ("imagePullSecrets", [{"name": "mine"}]),
    ],
)
def test_fields_that_pass_to_the_pod(field: str, value: object) -> None:
    assert pod(**{field: value})[field] == value
    assert field not in pod()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image", "registry.example/registry:2.8"),
        ("imagePullPolicy", "Always"),
        ("resources", {"requests": {"cpu": "100m"}}),
    ],
)
def test_fields_that_pass_to_the_container(field: str, value: object) -> None:
    assert container(**{field: value})[field] == value
    assert container().get(field) != value


def test_labels_and_annotations_of_the_users_stand_beside_ours() -> None:
    metadata = build(podLabels={"team": "a"}, podAnnotations={"sidecar.istio.io/inject": "false"})["metadata"]
    assert metadata["labels"]["team"] == "a"
    assert metadata["labels"]["regkeeper.dev/registry"] == "main"
    assert metadata["annotations"].keys() == {"sidecar.istio.io/inject", "regkeeper.dev/config-hash"}


def test_no_two_templates_share_a_part() -> None:
    """A pass may add to what it was given."""
    first = pod()
    first["containers"][0]["securityContext"]["capabilities"]["drop"].append("changed")
    first["containers"][0]["startupProbe"]["httpGet"]["path"] = "/changed"
    assert container()["securityContext"] == RESTRICTED_CONTAINER
    assert container()["startupProbe"]["httpGet"]["path"] == "/"
