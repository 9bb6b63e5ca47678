"""What is read of a volume while it is not yet known what to plan: another process is busy reading the policies."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from msgspec import Struct

from regkeeper.errors import RegkeeperError
from regkeeper.retention.policies.policy_process import PolicyProcess
from regkeeper.retention.processes.collector import paused_collector
from regkeeper.retention.processes.read_ahead import waits_of_this_thread
from regkeeper.retention.runs import session
from regkeeper.retention.runs.session import Reading
from regkeeper.retention.volume.layout import Found, walk_repositories
from regkeeper.retention.volume.repository import Repository

_MOST = 8192
"""Manifests, of some 1.5 KiB each, that are held until somebody judges them."""


class Early(Struct):
    """A volume that is open for reading, and what was read of it.

    Attributes:
        found: all that a walk came across.
        repositories: by their number in it, those that were read.
        waits: how often they made this process wait.
    """

    seen: Reading
    found: list[Found]
    repositories: dict[int, Repository]
    waits: int = 0


@contextmanager
def reading_early(root: str, journal: str | None, process: PolicyProcess) -> Iterator[Early | None]:
    """Read a volume, which stays open, as long as a process is busy with policies.

    None if that fails: who opens it in due time hears of it after what else is wrong with the question.
    """
    with ExitStack() as stack:
        try:
            seen = stack.enter_context(session.reading(root, journal, remembering=True))
            with paused_collector():
                early: Early | None = _read(seen, process)
        except (RegkeeperError, OSError):
            stack.close()
            early = None
        yield early


def _read(seen: Reading, process: PolicyProcess) -> Early:
    early = Early(seen, list(walk_repositories(seen.volume)), {})
    held, before = 0, waits_of_this_thread()
    for number, found in enumerate(early.found):
        if held >= _MOST or not process.is_busy:
            break
        if not found.problem:
            early.repositories[number] = repository = seen.reader.read(found.name)
            held += len(repository.manifests)
    early.waits = waits_of_this_thread() - before
    return early
