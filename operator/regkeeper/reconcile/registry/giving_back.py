"""What a run made of a Registry's Deployment, undone without its spec, which may be wrong by now; pure."""

from collections.abc import Mapping
from typing import Any

from regkeeper import kube, naming
from regkeeper.resources.config import CONFIG_FILE, digest_of
from regkeeper.resources.lease import Quiet
from regkeeper.resources.pod import CONFIG_VOLUME


def is_kept_quiet(deployment: Mapping[str, Any]) -> bool:
    """Whether it is as a run needs it."""
    return naming.QUIET_ANNOTATION in (deployment["metadata"].get("annotations") or {})


def given_back(deployment: kube.Object, config: kube.Object | None, registry: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that makes a Deployment what it was before, and no more than that.

    Args:
        deployment: The Registry's, as a run needs it.
        config: The ConfigMap of pods that are for no run; None: somebody deleted it, and they stay as they are.
        registry: The Registry.
    """
    spec: dict[str, Any] = {}
    if config is not None:
        volumes = [
            {**volume, "configMap": {**volume["configMap"], "name": config["metadata"]["name"]}}
            if volume["name"] == CONFIG_VOLUME
            else volume
            for volume in deployment["spec"]["template"]["spec"]["volumes"]
        ]
        mark = {naming.CONFIG_HASH_ANNOTATION: digest_of(config["data"][CONFIG_FILE])}
        spec["template"] = {"metadata": {"annotations": mark}, "spec": {"volumes": volumes}}
    annotations = deployment["metadata"]["annotations"]
    # One that another Registry's claim to its volume stopped meanwhile stays so.
    if annotations[naming.QUIET_ANNOTATION] == Quiet.OFFLINE and deployment["spec"].get("replicas") == 0:
        remembered = annotations.get(naming.REPLICAS_ANNOTATION)
        asked = (registry.get("spec") or {}).get("replicas")
        spec["replicas"] = int(remembered) if remembered else asked if isinstance(asked, int) else 1
    return {
        "metadata": {"annotations": {naming.QUIET_ANNOTATION: None, naming.REPLICAS_ANNOTATION: None}},
        "spec": spec,
    }
