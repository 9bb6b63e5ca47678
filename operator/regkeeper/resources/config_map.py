"""The ConfigMap with the registry's config.yml."""

from typing import Any

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.naming import config_map_name
from regkeeper.resources.config import CONFIG_FILE, ConfigFile
from regkeeper.resources.metadata import object_metadata


def config_map(registry: Registry, config: ConfigFile) -> dict[str, Any]:
    """Build the ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": object_metadata(registry, config_map_name(registry.metadata.name, read_only=config.read_only)),
        "data": {CONFIG_FILE: config.text},
    }
