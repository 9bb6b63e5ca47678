"""ImageRetentions as tests write them: a spec, the rest filled in."""

from typing import Any

from regkeeper.naming import API_VERSION


def retention_object(name: str = "keep-last", *, namespace: str = "images", **spec: Any) -> dict[str, Any]:
    """An ImageRetention of the Registry `main` as a person writes it."""
    return {
        "apiVersion": API_VERSION,
        "kind": "ImageRetention",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"registryRef": {"name": "main"}, **spec},
    }
