"""What a pass over one Registry's retention knows, and what of it a run asks for."""

from dataclasses import dataclass

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.errors import RegkeeperError
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.retention.policies import Policies
from regkeeper.resources.lease import Holder, Quiet


class RunRefusedError(RegkeeperError):
    """A run that may not take place. The message names who is in the way, and the remedy."""

    reason = "Refused"


@dataclass(slots=True)
class Scene:
    """What a pass over one Registry knows."""

    key: Key
    registry: Registry
    claim: str
    policies: Policies

    def mode(self, holder: Holder) -> Quiet:
        """What a run's policy asks of its registry; one that no policy asked for wants no more than all of them do."""
        policy = self.policies.valid.get(holder.retention)
        chosen = [policy] if policy is not None else list(self.policies.valid.values())
        modes = {each.spec.mode for each in chosen}
        return Quiet.OFFLINE if modes == {"Offline"} else Quiet.READ_ONLY
