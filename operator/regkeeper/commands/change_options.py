"""The options of every command that changes a volume, in one place, and what they come to."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from regkeeper.commands.answering import note
from regkeeper.commands.shared_options import taking
from regkeeper.commands.volume_options import (
    AsJson,
    EndTimeOption,
    JournalDirectory,
    ModeOption,
    Now,
    RegistryOption,
    Root,
    parsed_moment,
)
from regkeeper.retention.runs import session
from regkeeper.retention.runs.quiet import Mode
from regkeeper.retention.runs.session import Session


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a command was told about the volume that it may change; each field is an option."""

    root: Root
    mode: ModeOption = Mode.READ_ONLY
    registry: RegistryOption = None
    as_json: AsJson = False
    now: Now = None
    journal: JournalDirectory = None
    end_time: EndTimeOption = None

    @contextmanager
    def opened(self, *, own_now: bool = True) -> Iterator[Session]:
        """The volume, to be changed by this process alone.

        Args:
            own_now: `now` is the run's own; otherwise it judges a plan alone.
        """
        now = parsed_moment(self.now) if own_now else None
        with session.changing(self.root, now=now, journal=self.journal, end=parsed_moment(self.end_time)) as opened:
            yield opened

    def note_unasked(self) -> None:
        """Say so if nobody is asked whether the registry takes pushes."""
        if self.registry is None:
            note("no registry was asked whether it takes pushes (--registry)")

    def refuse_writers(self, opened: Session) -> None:
        """Refuse when the registry is not as `mode` says."""
        session.refuse_writers(opened.volume, self.mode, self.registry)


changing_command = taking(Change, "change")
"""A command that changes a volume, with the options of `Change`; it takes them as one argument, `change`."""
