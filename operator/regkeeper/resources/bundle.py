"""The objects of a Registry that serve its images, in the order in which they are applied. Its storage comes before."""

from collections.abc import Sequence
from typing import Any

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.resources.config import config_file
from regkeeper.resources.config_map import config_map
from regkeeper.resources.deployment import deployment
from regkeeper.resources.disruption_budget import disruption_budget
from regkeeper.resources.service import service
from regkeeper.settings import Settings


def desired_objects(
    registry: Registry,
    settings: Settings,
    *,
    read_only: bool,
    access_modes: Sequence[str] | None = None,
    node: str = "",
) -> list[dict[str, Any]]:
    """Everything but volume and claim, and the Secret, which is only ever created: what an object needs comes first.

    Args:
        registry: The Registry.
        settings: The operator's.
        read_only: Whether pushes are refused: `spec.readOnly`, or a retention run that asks for it.
        access_modes: Those of the claim that is there; None while there is none.
        node: Label of the node to which a run holds the volume: pods elsewhere could not have it. Empty: to none.

    Raises:
        InvalidSpecError, BlockedError: The spec can't work, or not on the claim that is there; the message names the
            field and the remedy.
    """
    configs = {each: config_file(registry, read_only=each) for each in (False, True)}
    objects = [
        *(config_map(registry, config) for config in configs.values()),
        service(registry),
        disruption_budget(registry, access_modes=access_modes),
        deployment(registry, settings, configs[read_only], access_modes=access_modes, node=node),
    ]
    return [built for built in objects if built is not None]
