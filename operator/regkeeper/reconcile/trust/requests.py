"""What Registries ask of nodes at the beginning of a pass, and which of them nodes have to forget.

What can't be known at the moment never makes a node forget: then the whole pass is in doubt, and takes nothing back but
what is known to go.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from regkeeper import kube, naming
from regkeeper.reconcile import conditions
from regkeeper.reconcile.conditions import State
from regkeeper.reconcile.nodes import Nodes
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.store import Store
from regkeeper.reconcile.trust import wishes as asking
from regkeeper.reconcile.trust.farewell import Farewell
from regkeeper.reconcile.trust.passing_over import passing_over
from regkeeper.reconcile.trust.status import TrustStatusWriter
from regkeeper.reconcile.trust.wishes import Wish
from regkeeper.settings import Settings

logger = logging.getLogger(__name__)

NOT_SERVING = conditions.false("NotServing", "nodes are to trust it as soon as it answers at its addresses")
LOST = conditions.false(
    "NotServing",
    "what nodes trust for it was in its status, which is lost: until it answers at its addresses, they forget nothing "
    "but what goes with another Registry",
)


@dataclass(slots=True)
class Requests:
    """What is asked for."""

    wishes: dict[Key, Wish] = field(default_factory=dict)
    """Those that nodes trusted before come first."""
    leaving: list[Key] = field(default_factory=list)
    given_up: set[str] = field(default_factory=set)
    """Hosts of those that leave."""
    in_doubt: bool = False
    """Whether there may be a wish that could not be known."""


class RequestReader:
    """Reads what Registries ask for. `again` is called where the next pass may see more at once."""

    def __init__(
        self,
        *,
        store: Store,
        settings: Settings,
        nodes: Nodes,
        status: TrustStatusWriter,
        farewell: Farewell,
        again: Callable[[], None],
    ) -> None:
        self._store = store
        self._settings = settings
        self._nodes = nodes
        self._status = status
        self._farewell = farewell
        self._again = again

    async def read(self, called_back: State | None) -> Requests:
        """Read every Registry: hold those that nodes are to hear of, and tell the others why not.

        Args:
            called_back: Why nodes are to forget everything; None: they are not.
        """
        requests = Requests()
        registries = self._store.registries()
        for body in sorted(registries, key=lambda body: not asking.trusted_hosts(body)):
            key = Key(body["metadata"]["namespace"], body["metadata"]["name"])
            known = False
            with passing_over(key, self._again):
                if is_paused(body):
                    self._read_paused(key, body, requests, called_back)
                else:
                    await self._read(key, body, requests, called_back)
                known = True
            if not known and asking.was_trusted(body, self._settings):
                requests.in_doubt = True
        return requests

    def _read_paused(self, key: Key, body: kube.Object, requests: Requests, called_back: State | None) -> None:
        if not asking.was_trusted(body, self._settings):
            return
        # A pause keeps things as they are for their owner, not against the administrator.
        refused = asking.refusal(body, self._settings)
        if called_back or (refused is not None and refused.reason == asking.NOT_ALLOWED):
            _leave(key, body, requests)
        elif asking.trusted_hosts(body):
            requests.wishes[key] = asking.kept_wish(body)
        else:
            requests.in_doubt = True

    async def _read(self, key: Key, body: kube.Object, requests: Requests, called_back: State | None) -> None:
        wish, state = await self._judge(body, called_back)
        was_trusted = asking.was_trusted(body, self._settings)
        if wish is not None and wish.hosts:
            if asking.is_held(body) or await self._hold(key, body, requests):
                requests.wishes[key] = wish
            return
        if was_trusted and (wish is None or asking.trusted_hosts(body)):
            _leave(key, body, requests)
            return
        if was_trusted:
            requests.in_doubt, state = True, LOST
        elif asking.is_held(body):
            await self._farewell.free(body)
            return
        if state is not None:
            await self._status.state(body, state)
        elif "deletionTimestamp" not in body["metadata"]:
            await self._status.clear(body)

    async def _judge(self, body: kube.Object, called_back: State | None) -> tuple[Wish | None, State | None]:
        """The wish of a Registry that asks and may, and why there is nothing to trust for it (yet)."""
        if not asking.asks(body):
            return None, None
        state = called_back or asking.refusal(body, self._settings)
        if state is not None:
            return None, state
        addresses = {node: await self._nodes.address(node) for node in asking.nodes_named(body)}
        wish = asking.wish_of(body, addresses)
        state = asking.refused_for_image(wish, self._settings)
        if state is not None:
            return None, state
        return wish, None if wish.hosts else NOT_SERVING

    async def _hold(self, key: Key, body: kube.Object, requests: Requests) -> bool:
        """Have the Registry bear our finalizer before any node hears of it; False if it could not be put there yet."""
        refused = None
        try:
            await self._farewell.hold(body)
        except (kube.ConflictError, kube.NotFoundError):
            self._again()
        except (kube.ForbiddenError, kube.InvalidError) as error:
            logger.warning("node trust of %s: %s", key, error)
            refused = conditions.false(error.reason or "Forbidden", str(error))
        else:
            return True
        # Nodes may trust it all the same: somebody took the finalizer off. First, as its status may be refused too.
        requests.in_doubt = True
        if refused is not None:
            await self._status.state(body, refused)
        return False


def is_paused(body: kube.Object) -> bool:
    """Whether its owner wants all of it left as it is; a deletion goes on all the same."""
    annotations = body["metadata"].get("annotations") or {}
    return annotations.get(naming.PAUSED_ANNOTATION) == "true" and "deletionTimestamp" not in body["metadata"]


def _leave(key: Key, body: kube.Object, requests: Requests) -> None:
    requests.leaving.append(key)
    requests.given_up.update(asking.trusted_hosts(body))
