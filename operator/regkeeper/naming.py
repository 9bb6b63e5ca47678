"""Names that other programs see: API group, labels, annotations, finalizer, field manager, object names."""

import hashlib

GROUP = "regkeeper.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

FIELD_MANAGER = "regkeeper"
MANAGED_BY = {"app.kubernetes.io/managed-by": "regkeeper"}

REGISTRY_LABEL = f"{GROUP}/registry"
"""On every object that a Registry made; its value is the Registry's name."""

REGISTRY_NAMESPACE_LABEL = f"{GROUP}/registry-namespace"
"""On cluster-scoped objects that a Registry made: its namespace."""

PAUSED_ANNOTATION = f"{GROUP}/paused"
"""On a Registry: `"true"` makes the operator leave it and its objects alone."""

CONFIG_HASH_ANNOTATION = f"{GROUP}/config-hash"
"""On the pod template: a change of config.yml rolls the Deployment."""

FINALIZER = f"{GROUP}/cleanup"
"""On a Registry whose objects owner references can't clean up (a PersistentVolume)."""

REGISTRY_HEADER = "X-Regkeeper-Registry"
"""Response header that our config.yml makes the registry send; its value is the Registry's uid."""


def selector_labels(registry: str) -> dict[str, str]:
    """Labels by which a Registry's Deployment and Service find its pods. Immutable once applied."""
    return {"app.kubernetes.io/name": "registry", REGISTRY_LABEL: registry}


def object_labels(registry: str) -> dict[str, str]:
    """Labels of every object that a Registry made."""
    return {**selector_labels(registry), **MANAGED_BY}


def config_map_name(registry: str) -> str:
    return f"{registry}-config"


def http_secret_name(registry: str, uid: str) -> str:
    """Name of the Secret with distribution's `http.secret`.

    The uid in it makes the name ours alone, so that the operator can create the Secret blindly (409: it is there)
    and needs no right to read any Secret.
    """
    return f"{registry}-http-{uid[:8]}"


def claim_name(registry: str) -> str:
    return f"{registry}-storage"


def persistent_volume_name(namespace: str, registry: str) -> str:
    """Name of the cluster-scoped PersistentVolume of a `local` Registry.

    The digest keeps `a-b/c` and `a/b-c` apart, which joined by dashes would be one name.
    """
    digest = hashlib.sha256(f"{namespace}/{registry}".encode()).hexdigest()[:10]
    return f"regkeeper-{namespace}-{registry}"[:240] + f"-{digest}"
