"""Registries as tests write them: a spec, the rest filled in."""

from typing import Any

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.naming import API_VERSION
from regkeeper.resources.registry import desired_objects
from regkeeper.resources.storage import claim, persistent_volume
from regkeeper.settings import Settings

UID = "0f5e9a3c-2d1b-4c7e-8a6f-1234567890ab"

SHARED: dict[str, Any] = {"size": "10Gi", "accessModes": ["ReadWriteMany"]}
LOCAL: dict[str, Any] = {"local": {"node": "k8smaster", "path": "/docker/var/lib/registry"}}


def registry_object(name: str = "main", *, namespace: str = "images", **spec: Any) -> dict[str, Any]:
    """A Registry as a person writes it; without a `storage` it keeps its images in a claim of 10Gi."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Registry",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"storage": {"size": "10Gi"}, **spec},
    }


def a_registry(name: str = "main", *, namespace: str = "images", **spec: Any) -> Registry:
    """The same as the operator has it, with a uid."""
    body = registry_object(name, namespace=namespace, **spec)
    body["metadata"]["uid"] = UID
    return Registry.model_validate(body)


def mounted_config_maps(deployment: dict[str, Any]) -> list[str]:
    """Names of the ConfigMaps that a Deployment's pods mount."""
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    return [volume["configMap"]["name"] for volume in volumes if "configMap" in volume]


def all_objects(
    registry: Registry, settings: Settings | None = None, *, read_only: bool = False
) -> list[dict[str, Any]]:
    """Everything that the operator makes for a Registry but its Secret, its storage first."""
    storage = [built for built in (persistent_volume(registry), claim(registry)) if built is not None]
    return [*storage, *desired_objects(registry, settings or Settings(), read_only=read_only)]
