"""The agents' DaemonSet and the key: there while anything is to be trusted or taken back, and gone after."""

import asyncio
import logging
import secrets
from base64 import b64decode
from collections.abc import Callable

from regkeeper import kube, naming
from regkeeper.errors import BlockedError
from regkeeper.nodes.report import MINIMUM_KEY_BYTES
from regkeeper.reconcile.drift import needs_apply
from regkeeper.reconcile.trust.following import follow
from regkeeper.resources.node_agent import KEY_FILE, node_agent, node_agent_key
from regkeeper.settings import Settings

logger = logging.getLogger(__name__)

FRESH_SECONDS = 10.0
"""How long what was read is relied on: somebody may have edited the key, which no watch shows.

Where all is calm, a pass comes every half minute all the same.
"""
KEY_BYTES = 32


class AgentDaemonSet:
    """The one DaemonSet. `clock` gives seconds that only grow; `changed` hears of each change of it."""

    def __init__(
        self, cluster: kube.Cluster, settings: Settings, clock: Callable[[], float], changed: Callable[[], None]
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._namespace = settings.trust.agents_namespace
        self._clock = clock
        self._changed = changed
        self._watching: asyncio.Task[None] | None = None
        self._live: kube.Object | None = None
        self._read = -FRESH_SECONDS
        self._compared: float | None = None
        """`_read` of what was compared with what is wanted last."""
        self.key = b""
        """What the agents have too; empty before `ensure`."""

    async def find(self, *, fresh_seconds: float = FRESH_SECONDS) -> kube.Object | None:
        """The DaemonSet, as it was read at most that long ago; None if there is none."""
        if self._clock() - self._read >= fresh_seconds:
            self._live = await self._get(kube.DAEMON_SET, naming.NODE_AGENT)
            self._read = self._clock()
        return self._live

    async def ensure(self) -> kube.Object:
        """Have it there as it should be, with the key; return it.

        Raises:
            BlockedError: its name is somebody else's, or the key is none.
            kube.ApiError: the API server refuses.
        """
        live = await self.find()
        is_new = self._compared != self._read
        if not self.key or is_new:
            self.key = await self._ensure_key()
        desired = node_agent(self._settings)
        if live is not None and not naming.MANAGED_BY.items() <= live["metadata"].get("labels", {}).items():
            raise BlockedError(
                f"DaemonSet {self._namespace}/{naming.NODE_AGENT} is not regkeeper's: delete or rename it",
                reason="ForeignObject",
            )
        if live is None or (is_new and needs_apply(desired, live, naming.FIELD_MANAGER)):
            live = self._live = await self._cluster.apply(desired, force=True)
            self._read = self._clock()
            logger.info("applied DaemonSet %s", naming.NODE_AGENT)
        self._compared = self._read
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(
                follow(
                    self._cluster,
                    kube.DAEMON_SET,
                    self._namespace,
                    listed=lambda _: self._doubt(),
                    changed=lambda _, body: self._take(body),
                    broke=lambda _: None,
                )
            )
        return live

    async def close(self) -> None:
        """Follow it no more."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def remove(self) -> None:
        """Take it and the key away."""
        live = await self.find(fresh_seconds=0)
        if live is not None:
            await self._cluster.delete(kube.DAEMON_SET, self._namespace, naming.NODE_AGENT, uid=live["metadata"]["uid"])
            logger.info("deleted DaemonSet %s: no node trusts anything of ours", naming.NODE_AGENT)
        secret = await self._get(kube.SECRET, naming.NODE_AGENT_KEY)
        if secret is not None:
            await self._cluster.delete(
                kube.SECRET, self._namespace, naming.NODE_AGENT_KEY, uid=secret["metadata"]["uid"]
            )
        self._live, self._read, self.key = None, self._clock(), b""
        await self.close()

    async def refusal(self, live: kube.Object) -> str:
        """Why its pods are not made, as its Events tell; empty: they don't."""
        listing = self._cluster.list(
            kube.EVENT, self._namespace, field_selector=f"involvedObject.uid={live['metadata']['uid']}"
        )
        events = [event async for event in listing if event.get("reason") == "FailedCreate"]
        if not events:
            return ""
        said = str(max(events, key=_moment).get("message", ""))
        if "PodSecurity" in said:
            label = "pod-security.kubernetes.io/enforce=privileged"
            return (
                f"the Pod Security level of namespace {self._namespace} refuses the agents: kubectl label namespace "
                f"{self._namespace} {label} --overwrite ({said})"
            )
        return said

    def _take(self, body: kube.Object) -> None:
        if self._live is None or body["metadata"].get("resourceVersion") != self._live["metadata"]["resourceVersion"]:
            self._doubt()

    def _doubt(self) -> None:
        """Read it again, at the next pass."""
        self._read = self._clock() - FRESH_SECONDS
        self._changed()

    async def _ensure_key(self) -> bytes:
        found = await self._get(kube.SECRET, naming.NODE_AGENT_KEY)
        if found is None:
            key = secrets.token_bytes(KEY_BYTES)
            try:
                await self._cluster.create(node_agent_key(self._settings, key))
            except kube.ConflictError as error:
                if error.reason != "AlreadyExists":
                    raise
                return await self._ensure_key()
            return key
        return self._key_of(found)

    def _key_of(self, secret: kube.Object) -> bytes:
        try:
            key = b64decode(secret["data"][KEY_FILE])
        except (KeyError, ValueError):
            key = b""
        if len(key) < MINIMUM_KEY_BYTES:
            raise BlockedError(
                f"Secret {self._namespace}/{naming.NODE_AGENT_KEY} holds no key that is long enough: delete it, and "
                "the operator makes another",
                reason="BrokenKey",
            )
        return key

    async def _get(self, resource: kube.Resource, name: str) -> kube.Object | None:
        try:
            return await self._cluster.get(resource, self._namespace, name)
        except kube.NotFoundError:
            return None


def is_complete(live: kube.Object, agents: int) -> bool:
    """Whether there is a pod on each node that can have one, `agents` in number."""
    status = live.get("status") or {}
    wanted = status.get("desiredNumberScheduled", 0)
    seen = status.get("observedGeneration") == live["metadata"]["generation"]
    return bool(seen and status.get("currentNumberScheduled", 0) == wanted and agents >= wanted)


def _moment(event: kube.Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")
