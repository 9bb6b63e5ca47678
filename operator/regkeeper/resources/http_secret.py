"""The Secret with distribution's `http.secret`, by which one replica accepts the uploads that another began."""

from base64 import b64encode
from typing import Any

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.naming import http_secret_name
from regkeeper.resources.metadata import object_metadata

SECRET_KEY = "http-secret"  # noqa: S105  a key's name, not a secret


def http_secret(registry: Registry, value: str) -> dict[str, Any]:
    """Build the Secret. `value` is random and made once: the operator may create it, and can never read it."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": object_metadata(registry, http_secret_name(registry.metadata.name, registry.metadata.uid)),
        "type": "Opaque",
        "immutable": True,
        "data": {SECRET_KEY: b64encode(value.encode()).decode()},
    }
