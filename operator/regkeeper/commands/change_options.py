"""The options of every command that changes a volume, in one place, and what they come to."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import wraps
from typing import Any

from regkeeper.commands.volume_options import (
    AsJson,
    EndTimeOption,
    JournalDirectory,
    ModeOption,
    Now,
    RegistryOption,
    Root,
    note,
    parsed_moment,
)
from regkeeper.retention import session
from regkeeper.retention.quiet import Mode
from regkeeper.retention.session import Session


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


def changing_command(function: Callable[..., None]) -> Callable[..., None]:
    """A command with the options of `Change` behind its own; it takes them as one argument, `change`."""
    own = inspect.signature(function)
    shared = inspect.signature(Change)
    names = [field.name for field in fields(Change)]

    @wraps(function)
    def command(**given: Any) -> None:
        change = Change(**{name: given.pop(name) for name in names})
        function(**given, change=change)

    parameters = [
        *(parameter for parameter in own.parameters.values() if parameter.name != "change"),
        *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in shared.parameters.values()),
    ]
    command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command
