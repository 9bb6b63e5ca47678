"""What a run made of a Registry's objects is undone from these alone."""

from typing import Any

import pytest

from regkeeper import kube, naming
from regkeeper.reconcile.registry.giving_back import given_back
from regkeeper.resources.config import CONFIG_FILE, config_file
from tests.registry_objects import a_registry, registry_object

REGISTRY = a_registry(config={"log": {"level": "debug"}})


def objects(*, quiet: str, is_switched: bool = True, **spec: Any) -> tuple[kube.Object, kube.Object]:
    """ConfigMap and Deployment as a run needs them; or the first alone, as the switch was cut off."""
    file = config_file(REGISTRY, read_only=quiet == "ReadOnly")
    mark = {naming.QUIET_ANNOTATION: quiet}
    config = {"metadata": {"annotations": mark}, "data": {CONFIG_FILE: file.text}}
    deployment = {"metadata": {"annotations": mark if is_switched else {}}, "spec": {"replicas": 1, **spec}}
    return config, deployment


def changes(config: kube.Object, deployment: kube.Object, **spec: Any) -> list[dict[str, Any]]:
    return [change for _, change in given_back(config, deployment, registry_object(**spec), read_only=False)]


def test_the_configuration_is_that_of_before_to_the_letter() -> None:
    before = config_file(REGISTRY, read_only=False)
    config, deployment = changes(*objects(quiet="ReadOnly"))
    assert config["data"][CONFIG_FILE] == before.text
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {naming.CONFIG_HASH_ANNOTATION: before.digest}
    assert "replicas" not in deployment["spec"]


def test_pods_that_the_switch_had_not_come_to_are_left_alone() -> None:
    (config,) = changes(*objects(quiet="ReadOnly", is_switched=False))
    assert naming.QUIET_ANNOTATION in config["metadata"]["annotations"]


@pytest.mark.parametrize(("remembered", "asked", "replicas"), [("3", None, 3), (None, 2, 2), (None, None, 1)])
def test_a_registry_that_was_stopped_has_as_many_pods_as_before(
    remembered: str | None, asked: int | None, replicas: int
) -> None:
    config, deployment = objects(quiet="Offline", replicas=0)
    if remembered is not None:
        deployment["metadata"]["annotations"][naming.REPLICAS_ANNOTATION] = remembered
    *_, change = changes(config, deployment, **({} if asked is None else {"replicas": asked}))
    assert change["spec"]["replicas"] == replicas


def test_a_registry_that_another_ones_claim_to_its_volume_stopped_stays_so() -> None:
    """Two registries that write to the same files lose images."""
    *_, change = changes(*objects(quiet="ReadOnly", replicas=0))
    assert "replicas" not in change["spec"]
