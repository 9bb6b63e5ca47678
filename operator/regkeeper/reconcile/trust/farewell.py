"""Registries that nodes have to forget: held by a finalizer until they have, or until a deletion has waited enough."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from regkeeper import kube, naming
from regkeeper.reconcile import conditions
from regkeeper.reconcile.conditions import State
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.store import Store
from regkeeper.reconcile.trust import wishes as asking
from regkeeper.reconcile.trust.judgement import Lag, Standing, debt, in_words
from regkeeper.reconcile.trust.plan import Labels
from regkeeper.reconcile.trust.status import TrustStatusWriter
from regkeeper.settings import Settings

REVERT_SECONDS = 60.0
"""How long the deletion of a Registry waits for nodes, once an operator knows of it; the agents go on after it."""


class Farewell:
    """Holds Registries and lets them go. `now` gives the time of day; `freed` hears of each that was let go."""

    def __init__(
        self,
        cluster: kube.Cluster,
        store: Store,
        status: TrustStatusWriter,
        settings: Settings,
        *,
        now: Callable[[], datetime],
        freed: Callable[[], None],
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._status = status
        self._settings = settings
        self._now = now
        self._freed = freed
        self._owing: dict[Key, frozenset[str]] = {}
        """Nodes that had yet to forget a Registry."""
        self._waiting_since: dict[str, datetime] = {}
        """When a Registry, by its uid, was first seen to be deleted. Its nodes could hear of it no earlier."""

    async def hold(self, body: kube.Object) -> None:
        """Have the Registry bear our finalizer, before any node hears of it."""
        await self._set_finalizers(body, [*body["metadata"].get("finalizers", ()), naming.NODE_TRUST_FINALIZER])

    async def let_go(
        self,
        body: kube.Object,
        trusted: frozenset[str],
        nodes: Labels,
        standings: Mapping[str, Standing],
        *,
        all_are_there: bool,
        remedy: str,
    ) -> float | None:
        """Free a Registry once its nodes have forgotten it, or a deletion has waited long enough.

        Args:
            body: The Registry.
            trusted: Hosts that other Registries still have trusted.
            nodes: All nodes.
            standings: What is known of each node's agent.
            all_are_there: Whether each node that can have an agent has one.
            remedy: How to keep the trust after all; empty where its owner asked for this.

        Returns:
            Seconds after which to look again; None: it is free.
        """
        key = _key(body)
        # Where the status is lost, whatever nobody else wants may be this one's.
        hosts = set(asking.trusted_hosts(body)) or _told(standings)
        hosts -= trusted
        owing = [lag for node, standing in standings.items() if (lag := debt(node, standing, hosts)) is not None]
        # What needs a person comes first.
        owing.sort(key=lambda lag: (lag.passing, lag.node))
        await self._write_off(body, self._owing.get(key, frozenset()) - nodes.keys())
        self._owing[key] = frozenset(lag.node for lag in owing)
        waits = REVERT_SECONDS - self._waited(body)
        if (owing or not all_are_there) and waits > 0:
            state = _reverting(hosts, owing, all_are_there=all_are_there, remedy=remedy)
            await self._status.state(body, state, owing)
            return waits
        if owing or not all_are_there:
            await self._status.post(body, conditions.false("NotReverted", _not_reverted(owing)))
        # First: what the status says of nodes counts without the finalizer too.
        with suppress(kube.ForbiddenError, kube.InvalidError):  # that holds no deletion up
            await self._status.clear(body)
        await self.free(self._store.registry(key) or body)
        return None

    async def free_overdue(self, why: str) -> None:
        """Free what has been deleted for long enough although no pass can be made, for the reason given."""
        for body in self._store.registries():
            if asking.is_held(body) and self._waited(body) > REVERT_SECONDS:
                said = f"deleted, though its nodes could not be asked whether they have forgotten it: {why}"
                await self._status.post(body, conditions.false("NotReverted", said))
                with suppress(kube.ConflictError, kube.NotFoundError):  # it is looked at again, or gone
                    await self.free(body)

    async def free(self, body: kube.Object) -> None:
        """Take our finalizer off, if it is there: an uninstall may have done so."""
        self._owing.pop(_key(body), None)
        self._waiting_since.pop(body["metadata"]["uid"], None)
        if asking.is_held(body):
            finalizers = [entry for entry in body["metadata"]["finalizers"] if entry != naming.NODE_TRUST_FINALIZER]
            await self._set_finalizers(body, finalizers)
            self._freed()

    async def _write_off(self, body: kube.Object, gone: frozenset[str]) -> None:
        for node in sorted(gone):
            said = f"node {node} was deleted before it had forgotten this Registry: what it trusted can't be taken back"
            await self._status.post(body, conditions.false("NodeGone", said))

    async def _set_finalizers(self, body: kube.Object, finalizers: list[str]) -> None:
        metadata = body["metadata"]
        guard = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        change = {"metadata": {"finalizers": finalizers, **guard}}
        self._store.put(await self._cluster.patch(kube.REGISTRY, metadata["namespace"], metadata["name"], change))

    def _waited(self, body: kube.Object) -> float:
        """Seconds for which a deletion has been waiting; 0: it is none."""
        if "deletionTimestamp" not in body["metadata"]:
            return 0.0
        since = self._waiting_since.setdefault(body["metadata"]["uid"], self._now())
        return (self._now() - since).total_seconds()


def _told(standings: Mapping[str, Standing]) -> set[str]:
    lists = [standing.agent.told for standing in standings.values() if standing.agent and standing.agent.told]
    return {host for told in lists for group in told.sets for host in group}


def _reverting(hosts: set[str], owing: Sequence[Lag], *, all_are_there: bool, remedy: str) -> State:
    waits = [f"not yet seen of {len(owing)}: {in_words(owing)}"] if owing else []
    if not all_are_there:
        waits.append("not every node has its agent yet")
    said = f"nodes are forgetting {', '.join(sorted(hosts)) or 'it'}; {'; '.join(waits)}"
    return conditions.false("Reverting", said + (f"; {remedy}" if remedy else ""))


def _not_reverted(owing: Sequence[Lag]) -> str:
    if not owing:
        return "deleted, though not every node has an agent that could be asked; those that come later take it back"
    return f"deleted, though {len(owing)} nodes still trust it or can't be asked; their agents go on. {in_words(owing)}"


def _key(body: kube.Object) -> Key:
    return Key(body["metadata"]["namespace"], body["metadata"]["name"])
