"""What kopf does for regkeeper: watch. The ONLY use of kopf.

Just `on.event` handlers: kopf's timers, daemons and change handlers would put its finalizer and annotations on every
object that they see, which is a write to each, and a Registry that can't be deleted while the operator is away.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from typing import Any, Literal

import kopf

from regkeeper import kube, naming
from regkeeper.settings import Settings

logger = logging.getLogger(__name__)

EventType = Literal["ADDED", "MODIFIED", "DELETED"] | None
"""As the API server calls it; None for an object of a listing."""

FIRST_RESTART_SECONDS = 0.5
LAST_RESTART_SECONDS = 30.0
LASTING_SECONDS = 60.0
"""Watches that lived as long as this were well: the next restart is a first one again."""


class Watches:
    """Watches of some kinds; each event goes to `show` at once, in the order of its object."""

    def __init__(
        self,
        settings: Settings,
        kinds: Sequence[kube.Resource],
        *,
        show: Callable[[EventType, kube.Object], None],
        began_anew: Callable[[], None],
    ) -> None:
        """`began_anew` hears of each watch that lists anew: that shows what is there, and never what went meanwhile."""
        self._namespaces = settings.watch_namespaces
        self._kinds = kinds
        self._show = show
        self._began_anew = began_anew
        self._shown: set[str] = set()
        """Uids of what was shown, and not as deleted: the first listing of a watch shows each object once."""
        self._stopped = False
        self._flag = asyncio.Event()
        """Ends what `_watch` runs."""

    async def run(self) -> None:
        """Watch until SIGTERM or SIGINT.

        kopf takes an error in a stream, as an etcd that restarts sends it, as its own end. Then it is started again,
        which lists everything anew.
        """
        loop = asyncio.get_running_loop()
        delay = FIRST_RESTART_SECONDS
        while not self._stopped:
            began = loop.time()
            try:
                await self._watch()
            except Exception as error:
                if loop.time() - began > LASTING_SECONDS:
                    delay = FIRST_RESTART_SECONDS
                logger.warning("the watches broke; they start again in %.1f s: %r", delay, error)
            else:
                return
            # kopf's own handlers went with it.
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stop)
            self._flag.clear()
            try:
                await asyncio.wait_for(self._flag.wait(), delay)
            except TimeoutError:
                delay = min(LAST_RESTART_SECONDS, delay * 2)
            self._began_anew()

    def _stop(self) -> None:
        self._stopped = True
        self._flag.set()

    async def _end(self, **_: Any) -> None:
        """At its end kopf waits for who waits for the flag: five seconds, if nobody sets it."""
        self._flag.set()

    async def _watch(self) -> None:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(_login)
        kopf.on.cleanup(registry=registry)(self._end)
        for resource in self._kinds:
            version = resource.api_version.rpartition("/")[2]
            kopf.on.event(resource.group, version, resource.plural, registry=registry)(self._on_event)
        await kopf.operator(
            registry=registry,
            settings=self._kopf_settings(),
            stop_flag=self._flag,
            namespaces=self._namespaces,
            clusterwide=not self._namespaces,
        )

    def _kopf_settings(self) -> kopf.OperatorSettings:
        settings = kopf.OperatorSettings()
        # Alone: a foreign peering called `default` could pause us (kopf#734).
        settings.peering.standalone = True
        # No watch of CRDs and Namespaces, for which we ask no right.
        settings.scanning.disabled = True
        settings.posting.enabled = False
        # A look takes microseconds; a worker that lingers for each object is memory.
        settings.queueing.idle_timeout = 0.5
        settings.networking.request_timeout = 60
        settings.watching.chunk_size = kube.PAGE_SIZE
        settings.networking.error_backoffs = [0.2, 0.5, 1, 1, 2, 2, 5, 5, 10, 10, 10]
        for resource in self._kinds:
            if resource.group != naming.GROUP:
                version = resource.api_version.rpartition("/")[2]
                settings.watching.label_selectors[resource.group, version, resource.plural] = naming.REGISTRY_LABEL
        return settings

    async def _on_event(self, event: kopf.RawEvent, **_: Any) -> None:
        body: kube.Object = dict(event["object"])
        uid = body["metadata"]["uid"]
        if event["type"] is None and uid in self._shown:
            self._began_anew()
        if event["type"] == "DELETED":
            self._shown.discard(uid)
        else:
            self._shown.add(uid)
        self._show(event["type"], body)  # type: ignore[arg-type]


async def _login(**_: Any) -> kopf.ConnectionInfo:
    """The same credentials as the client's. kopf's own look-ups want DNS in the pod, or a second client library."""
    connection = await kube.connection()
    return kopf.ConnectionInfo(
        server=connection.server,
        ca_path=connection.ca_file,
        insecure=not connection.verify,
        scheme="Bearer" if connection.token else None,
        token=connection.token,
        certificate_path=connection.certificate_file,
        private_key_path=connection.key_file,
    )
