"""Labels of what carries a retention out."""

from regkeeper.naming import MANAGED_BY, REGISTRY_LABEL, RETENTION_LABEL


def run_labels(registry: str, retention: str) -> dict[str, str]:
    """Labels of CronJob, Jobs and pods; `retention` is empty for a purge that no policy asked for.

    The application's name is not the registry's: its Service and its budget must not find these pods.
    """
    return {
        "app.kubernetes.io/name": "image-retention",
        REGISTRY_LABEL: registry,
        RETENTION_LABEL: retention,
        **MANAGED_BY,
    }
