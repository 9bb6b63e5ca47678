"""How all commands on a registry's volume answer.

Exit status: 0 done or nothing to do, 1 refused or failed, 2 wrong usage, 3 done, but something was kept that could not
be read, or not be removed.
Standard output has the answer only (with --json one document); everything else goes to standard error.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer

from regkeeper.errors import RegkeeperError
from regkeeper.retention.wording import shown

KEPT_AGAINST_WILL = 3


def note(text: str) -> None:
    """Tell a person something that is not the answer."""
    typer.echo(f"regkeeper: {shown(text)}", err=True)


@contextmanager
def answering() -> Iterator[None]:
    """Write the answer, to its end; as `writing`."""
    with writing():
        yield
        sys.stdout.flush()


@contextmanager
def writing() -> Iterator[None]:
    """End the command with status 1 if standard output does not take what is written, as a file on a full disk."""
    try:
        yield
    except BrokenPipeError:  # who reads has had enough, which typer answers
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the rest of it
        note(f"standard output: {error.strerror}: the answer is not whole")
        raise typer.Exit(1) from None


def print_document(document: Mapping[str, Any]) -> None:
    """The one document of --json."""
    with answering():
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
