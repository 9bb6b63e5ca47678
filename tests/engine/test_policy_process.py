"""Policies are read by another process as they would be here, and here when something becomes of it."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import structs

from regkeeper.retention.judging.question import Question
from regkeeper.retention.planning import early as early_reading
from regkeeper.retention.planning.early import reading_early
from regkeeper.retention.planning.planner import Planner
from regkeeper.retention.policies.intent import Intent
from regkeeper.retention.policies.policy_process import PolicyProcess, UnreadablePolicyError, read_intent
from regkeeper.retention.volume.layout import open_volume
from tests.engine.volumes import DAY, Volume

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


def elsewhere(policies: list[str], also_keep: list[str]) -> Intent:
    """What another process answers."""
    process = PolicyProcess()
    process.ask(policies, also_keep)
    intent = process.answer()
    assert intent is not None
    assert not (Path("/proc") / str(process.child)).exists()
    return intent


def test_another_process_reads_what_this_one_would(files: list[str]) -> None:
    read = elsewhere(files[:1], files[1:])
    assert facts(read) == facts(read_intent(files[:1], files[1:]))
    assert [rule.covers_repository("xx") for rule in read.rules] == [True, True]


@pytest.mark.parametrize(("option", "number"), [("--policy", 0), ("--also-keep", 1)])
def test_it_tells_which_file_means_nothing(files: list[str], option: str, number: int) -> None:
    Path(files[number]).write_text("kind: Pod")
    with pytest.raises(UnreadablePolicyError) as raised:
        elsewhere(files[:1], files[1:])
    assert raised.value.option == option
    assert raised.value.message.startswith(f"{files[number]}: apiVersion: it is missing")


def test_it_tells_which_file_is_no_text(files: list[str]) -> None:
    """As PowerShell writes it. It said that a codec can't decode."""
    Path(files[1]).write_text(POLICY % "second", encoding="utf-16")
    with pytest.raises(UnreadablePolicyError) as raised:
        read_intent(files[:1], files[1:])
    assert raised.value.message == f"{files[1]}: it is no text in UTF-8"


def test_it_has_no_answer_when_it_was_killed(files: list[str]) -> None:
    process = PolicyProcess()
    os.kill(process.child, signal.SIGKILL)
    process.ask(files, [])
    assert process.answer() is None


def command(volume: Volume, *options: str, python: tuple[str, ...] = ()) -> tuple[int, str]:
    """Exit status and errors of a dry run in a process of its own."""
    arguments = ["-m", "regkeeper", "retain", "--root", str(volume.root), "--dry-run", *options]
    done = subprocess.run([sys.executable, *python, *arguments], check=False, capture_output=True, text=True)
    return done.returncode, done.stderr


def test_the_command_itself_imports_no_models(volume: Volume, files: list[str]) -> None:
    volume.repository("app").push_image("v1", layers=[b"base"])
    code, errors = command(volume, "--policy", files[0], python=("-X", "importtime"))
    assert code == 0, errors
    modules = {line.rpartition("|")[2].strip() for line in errors.splitlines()}
    assert {"regkeeper.retention.planning.planner", "pydantic", "yaml"} & modules == {
        "regkeeper.retention.planning.planner"
    }


def test_what_cannot_be_printed_is_told(volume: Volume, files: list[str]) -> None:
    """The command ends at once, with what is printed still in a buffer."""
    volume.repository("app").push_image("v1", layers=[b"base"])
    arguments = ["-m", "regkeeper", "retain", "--root", str(volume.root), "--dry-run", "--policy", files[0]]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, *arguments], check=False, stdout=full, stderr=subprocess.PIPE, text=True, env=buffered
        )
    assert done.returncode != 0
    assert "No space left on device" in done.stderr


def test_without_a_volume_a_policy_that_means_nothing_is_told_first(volume: Volume, files: list[str]) -> None:
    """The volume is opened before the policy is known."""
    shutil.rmtree(volume.root)
    code, errors = command(volume, "--policy", files[0])
    assert (code, errors.count("no registry volume at")) == (1, 1)
    Path(files[0]).write_text("kind: Pod")
    code, errors = command(volume, "--policy", files[0])
    assert code == 2
    assert "Invalid value for --policy" in errors


LATE = """\
apiVersion: regkeeper.dev/v1alpha1
kind: ImageRetention
metadata: {name: late}
spec:
  rules: [{keep: {last: 1}}]
  limits: {maxDeletedShare: 100%}
"""


def test_what_was_read_early_makes_the_same_plan(
    volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more manifests than are held until the policy is known, a repository that can't be read among them."""
    monkeypatch.setattr(early_reading, "_MOST", 40)
    for number in range(20):
        repository = volume.repository(f"app{number:02d}")
        for tag in range(3):
            repository.push_image(f"v{tag}", layers=[b"base", b"%d %d" % (number, tag)], age=(9 - tag) * DAY)
    volume.repository("app03").tag_link("v1").write_bytes(b"")
    policy = tmp_path / "policy"
    os.mkfifo(policy)
    process = PolicyProcess()
    process.ask([str(policy)], [])
    with reading_early(str(volume.root), None, process) as early:
        assert early is not None
        assert len(early.repositories) == 14
        policy.write_text(LATE)
        intent = process.answer()
        assert intent is not None
        question = Question(intent, volume.now)
        planner = Planner(early.seen.volume, question, reader=early.seen.reader, processes=2, early=early)
        plan = planner.make()
    with open_volume(str(volume.root)) as opened:
        assert plan.document() == Planner(opened, question).make().document()
    assert plan.problems
    assert plan.moves


WAITING = """
import os
from regkeeper.retention.policies.policy_process import PolicyProcess

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
