"""Policies are read by another process as they would be here, and here when something becomes of it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import structs

from regkeeper.retention.intent import Intent
from regkeeper.retention.policy_process import PolicyProcess, UnreadablePolicyError, read_intent
from tests.engine.volumes import Volume

# The tests' own process may have threads (pytest-xdist); what is forked here takes none of their locks.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")

POLICY = """\
apiVersion: regkeeper.dev/v1alpha1
kind: ImageRetention
metadata: {name: %s}
spec:
  rules: [{name: all, repositories: ["team/**", "/x+/", app], tags: ["v*"], keep: {last: 3, semver: {highest: 2}}}]
  delete: ["old/app:v1", "old/**"]
  protect: {inUse: false}
"""
NAMES = ("team/app", "team", "xx", "xy", "app", "old/app", "old", "v1", "w1", "ünicode")


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Two policies."""
    paths = [tmp_path / "first", tmp_path / "second"]
    for path in paths:
        path.write_text(POLICY % path.name)
    return [str(path) for path in paths]


def facts(intent: Intent) -> object:
    """What an intent says, its patterns by what they match."""
    rules = [
        (
            rule.label,
            rule.keepers,
            rule.deletes,
            [bool(rule.covers_repository(name)) for name in NAMES],
            [bool(rule.covers_tag(name)) for name in NAMES],
        )
        for rule in intent.rules
    ]
    deletions = [[bool(reference.matches_repository(name)) for name in NAMES] for reference in intent.deletions]
    return rules, deletions, structs.replace(intent, rules=())


def test_another_process_reads_what_this_one_would(files: list[str]) -> None:
    read = PolicyProcess().read_intent(files[:1], files[1:])
    assert facts(read) == facts(read_intent(files[:1], files[1:]))
    assert [rule.covers_repository("xx") for rule in read.rules] == [True, True]


@pytest.mark.parametrize(("option", "number"), [("--policy", 0), ("--also-keep", 1)])
def test_it_tells_which_file_means_nothing(files: list[str], option: str, number: int) -> None:
    Path(files[number]).write_text("kind: Pod")
    with pytest.raises(UnreadablePolicyError) as raised:
        PolicyProcess().read_intent(files[:1], files[1:])
    assert raised.value.option == option
    assert raised.value.message.startswith(f"{files[number]}: apiVersion: Field required")


def test_files_are_read_here_when_it_was_killed(files: list[str]) -> None:
    process = PolicyProcess()
    os.kill(process.child, signal.SIGKILL)
    assert facts(process.read_intent(files, [])) == facts(read_intent(files, []))


COMMAND = """
import sys
from regkeeper.__main__ import main

try:
    main()
except SystemExit as ended:
    print(ended.code, *sys.modules)
"""


def test_the_command_itself_imports_no_models(volume: Volume, files: list[str]) -> None:
    volume.repository("app").push_image("v1", layers=[b"base"])
    options = ["--root", str(volume.root), "--policy", files[0], "--dry-run"]
    done = subprocess.run([sys.executable, "-c", COMMAND, "retain", *options], check=True, capture_output=True)
    code, *modules = done.stdout.decode().splitlines()[-1].split()
    assert code == "0", done.stderr
    assert {"regkeeper.retention.planner"} == {"regkeeper.retention.planner", "pydantic", "yaml"} & {*modules}


WAITING = """
import os
from regkeeper.retention.policy_process import PolicyProcess

child = PolicyProcess().child
while os.readlink(f"/proc/{child}/fd/1") != "/dev/null":
    pass
os.kill(child, 19)
print(child, flush=True)
os._exit(0)
"""


def test_it_does_not_hold_up_whoever_waits_for_the_command() -> None:
    """It inherits the standard output; a wrong option ends the command before it is asked anything."""
    done = subprocess.run([sys.executable, "-c", WAITING], check=True, capture_output=True, timeout=30)
    os.kill(int(done.stdout), signal.SIGKILL)
