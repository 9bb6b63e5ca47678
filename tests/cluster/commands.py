"""Running programs of the system, with errors that say what was run and what it answered."""

import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

_LONGEST_ANSWER = 4000  # characters of a failed program's output: its end says why


class CommandError(Exception):
    """A program failed; the message has its command line and the end of what it said."""


def run(*command: str | Path, text: str = "", environment: Mapping[str, str] | None = None) -> str:
    """Run a command and return what it printed.

    Args:
        command: its words.
        text: what it reads.
        environment: instead of this process's own.

    Raises:
        CommandError: it failed.
    """
    words = [str(word) for word in command]
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise CommandError(f"{shlex.join(words)}: exit {done.returncode}: {failure(done)}")
    return done.stdout


def failure(done: subprocess.CompletedProcess[str]) -> str:
    """The end of what a failed program said."""
    return (done.stderr.strip() or done.stdout.strip())[-_LONGEST_ANSWER:]
