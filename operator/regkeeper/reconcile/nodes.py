"""What the operator knows of nodes: their labels and their addresses, read at most once a minute."""

from collections.abc import Callable, Set

from regkeeper import kube
from regkeeper.resources.storage import HOSTNAME_LABEL

FRESH_SECONDS = 60.0
NEW_SECONDS = 5.0
"""The same where a node is not among those that were read: it may have come since."""


class Nodes:
    """The nodes of the cluster. `clock` gives seconds that only grow."""

    def __init__(self, cluster: kube.Cluster, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._clock = clock
        self._labels: dict[str, dict[str, str]] = {}
        self._labels_read = -FRESH_SECONDS
        self._addresses: dict[str, tuple[float, str | None]] = {}

    async def labels(self, *, fresh_seconds: float = FRESH_SECONDS) -> dict[str, dict[str, str]]:
        """Labels of every node by its name, read at most that long ago. Whole, or an error."""
        if self._clock() - self._labels_read >= fresh_seconds:
            listing = self._cluster.list(kube.NODE, metadata_only=True)
            self._labels = {node["metadata"]["name"]: node["metadata"].get("labels") or {} async for node in listing}
            self._labels_read = self._clock()
        return self._labels

    async def all_names(self, names: Set[str]) -> frozenset[str]:
        """Those names of nodes, and by which else the same nodes are known: each has its own and its hostname label."""
        for fresh_seconds in (FRESH_SECONDS, NEW_SECONDS):
            labels = await self.labels(fresh_seconds=fresh_seconds)
            known = [{name, of.get(HOSTNAME_LABEL, name)} for name, of in labels.items()]
            found = frozenset().union(*(pair for pair in known if pair & names))
            if found >= names:
                break
        return found | names

    async def address(self, name: str) -> str | None:
        """Internal IP address of a node, the first where it has several, as kubelet names it to pods.

        None if there is no such node, or it has none.
        """
        read, address = self._addresses.get(name, (-FRESH_SECONDS, None))
        if self._clock() - read < FRESH_SECONDS:
            return address
        try:
            node = await self._cluster.get(kube.NODE, None, name)
        except kube.NotFoundError:
            address = None
        else:
            listed = (node.get("status") or {}).get("addresses") or ()
            address = next((entry["address"] for entry in listed if entry["type"] == "InternalIP"), None)
        self._addresses[name] = self._clock(), address
        return address
