"""Whether a pod has ended, or is about to; pure. One that was evicted stays listed until somebody removes it."""

from collections.abc import Mapping
from typing import Any


def has_ended(pod: Mapping[str, Any]) -> bool:
    """Whether none of its containers will run again, as far as the API server was told."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def is_to_stay(pod: Mapping[str, Any]) -> bool:
    """Whether it has not ended, and nobody has told it to."""
    return "deletionTimestamp" not in pod["metadata"] and not has_ended(pod)
