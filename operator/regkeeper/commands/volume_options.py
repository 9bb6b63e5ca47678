"""Options and manners that all commands on a registry's volume share: exit status, JSON, signals, the end time.

Exit status: 0 done or nothing to do, 1 refused or failed, 2 wrong usage, 3 done, but something was
kept that could not be read, or not be removed.
Standard output has the answer only (with --json one document); everything else goes to standard error.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from regkeeper.durations import parse_duration
from regkeeper.errors import RegkeeperError
from regkeeper.retention.errors import RefusedError
from regkeeper.retention.moments import parse_moment
from regkeeper.retention.policies.in_use import InUse, InvalidInUseError, parse_in_use
from regkeeper.retention.runs import session
from regkeeper.retention.runs.quiet import Mode
from regkeeper.retention.runs.session import Reading

KEPT_AGAINST_WILL = 3


def parsed_moment(text: str | None) -> int | None:
    """Nanoseconds since 1970, as an option gives them."""
    return None if text is None else parse_moment(text)


def _moment(text: str | None) -> str | None:
    try:
        parsed_moment(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return text


def _registry(text: str | None) -> str | None:
    if text is None:
        return None
    url = urlsplit(text)
    try:
        valid = url.scheme in ("http", "https") and url.hostname and not url.username and url.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise typer.BadParameter(f"{text!r} is no address of a registry: write http://host:port or https://host:port")
    return text


def _root(text: str) -> str:
    if not text:  # an unset variable is not the directory in which the command happens to run
        raise typer.BadParameter("it is empty: say the directory that is mounted as /var/lib/registry")
    return text


Root = Annotated[
    str,
    typer.Option(
        "--root",
        callback=_root,
        metavar="DIR",
        envvar="REGISTRY_DATA_DIR",
        help="What is mounted as /var/lib/registry, or its docker/registry/v2.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Now = Annotated[
    str | None,
    typer.Option(
        "--now",
        metavar="TIME",
        callback=_moment,
        help="Judge every age by this time, written as 2026-11-24T10:31:45Z, instead of the present.",
    ),
]
ModeOption = Annotated[
    Mode, typer.Option("--mode", help="What the registry does meanwhile: takes no pushes, or is stopped.")
]
RegistryOption = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="URL",
        callback=_registry,
        help="Where the registry is asked whether it is as --mode says. Without it nothing is asked.",
    ),
]
JournalDirectory = Annotated[
    str | None,
    typer.Option(
        "--journal",
        metavar="DIR",
        help="Existing directory for the journals of this volume alone, when nothing more fits on it. "
        "Every later command needs it too.",
    ),
]
EndTimeOption = Annotated[
    str | None,
    typer.Option(
        "--end-time",
        metavar="TIME",
        callback=_moment,
        help="Change nothing after this time, by this machine's clock.",
    ),
]
InUseFile = Annotated[
    str | None,
    typer.Option(
        "--in-use",
        metavar="FILE",
        help="Images in use, which stay: a line for each, the reference, then who uses it; last `# N`, their number.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask.")]


@contextmanager
def reading(root: str, journal: str | None = None) -> Iterator[Reading]:
    """Open a volume to read it as it will be once what has not ended is put back; says so if there is something."""
    with session.reading(root, journal) as seen:
        note_state(seen)
        yield seen


def note_state(seen: Reading) -> None:
    """Say so if a volume is shown otherwise than it is, or is about to change."""
    if seen.under_way:
        note("a run is under way: this may be out of date when it ends")
    elif seen.unfinished:
        note(
            f"run {', '.join(seen.unfinished)} has not ended: the next command that changes something puts its "
            "entries back; all is shown as if it had"
        )
    if seen.foreign:
        note(seen.foreign)


def seconds(text: str, option: str) -> int:
    """The duration that an option was given."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def present(now: str | None) -> int:
    """Nanoseconds since 1970 for a command that only reads."""
    moment = parsed_moment(now)
    return time.time_ns() if moment is None else moment


def read_in_use(path: str | None, hosts: frozenset[str] | None = None) -> InUse | None:
    """The images in use that a file lists; `hosts` as in `InUse`.

    Raises:
        RefusedError: it is missing, or may not be whole.
    """
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            return parse_in_use(file.read(), hosts)
    except (OSError, InvalidInUseError) as error:
        raise RefusedError(f"--in-use {path}: {error}. Nothing was changed") from error


def note(text: str) -> None:
    """Tell a person something that is not the answer."""
    typer.echo(f"regkeeper: {text}", err=True)


def print_document(document: Mapping[str, Any]) -> None:
    """The one document of --json."""
    json.dump(document, sys.stdout, indent=2)
    sys.stdout.write("\n")


@contextmanager
def failures(*, as_json: bool) -> Iterator[None]:
    """End the command with status 1 on an expected failure; with --json its document says which."""
    try:
        yield
    except RegkeeperError as error:
        note(str(error))
        if as_json:
            print_document({"outcome": "failed", "reason": error.reason, "message": str(error)})
        raise typer.Exit(1) from None
