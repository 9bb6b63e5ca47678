"""The options of every command that looks at a volume and changes nothing, and the volume that they come to."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import typer

from regkeeper.commands.answering import failures
from regkeeper.commands.reading import reading
from regkeeper.commands.shared_options import taking
from regkeeper.commands.volume_options import AsJson, JournalDirectory, Now, Root
from regkeeper.retention.runs.quiet import Mode
from regkeeper.retention.runs.session import Reading


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a command was told about the volume that it reads; each field is an option.

    All commands take the same ones, so that a script can give them to any: `mode` and `registry` say nothing here, and
    help does not show them.
    """

    root: Root
    as_json: AsJson = False
    now: Now = None
    mode: Annotated[Mode, typer.Option("--mode", hidden=True)] = Mode.READ_ONLY
    registry: Annotated[str | None, typer.Option("--registry", hidden=True)] = None
    journal: JournalDirectory = None

    @contextmanager
    def opened(self) -> Iterator[Reading]:
        """The volume; a failure ends the command."""
        with failures(as_json=self.as_json), reading(self.root, self.journal) as seen:
            yield seen


looking_command = taking(Look, "look")
"""A command with the options of `Look`; it takes them as one argument, `look`."""
