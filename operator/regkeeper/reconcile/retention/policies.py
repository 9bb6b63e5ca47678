"""All ImageRetentions of one Registry, typed; what can't be read or means nothing stops the runs of all."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from regkeeper import kube
from regkeeper.api.v1alpha1.retention import ImageRetention
from regkeeper.errors import InvalidSpecError
from regkeeper.reconcile.parsing import parse
from regkeeper.retention.policies.policy import InvalidPolicyError, parse_policy

WHEN_AND_HOW = {
    "schedule",
    "time_zone",
    "suspend",
    "approval",
    "approve",
    "undo",
    "history",
    "starting_deadline",
    "start_timeout",
    "active_deadline",
    "job",
}
"""Fields of a spec whose change is no reason for a run."""


@dataclass(slots=True)
class Policies:
    """The ImageRetentions of one Registry by name."""

    bodies: dict[str, kube.Object] = field(default_factory=dict)
    """All of them but those that are being deleted."""
    valid: dict[str, ImageRetention] = field(default_factory=dict)
    invalid: dict[str, str] = field(default_factory=dict)
    """What is wrong with the others."""

    @property
    def in_use_matters(self) -> bool:
        """Whether runs have to know what is in use: one of them keeps it, or there is none that says otherwise."""
        return not self.valid or any(policy.spec.protect.in_use for policy in self.valid.values())

    @property
    def hosts_matter(self) -> bool:
        """Whether one of them tells this registry's images in use from those of others by their hosts."""
        return any(policy.spec.protect.in_use and policy.spec.protect.hosts for policy in self.valid.values())


def read_policies(bodies: Iterable[kube.Object]) -> Policies:
    """Type them, and check what only the engine can."""
    policies = Policies()
    for body in bodies:
        metadata = body["metadata"]
        if "deletionTimestamp" in metadata:
            continue
        policies.bodies[metadata["name"]] = body
        try:
            policy = parse(ImageRetention, body)
            parse_policy(manifest(body), metadata["name"])
        except (InvalidSpecError, InvalidPolicyError) as error:
            policies.invalid[metadata["name"]] = str(error)
        else:
            policies.valid[metadata["name"]] = policy
    return policies


def manifest(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a run is told of a policy."""
    return {
        "apiVersion": body["apiVersion"],
        "kind": body["kind"],
        "metadata": {"name": body["metadata"]["name"]},
        "spec": body["spec"],
    }


def digest(policy: ImageRetention) -> str:
    """A short name of what a policy says, for one run for each change of it."""
    return sha256(policy.spec.model_dump_json(exclude=WHEN_AND_HOW, exclude_defaults=True).encode()).hexdigest()[:10]
