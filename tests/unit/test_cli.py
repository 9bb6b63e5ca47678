"""The command `regkeeper` itself: what it lists, and what each of its commands is called."""

import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from regkeeper.cli import COMMANDS, LazyGroup, app


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_listed_by_the_name_by_which_it_runs(name: str) -> None:
    group = get_command(app)
    assert isinstance(group, LazyGroup)
    command = group.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    assert command.name == name


def test_the_help_lists_each_command_with_what_it_does() -> None:
    lines = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).stdout.splitlines()
    listed = {words[1]: words[2:-1] for line in lines if len(words := line.split()) > 3}
    assert all(listed.get(name) for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_breaks_lines_where_the_terminal_ends(name: str) -> None:
    group = get_command(app)
    assert isinstance(group, LazyGroup)
    text = group.get_command(None, name).help  # type: ignore[arg-type,union-attr]
    assert text
    assert not any("\n" in paragraph for paragraph in text.split("\n\n"))


@pytest.mark.parametrize("name", ["check", "delete", "du", "list", "purge", "restore", "retain"])
def test_the_help_of_what_may_end_otherwise_names_the_status(name: str) -> None:
    text = " ".join(CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).stdout.split())
    assert "exit status" in text.lower()


def test_who_interrupts_the_start_sees_no_traceback() -> None:
    """Nothing was begun: the command line is imported."""
    interrupted = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # who starts this in the background ignores it
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'regkeeper.cli': signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "sys.argv = ['regkeeper', 'runs']\n"
        "from regkeeper.__main__ import main\n"
        "main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", interrupted], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, "")
