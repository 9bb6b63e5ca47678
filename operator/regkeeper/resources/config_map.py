"""The ConfigMap with the registry's config.yml."""

from typing import Any

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.naming import config_map_name
from regkeeper.resources.config import CONFIG_FILE, render_config
from regkeeper.resources.metadata import object_metadata


def config_map(registry: Registry, *, read_only: bool) -> dict[str, Any]:
    """Build the ConfigMap.

    Raises:
        InvalidSpecError: `spec.config` or `spec.extraEnv` would break a promise; see `config.render_config`.
    """
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": object_metadata(registry, config_map_name(registry.metadata.name)),
        "data": {CONFIG_FILE: render_config(registry, read_only=read_only)},
    }
