"""The registry's pods: `restricted` by the Pod Security Standards in all but the host port."""

from typing import Any

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.naming import CONFIG_HASH_ANNOTATION, config_map_name, http_secret_name, object_labels
from regkeeper.resources.config import CONFIG_FILE, PORT_NAME, REGISTRY_PORT, STORAGE_ROOT, ConfigFile
from regkeeper.resources.storage import HOSTNAME_LABEL, storage_claim
from regkeeper.settings import Settings

USER_ID = 65532
GROUP_ID = 65532
"""One id for every registry, so that a volume can move from one to another: `nonroot` of the distroless images, which
no distribution gives to a person. The group is the volume's too (fsGroup)."""

STOP_SECONDS = 10
"""What a registry has left to end by itself once the transfers are drained."""

NOTICE_SECONDS = 5
"""How long one of several pods goes on serving after its end was announced: until then each node's kube-proxy, and
whatever balances load, has heard of it. A registry that is told to stop closes its port at once."""

CONFIG_DIRECTORY = "/etc/regkeeper"
CONFIG_VOLUME = "config"
REGISTRY_CONTAINER = "registry"
CHECK_CONTAINER = "check-volume"
SECRET_KEY = "http-secret"  # noqa: S105  a key's name, not a secret
"""Where the Secret has distribution's `http.secret`."""


def pod_template(
    registry: Registry, settings: Settings, config: ConfigFile, *, rolling: bool = False, node: str = ""
) -> dict[str, Any]:
    """Build the template of the Deployment.

    Args:
        registry: The Registry.
        settings: The operator's.
        config: Its config.yml.
        rolling: A pod ends while others serve in its place.
        node: Label of the only node for it; empty: the spec decides alone.
    """
    spec = registry.spec
    notice = NOTICE_SECONDS if rolling else 0
    return {
        "metadata": {
            "labels": {**spec.pod_labels, **object_labels(registry.metadata.name)},
            "annotations": {**spec.pod_annotations, CONFIG_HASH_ANNOTATION: config.digest},
        },
        "spec": {
            "automountServiceAccountToken": False,
            # A Service called registry-storage would set REGISTRY_STORAGE_PORT, on which distribution panics.
            "enableServiceLinks": False,
            # Process 1 loses a SIGTERM that comes before it heeds signals: told to end as it started, a registry took
            # all of its grace, and pushes waited for its follower. Here process 1 is the runtime's own.
            "shareProcessNamespace": True,
            "securityContext": pod_security(),
            "terminationGracePeriodSeconds": notice + config.drain_seconds + STOP_SECONDS,
            **_init_containers(registry, settings),
            "containers": [_registry_container(registry, settings, notice)],
            "volumes": [
                {
                    "name": CONFIG_VOLUME,
                    "configMap": {"name": config_map_name(registry.metadata.name, read_only=config.read_only)},
                },
                {"name": "storage", **_storage_source(registry)},
            ],
            **_scheduling(registry, node),
        },
    }


def _registry_container(registry: Registry, settings: Settings, notice: int) -> dict[str, Any]:
    spec = registry.spec
    port: dict[str, Any] = {"name": PORT_NAME, "containerPort": REGISTRY_PORT, "protocol": "TCP"}
    if spec.access.host_port is not None:
        port["hostPort"] = spec.access.host_port.port
    container: dict[str, Any] = {
        "name": REGISTRY_CONTAINER,
        "image": spec.image or settings.registry_image,
        "args": ["serve", f"{CONFIG_DIRECTORY}/{CONFIG_FILE}"],
        "env": _environment(registry),
        "ports": [port],
        "volumeMounts": [
            {"name": CONFIG_VOLUME, "mountPath": CONFIG_DIRECTORY, "readOnly": True},
            {"name": "storage", "mountPath": STORAGE_ROOT},
        ],
        # Asked every second until the first answer, which readiness then follows at once.
        "startupProbe": _probe(period_seconds=1, failure_threshold=120),
        "readinessProbe": _probe(period_seconds=10, failure_threshold=3),
        "livenessProbe": _probe(period_seconds=10, failure_threshold=6),
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **({"lifecycle": {"preStop": {"sleep": {"seconds": notice}}}} if notice else {}),
    }
    if spec.image_pull_policy is not None:
        container["imagePullPolicy"] = spec.image_pull_policy
    if spec.resources is not None:
        container["resources"] = spec.resources
    return container


def _probe(*, period_seconds: int, failure_threshold: int) -> dict[str, Any]:
    """Ask the path that answers 200 on 2.8 and 3.x without a login, and 503 while the storage's health check fails."""
    return {
        "httpGet": {"path": "/", "port": PORT_NAME, "scheme": "HTTP"},
        "periodSeconds": period_seconds,
        "timeoutSeconds": 5,
        "failureThreshold": failure_threshold,
    }


def pod_security() -> dict[str, Any]:
    """With which ids every pod works that mounts a registry's volume."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER_ID,
        "runAsGroup": GROUP_ID,
        "fsGroup": GROUP_ID,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> dict[str, Any]:
    """What its containers may not do."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def _environment(registry: Registry) -> list[dict[str, Any]]:
    variable = "REGISTRY_HTTP_SECRET"
    if any(given.get("name") == variable for given in registry.spec.extra_env):
        return list(registry.spec.extra_env)
    name = http_secret_name(registry.metadata.name, registry.metadata.uid)
    ours = {"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": SECRET_KEY}}}
    return [ours, *registry.spec.extra_env]


def _init_containers(registry: Registry, settings: Settings) -> dict[str, Any]:
    """The container that proves, with the pod's own ids, that the registry will be able to write.

    It has the registry's requests and limits, so that it passes the quotas that the registry passes.
    """
    if registry.spec.storage.ephemeral is not None:
        return {}
    local = registry.spec.storage.local
    container: dict[str, Any] = {
        "name": CHECK_CONTAINER,
        "image": settings.image,
        "args": ["check-volume", "--root", STORAGE_ROOT, *(["--volume-path", local.path] if local else [])],
        "volumeMounts": [{"name": "storage", "mountPath": STORAGE_ROOT}],
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if registry.spec.resources is not None:
        container["resources"] = registry.spec.resources
    return {"initContainers": [container]}


def _storage_source(registry: Registry) -> dict[str, Any]:
    ephemeral = registry.spec.storage.ephemeral
    if ephemeral is None:
        return {"persistentVolumeClaim": {"claimName": storage_claim(registry)}}
    return {"emptyDir": {} if ephemeral.size_limit is None else {"sizeLimit": ephemeral.size_limit}}


def _scheduling(registry: Registry, node: str) -> dict[str, Any]:
    spec = registry.spec
    fields = {
        "nodeSelector": {**spec.node_selector, **({HOSTNAME_LABEL: node} if node else {})},
        "tolerations": spec.tolerations,
        "affinity": spec.affinity,
        "priorityClassName": spec.priority_class_name,
        "topologySpreadConstraints": spec.topology_spread_constraints,
        "imagePullSecrets": spec.image_pull_secrets,
    }
    return {name: value for name, value in fields.items() if value}
