"""The engine under strace: each mutating call is made in the one room, a kill at one loses nothing, none is idle.

test_crash.py kills at every call, in the room where they are made; this is the proof that there is no other.
"""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.engine.driver import policy
from tests.engine.planning import UNLIMITED
from tests.engine.remembered import remember
from tests.engine.running import Counting, Runner, content, copied, quarantined
from tests.engine.volumes import DAY, Volume

SPEC = {"rules": [{"keep": {"last": 1}}], "undoWindow": "0s"}

MUTATING = (
    "rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,mkdir,mkdirat,mknod,mknodat,"
    "pwrite64,pwritev,pwritev2,truncate,ftruncate,fallocate,chmod,fchmod,fchmodat,chown,lchown,fchown,fchownat,"
    "utime,utimes,utimensat,setxattr,fsetxattr,fsync,fdatasync,syncfs"
)

ONLY = "--seccomp-bpf"
"""Stops a process only at the calls that are asked for, not at each of the thousands with which Python starts.

strace 6.1 then sends none of the signals that are to be injected.
"""

CREATING = re.compile(r"^(?:\d+ +)?(?:openat|open|openat2|creat)\(.*O_CREAT")
CALL = re.compile(r"^(?:\d+ +)?(\w+)\(")


@pytest.fixture(autouse=True)
def quick() -> None:
    """The reserve is as large as it is: a command in a process of its own writes it beside one in this process."""


@pytest.fixture
def asked(volume: Volume, tmp_path: Path) -> list[str]:
    """A command that deletes one of two images and frees it."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"base", b"one"], age=30 * DAY)
    app.push_image("v2", layers=[b"base", b"two"], age=20 * DAY)
    file = tmp_path / "policy.json"
    file.write_text(policy({**SPEC, "limits": UNLIMITED}))
    return [sys.executable, "-m", "regkeeper", "retain", "--policy", str(file), "--now", "2026-05-28T20:26:40Z"]


def strace(asked: list[str], root: Path, log: Path, *options: str) -> int:
    """Run the command; answers its exit status, -9 when it was killed."""
    command = ["strace", "-f", "-qq", "-o", str(log), *options, *asked, "--root", str(root)]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, env=environment, check=False, capture_output=True).returncode


def test_every_mutating_system_call_goes_through_the_one_room(volume: Volume, asked: list[str], tmp_path: Path) -> None:
    guard = Counting()
    Runner(copied(volume, tmp_path / "counted"), volume.now, guard=guard).retain(SPEC)
    log = tmp_path / "log"
    assert (
        strace(
            asked, copied(volume, tmp_path / "traced"), log, ONLY, "-e", f"trace={MUTATING},openat,open,openat2,creat"
        )
        == 0
    )
    calls = [
        match[1]
        for line in log.read_text().splitlines()
        if (match := CALL.match(line)) and (not match[1].startswith("open") or CREATING.match(line))
    ]
    assert len(calls) == len(guard.calls), (Counter(calls), Counter(guard.calls))


@pytest.mark.parametrize("call", ["mkdirat", "pwrite64", "fsync", "renameat", "unlinkat"])
@pytest.mark.parametrize("number", [1, 4])
def test_a_kill_within_a_system_call_loses_nothing(
    volume: Volume, asked: list[str], tmp_path: Path, call: str, number: int
) -> None:
    undisturbed = copied(volume, tmp_path / "undisturbed")
    Runner(undisturbed, volume.now).retain(SPEC)
    root = copied(volume, tmp_path / "killed")
    injection = f"inject={call}:signal=KILL:when={number}"
    assert strace(asked, root, tmp_path / "log", "-e", f"trace={call}", "-e", injection) == -9
    assert volume.repository("app").tag_link("v2").exists()
    Runner(root, time.time_ns()).retain(SPEC)  # later than the command began: the undo window counts from then
    assert content(root) == content(undisturbed)
    assert quarantined(root) == []


LOOKING = "openat,openat2,read,close,fstat,newfstatat,statx,getdents64"
"""Calls by which a plan sees the volume."""

PLAN = """
import sys
from regkeeper.retention.volume.layout import open_volume
from regkeeper.retention.planning.planner import Planner
from regkeeper.retention.policies.intent import Intent
from regkeeper.retention.judging.question import Question
from regkeeper.retention.processes.read_ahead import waits_for_nothing
from regkeeper.retention.records.record_files import RecordFiles
from regkeeper.retention.records.remembering import RememberingReader

with open_volume(sys.argv[1]) as volume:
    reader = RememberingReader(volume, RecordFiles(volume), now=2**62, trusting=True)
    Planner(volume, Question(Intent(sweeps_garbage=False), 2**62), reader=reader, waits=waits_for_nothing).make()
    assert reader.trusted == int(sys.argv[2])
"""


def looked(root: Path, log: Path, *, trusted: int) -> int:
    """How many calls it takes to plan on a volume."""
    options = ["-f", ONLY, "-c", "-U", "name,calls", "-e", f"trace={LOOKING}", "-o", str(log)]
    subprocess.run(["strace", *options, sys.executable, "-c", PLAN, str(root), str(trusted)], check=True)
    rows = [line.split() for line in log.read_text().splitlines()]
    return sum(int(row[1]) for row in rows if len(row) == 2 and row[0] in LOOKING.split(","))


@pytest.mark.parametrize(("remembered", "most"), [(False, 12), (True, 4)])
def test_an_image_costs_few_system_calls(tmp_path: Path, *, remembered: bool, most: int) -> None:
    """Its two links and its manifest are opened, or by a record looked at; layers and configs are only listed."""
    calls = []
    for images in (10, 60):
        volume = Volume(tmp_path / str(images))
        for number in range(256):
            (volume.blobs / "sha256" / f"{number:02x}").mkdir(parents=True)
        app = volume.repository("app")
        for number in range(images):
            app.push_image(f"v{number}", layers=[b"base", b"%d" % number])
        if remembered:
            remember(volume)
        calls.append(looked(volume.root, tmp_path / "log", trusted=int(remembered)))
    assert 50 <= calls[1] - calls[0] <= 50 * most, "fewer than one an image: they were not counted"
