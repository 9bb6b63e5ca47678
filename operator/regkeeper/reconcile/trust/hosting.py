"""Say in kube-public which Registry is the cluster's own, as KEP-1755 asks, where a setting names one.

There is one such ConfigMap in a cluster: it is written where it is absent or ours, and taken away with the Registry.
"""

import logging
from collections.abc import Callable

from regkeeper import kube, naming
from regkeeper.reconcile import conditions
from regkeeper.reconcile.drift import needs_apply
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.store import Store
from regkeeper.reconcile.trust import wishes as asking
from regkeeper.reconcile.trust.status import TrustStatusWriter
from regkeeper.resources import node_agent as hosting
from regkeeper.settings import Settings

logger = logging.getLogger(__name__)

FRESH_SECONDS = 60.0
"""How long what was read is relied on: somebody may have edited or deleted it."""


class LocalRegistryHosting:
    """Keeps the ConfigMap. `clock` gives seconds that only grow."""

    def __init__(
        self,
        cluster: kube.Cluster,
        store: Store,
        settings: Settings,
        status: TrustStatusWriter,
        clock: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._settings = settings
        self._status = status
        self._clock = clock
        self._done: tuple[kube.Object | None, float] | None = None
        """What was wanted when it was looked at last, and when that was."""
        self._foreign = ""
        """Uid of the ConfigMap of somebody else's that was told of."""

    async def look(self) -> None:
        """Have it there as it should be. What the API server refuses is logged, and tried again later."""
        name = self._settings.trust.local_registry_hosting
        if not name:
            return
        key = Key(*name.split("/"))
        wanted = self._wanted(key)
        if self._done is not None and self._done[0] == wanted and self._clock() - self._done[1] < FRESH_SECONDS:
            return
        try:
            await self._keep(key, wanted)
        except kube.ApiError as error:
            logger.warning("ConfigMap %s/%s: %s", hosting.HOSTING_NAMESPACE, hosting.HOSTING_NAME, error)
        self._done = wanted, self._clock()

    def _wanted(self, key: Key) -> kube.Object | None:
        """The ConfigMap; None: there is to be none."""
        body = self._store.registry(key)
        if body is None or not asking.asks(body) or asking.refusal(body, self._settings) is not None:
            return None
        # Nobody's tool is to be sent to a name that nodes do not trust.
        if not asking.trusted_hosts(body):
            return None
        return hosting.local_registry_hosting((body.get("status") or {}).get("addresses") or ())

    async def _keep(self, key: Key, wanted: kube.Object | None) -> None:
        try:
            live = await self._cluster.get(kube.CONFIG_MAP, hosting.HOSTING_NAMESPACE, hosting.HOSTING_NAME)
        except kube.NotFoundError:
            live = None
        if live is not None and not naming.MANAGED_BY.items() <= live["metadata"].get("labels", {}).items():
            await self._tell_of_a_foreign_one(key, live)
        elif wanted is None and live is not None:
            uid = live["metadata"]["uid"]
            await self._cluster.delete(kube.CONFIG_MAP, hosting.HOSTING_NAMESPACE, hosting.HOSTING_NAME, uid=uid)
        elif wanted is not None and (live is None or needs_apply(wanted, live, naming.FIELD_MANAGER)):
            await self._cluster.apply(wanted, force=True)

    async def _tell_of_a_foreign_one(self, key: Key, live: kube.Object) -> None:
        body = self._store.registry(key)
        if body is None or self._foreign == live["metadata"]["uid"]:
            return
        self._foreign = live["metadata"]["uid"]
        said = (
            f"ConfigMap {hosting.HOSTING_NAMESPACE}/{hosting.HOSTING_NAME} is not regkeeper's and stays as it is: "
            "delete it to have this Registry named there"
        )
        await self._status.post(body, conditions.false("ForeignLocalRegistryHosting", said))
