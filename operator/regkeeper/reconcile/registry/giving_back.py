"""What a run made of a Registry's objects, undone without its spec, which may be wrong by now; pure."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from regkeeper import kube, naming
from regkeeper.resources.config import CONFIG_FILE, ConfigFile
from regkeeper.resources.retention.lock import Quiet
from regkeeper.resources.yaml_text import dump_yaml


def is_kept_quiet(live: Mapping[str, Any]) -> bool:
    """Whether an object of a Registry is as a run needs it."""
    return naming.QUIET_ANNOTATION in (live["metadata"].get("annotations") or {})


def given_back(
    config: kube.Object, deployment: kube.Object, registry: Mapping[str, Any], *, read_only: bool
) -> Iterator[tuple[kube.Object, dict[str, Any]]]:
    """Objects with merge patches that make them what they were before, and no more than that.

    Args:
        config: The ConfigMap with its config.yml.
        deployment: Its Deployment.
        registry: The Registry.
        read_only: Whether its spec asks for that anyway.
    """
    settings = yaml.safe_load(config["data"][CONFIG_FILE])
    settings["storage"]["maintenance"]["readonly"]["enabled"] = read_only
    file = ConfigFile(dump_yaml(settings), 0)
    forgotten = {"annotations": {naming.QUIET_ANNOTATION: None, naming.REPLICAS_ANNOTATION: None}}
    if is_kept_quiet(config):
        yield config, {"metadata": forgotten, "data": {CONFIG_FILE: file.text}}
    if not is_kept_quiet(deployment):
        return  # the switch was cut off ahead of it
    template = {"metadata": {"annotations": {naming.CONFIG_HASH_ANNOTATION: file.digest}}}
    spec: dict[str, Any] = {"template": template}
    annotations = deployment["metadata"]["annotations"]
    # One that another Registry's claim to its volume stopped meanwhile stays so.
    if annotations[naming.QUIET_ANNOTATION] == Quiet.OFFLINE and deployment["spec"].get("replicas") == 0:
        remembered = annotations.get(naming.REPLICAS_ANNOTATION)
        asked = (registry.get("spec") or {}).get("replicas")
        spec["replicas"] = int(remembered) if remembered else asked if isinstance(asked, int) else 1
    yield deployment, {"metadata": forgotten, "spec": spec}
