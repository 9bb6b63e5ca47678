"""How all commands on a registry's volume answer.

Exit status: 0 done or nothing to do, 1 refused or failed, 2 wrong usage, 3 done, but something was kept that could not
be read, or not be removed.
Standard output has the answer only (with --json one document); everything else goes to standard error.
"""

import json
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
