"""Follow the objects of a kind in one namespace by a listing and a watch of them, again and again."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing

from regkeeper import kube, naming

logger = logging.getLogger(__name__)

SELECTOR = ",".join(f"{key}={value}" for key, value in naming.node_agent_labels().items())
"""Of the agents' pods, and of their DaemonSet."""
WATCH_SECONDS = 300
"""After this they are listed anew: a watch can end without a word (kopf#204)."""
RETRY_SECONDS = 5.0


async def follow(
    cluster: kube.Cluster,
    resource: kube.Resource,
    namespace: str,
    *,
    listed: Callable[[list[kube.Object]], None],
    changed: Callable[[str, kube.Object], None],
    broke: Callable[[kube.ApiError], None],
) -> None:
    """Follow what `SELECTOR` selects, for ever.

    Args:
        cluster: where.
        resource: their kind.
        namespace: theirs.
        listed: hears of all that are there, at first and whenever a watch has ended.
        changed: hears of each change: ADDED, MODIFIED or DELETED.
        broke: hears why they could not be listed or followed.
    """
    while True:
        try:
            listed([body async for body in cluster.list(resource, namespace, label_selector=SELECTOR)])
            # What happens between the two is shown as well: a watch without a version begins with what is there.
            events = cluster.watch(resource, namespace, label_selector=SELECTOR, seconds=WATCH_SECONDS)
            async with aclosing(events):
                async for event, body in events:
                    changed(event, body)
        except kube.ApiError as error:
            logger.warning("the watch of the node agents' %s broke: %s", resource.plural, error)
            broke(error)
            await asyncio.sleep(RETRY_SECONDS)
