"""Options that several commands on a registry's volume share, and what they come to."""

import time
from typing import Annotated
from urllib.parse import urlsplit

import typer

from regkeeper.durations import parse_duration
from regkeeper.retention.errors import RefusedError
from regkeeper.retention.moments import parse_moment
from regkeeper.retention.policies.in_use import InUse, InvalidInUseError, parse_in_use
from regkeeper.retention.runs.quiet import Mode


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
