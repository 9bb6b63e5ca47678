"""What a run made of a Registry's Deployment is undone from what is there alone."""

from typing import Any

import pytest

from regkeeper import kube, naming
from regkeeper.reconcile.registry.giving_back import given_back
from regkeeper.resources.registry import desired_objects
from regkeeper.settings import Settings
from tests.registry_objects import a_registry, registry_object

REGISTRY = a_registry(config={"log": {"level": "debug"}})


def objects(*, read_only: bool) -> list[dict[str, Any]]:
    return desired_objects(REGISTRY, Settings(), read_only=read_only)


def quiet(mode: str, **spec: Any) -> kube.Object:
    """The Deployment as a run needs it."""
    *_, deployment = objects(read_only=mode == "ReadOnly")
    deployment["metadata"]["annotations"] = {naming.QUIET_ANNOTATION: mode}
    return {**deployment, "spec": {**deployment["spec"], **spec}}


def change(deployment: kube.Object, config: kube.Object | None, **spec: Any) -> dict[str, Any]:
    return given_back(deployment, config, registry_object(**spec))


def test_pods_are_those_of_before_to_the_letter() -> None:
    config, *_, before = objects(read_only=False)
    during = quiet("ReadOnly")
    given = change(during, config)["spec"]
    assert given["template"]["metadata"] == {"annotations": before["spec"]["template"]["metadata"]["annotations"]}
    assert given["template"]["spec"] == {"volumes": before["spec"]["template"]["spec"]["volumes"]}
    assert "replicas" not in given
    assert during["spec"]["template"]["spec"]["volumes"] != before["spec"]["template"]["spec"]["volumes"]


def test_pods_whose_configuration_somebody_deleted_stay_as_they_are() -> None:
    assert "template" not in change(quiet("Offline", replicas=0), None)["spec"]


@pytest.mark.parametrize(("remembered", "asked", "replicas"), [("3", None, 3), (None, 2, 2), (None, None, 1)])
def test_a_registry_that_was_stopped_has_as_many_pods_as_before(
    remembered: str | None, asked: int | None, replicas: int
) -> None:
    deployment = quiet("Offline", replicas=0)
    if remembered is not None:
        deployment["metadata"]["annotations"][naming.REPLICAS_ANNOTATION] = remembered
    given = change(deployment, None, **({} if asked is None else {"replicas": asked}))
    assert given["spec"]["replicas"] == replicas


def test_a_registry_that_another_ones_claim_to_its_volume_stopped_stays_so() -> None:
    """Two registries that write to the same files lose images."""
    assert "replicas" not in change(quiet("ReadOnly", replicas=0), None)["spec"]
