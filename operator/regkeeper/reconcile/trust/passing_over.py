"""One Registry that can't be written to holds up no other, nor what nodes are told."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from regkeeper import kube
from regkeeper.reconcile.queue import Key

logger = logging.getLogger(__name__)


@contextmanager
def passing_over(key: Key, again: Callable[[], None]) -> Iterator[None]:
    """Go on if a Registry refuses what is written to it.

    Args:
        key: The Registry.
        again: Called where somebody else changed it meanwhile, or it is gone: the next pass may come at once.
    """
    try:
        yield
    except (kube.ConflictError, kube.NotFoundError):
        again()
    except (kube.ForbiddenError, kube.InvalidError) as error:
        logger.warning("node trust of %s: %s", key, error)
