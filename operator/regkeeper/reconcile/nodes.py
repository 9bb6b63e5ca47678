"""What the operator knows of nodes: their labels and their addresses, read at most once a minute."""

from collections.abc import Callable

from regkeeper import kube

FRESH_SECONDS = 60.0


class Nodes:
    """The nodes of the cluster. `clock` gives seconds that only grow."""

    def __init__(self, cluster: kube.Cluster, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._clock = clock
        self._labels: dict[str, dict[str, str]] = {}
        self._labels_read = -FRESH_SECONDS
        self._addresses: dict[str, tuple[float, str | None]] = {}

    async def labels(self) -> dict[str, dict[str, str]]:
        """Labels of every node by its name."""
        if self._clock() - self._labels_read >= FRESH_SECONDS:
            listing = self._cluster.list(kube.NODE, metadata_only=True)
            self._labels = {node["metadata"]["name"]: node["metadata"].get("labels") or {} async for node in listing}
            self._labels_read = self._clock()
        return self._labels

    async def address(self, name: str) -> str | None:
        """Internal IP address of a node; None if there is no such node, or it has none."""
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
