"""The objects of a Registry that serve its images: Secret, ConfigMap, Service, PodDisruptionBudget and Deployment.

The pod template is in `pod.py`, its config.yml in `config.py`, claim and volume in `storage.py`.
"""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.naming import config_map_name, http_secret_name, selector_labels
from regkeeper.resources.config import CONFIG_FILE, PORT_NAME, REGISTRY_PORT, ConfigFile, config_file
from regkeeper.resources.metadata import object_metadata
from regkeeper.resources.pod import SECRET_KEY, pod_template
from regkeeper.resources.storage import applied_replicas, is_shared
from regkeeper.settings import Settings


def http_secret(registry: Registry, value: str) -> dict[str, Any]:
    """Build the Secret with distribution's `http.secret`, by which one replica accepts uploads that another began.

    `value` is random and made once: the operator may create the Secret, and can never read it.
    """
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": object_metadata(registry, http_secret_name(registry.metadata.name, registry.metadata.uid)),
        "type": "Opaque",
        "immutable": True,
        "data": {SECRET_KEY: b64encode(value.encode()).decode()},
    }


def config_map(registry: Registry, config: ConfigFile) -> dict[str, Any]:
    """Build the ConfigMap with the registry's config.yml."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": object_metadata(registry, config_map_name(registry.metadata.name, read_only=config.read_only)),
        "data": {CONFIG_FILE: config.text},
    }


def service(registry: Registry) -> dict[str, Any]:
    """Build the Service. A NodePort Service has a ClusterIP too, so one object serves both ways."""
    node_port = registry.spec.access.node_port
    port: dict[str, Any] = {
        "name": PORT_NAME,
        "port": REGISTRY_PORT,
        "protocol": "TCP",
        "targetPort": PORT_NAME,
    }
    if node_port is not None and node_port.port is not None:
        port["nodePort"] = node_port.port
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": object_metadata(registry, registry.metadata.name),
        "spec": {
            "type": "ClusterIP" if node_port is None else "NodePort",
            "selector": selector_labels(registry.metadata.name),
            "ports": [port],
        },
    }


def disruption_budget(registry: Registry, *, access_modes: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Build the budget; None where there is never more than one pod, which a budget could only make undrainable."""
    replicas = applied_replicas(registry, access_modes)
    if replicas is not None and replicas < 2:
        return None
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": object_metadata(registry, registry.metadata.name),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": selector_labels(registry.metadata.name)},
            # A pod that does not serve anyway shall not hold up a drain.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def deployment(
    registry: Registry,
    settings: Settings,
    config: ConfigFile,
    *,
    access_modes: Sequence[str] | None = None,
    node: str = "",
) -> dict[str, Any]:
    """Build the Deployment.

    Args:
        registry: The Registry.
        settings: The operator's.
        config: Its config.yml.
        access_modes: Those of the claim that is there; None while there is none.
        node: Label of the only node for its pods; empty: the spec decides alone.

    Raises:
        InvalidSpecError, BlockedError: More replicas than the storage allows.
    """
    replicas = applied_replicas(registry, access_modes)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": object_metadata(registry, registry.metadata.name),
        "spec": {
            **({} if replicas is None else {"replicas": replicas}),
            "selector": {"matchLabels": selector_labels(registry.metadata.name)},
            "strategy": _strategy(registry, access_modes),
            "template": pod_template(registry, settings, config, rolling=is_shared(registry, access_modes), node=node),
        },
    }


def _strategy(registry: Registry, access_modes: Sequence[str] | None) -> dict[str, Any]:
    if not is_shared(registry, access_modes):
        # The new pod would wait for the volume that the old one holds, and the old one for the new.
        return {"type": "Recreate"}
    if registry.spec.access.host_port is not None:
        # A surplus pod would find every port taken.
        return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def desired_objects(
    registry: Registry,
    settings: Settings,
    *,
    read_only: bool,
    access_modes: Sequence[str] | None = None,
    node: str = "",
) -> list[dict[str, Any]]:
    """Everything but volume and claim, and the Secret, which is only ever created: what an object needs comes first.

    Args:
        registry: The Registry.
        settings: The operator's.
        read_only: Whether pushes are refused: `spec.readOnly`, or a retention run that asks for it.
        access_modes: Those of the claim that is there; None while there is none.
        node: Label of the node to which a run holds the volume: pods elsewhere could not have it. Empty: to none.

    Raises:
        InvalidSpecError, BlockedError: The spec can't work, or not on the claim that is there; the message names the
            field and the remedy.
    """
    configs = {each: config_file(registry, read_only=each) for each in (False, True)}
    objects = [
        *(config_map(registry, config) for config in configs.values()),
        service(registry),
        disruption_budget(registry, access_modes=access_modes),
        deployment(registry, settings, configs[read_only], access_modes=access_modes, node=node),
    ]
    return [built for built in objects if built is not None]
