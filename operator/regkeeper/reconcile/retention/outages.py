"""How long a registry did not serve as it should because its pods were replaced, as they tell themselves; pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from regkeeper.naming import CONFIG_HASH_ANNOTATION
from regkeeper.reconcile import conditions
from regkeeper.reconcile.pod_life import is_to_stay
from regkeeper.reconcile.registry.status import rollout_progress
from regkeeper.reconcile.retention import pods

LONGEST = timedelta(minutes=10)
"""After it pods are taken to have been replaced for another reason than a run."""


def is_awaited(last: Mapping[str, Any]) -> bool:
    """Whether a run that has ended has yet to tell when its registry served as before."""
    return "pushesWaited" in last and "resumedAfter" not in last


def is_alone(deployment: Mapping[str, Any]) -> bool:
    """Whether a registry has one pod, which goes before its successor comes."""
    spec = deployment["spec"]
    strategy = spec.get("strategy") or {}
    surge = (strategy.get("rollingUpdate") or {}).get("maxSurge")
    return strategy.get("type") == "Recreate" or (spec.get("replicas", 1) == 1 and surge == 0)


def replaced_within(
    deployment: Mapping[str, Any], listed: Iterable[Mapping[str, Any]], *, config: str, since: datetime
) -> timedelta | None:
    """How long after `since` all pods of a registry served with another config.yml; None: they don't, or did before.

    Args:
        deployment: The registry's.
        listed: Its pods; those of others, and some that go or have ended, may be among them.
        config: Digest of the config.yml that the new pods have.
        since: When they began to be replaced.
    """
    template = deployment["spec"]["template"]["metadata"].get("annotations") or {}
    if template.get(CONFIG_HASH_ANNOTATION) != config or rollout_progress(deployment) is not None:
        return None
    name = deployment["metadata"]["name"]
    own = [pod for pod in listed if pods.is_of_registry(pod, name) and is_to_stay(pod)]
    ready = [conditions.find((pod.get("status") or {}).get("conditions") or (), "Ready") for pod in own]
    served = [datetime.fromisoformat(each["lastTransitionTime"]) for each in ready if each and each["status"] == "True"]
    if not own or len(served) < len(own):
        return None
    # The API's times have no fractions.
    took = max(served) - since.replace(microsecond=0)
    return took if timedelta() <= took <= LONGEST else None
