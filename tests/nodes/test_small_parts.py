"""Small pure parts: the proxy's rules, systemd's units, damping, answers, and files below a root."""

import os
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from regkeeper.nodes import systemd
from regkeeper.nodes.answers import judge
from regkeeper.nodes.containerd_config import read_registry_settings
from regkeeper.nodes.damping import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Damper
from regkeeper.nodes.docker_edits import lost_settings
from regkeeper.nodes.files import NodeFiles
from regkeeper.nodes.process import hang_up, processes_named, read_process
from regkeeper.nodes.proxy import catches
from regkeeper.nodes.reasons import NodeProblemError, Reason
from regkeeper.nodes.report import HostState
from tests.nodes.measured_answers import ANSWERS


@pytest.mark.parametrize(
    ("host", "no_proxy", "caught"),
    [
        ("registry.example:5000", "", True),
        ("registry.example:5000", "other.example", True),
        ("registry.example:5000", "*", False),
        ("registry.example:5000", "registry.example", False),
        ("registry.example:5000", "registry.example:5000", False),
        ("registry.example:5000", "registry.example:5001", True),
        ("registry.example:5000", ".example", False),
        ("registry.example:5000", "a.b, example", False),
        ("registry.example:5000", "*.example", False),
        ("example:5000", "*.example", True),
        ("registry.example:5000", "xample", True),
        ("10.1.2.3:5000", "10.0.0.0/8", False),
        ("10.1.2.3:5000", "10.1.2.3", False),
        ("10.1.2.3:5000", "10.1.2.3:5000", False),
        ("10.1.2.3:5000", "10.1.2.4,192.168.0.0/16", True),
        ("[fd00::1]:5000", "fd00::/8", False),
        ("[fd00::1]:5000", "[fd00::1]:5000", False),
        ("localhost:5000", "", False),
        ("127.0.0.1:5000", "", False),
        ("[::1]:5000", "", False),
    ],
)
def test_what_a_proxy_catches(host: str, no_proxy: str, caught: bool) -> None:
    assert catches(host, no_proxy) is caught


def test_a_setting_that_a_reload_loses_is_noticed_unless_the_file_asks_for_it() -> None:
    before = {"Debug": False, "Labels": ["a=b"], "RegistryConfig": {"Mirrors": ["https://m/"]}}
    after = {"Debug": True, "Labels": [], "RegistryConfig": {"Mirrors": []}}
    assert lost_settings(before, before, {}) == ()
    assert lost_settings(before, after, {"debug": True}) == ("labels", "registry-mirrors")


def write(root: Path, path: str, text: str) -> None:
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def arguments(root: Path) -> tuple[str, ...]:
    return systemd.start_arguments(NodeFiles(str(root)), "docker.service")


def test_no_unit(tmp_path: Path) -> None:
    assert arguments(tmp_path) == ()


def test_a_unit_with_continued_lines_and_comments(tmp_path: Path) -> None:
    write(
        tmp_path, "/lib/systemd/system/docker.service", "[Service]\n#ExecStart=no\nExecStart=/d -H fd:// \\\n  --x=1\n"
    )
    assert arguments(tmp_path) == ("/d", "-H", "fd://", "--x=1")


def test_etc_goes_before_lib_and_drop_ins_come_after_both(tmp_path: Path) -> None:
    write(tmp_path, "/lib/systemd/system/docker.service", "[Service]\nExecStart=/lib\n")
    write(tmp_path, "/etc/systemd/system/docker.service", "[Service]\nExecStart=/etc\n")
    assert arguments(tmp_path) == ("/etc",)
    write(tmp_path, "/lib/systemd/system/docker.service.d/10-a.conf", "[Service]\nExecStart=\nExecStart=/ten\n")
    assert arguments(tmp_path) == ("/ten",)
    write(tmp_path, "/etc/systemd/system/docker.service.d/20-b.conf", "[Service]\nExecStart=\nExecStart=/twenty\n")
    assert arguments(tmp_path) == ("/twenty",)
    write(tmp_path, "/etc/systemd/system/docker.service.d/10-a.conf", "[Unit]\nExecStart=/no\n")
    write(tmp_path, "/etc/systemd/system/docker.service.d/20-b.conf", "")
    assert arguments(tmp_path) == ("/etc",), "a drop-in of the same name in /etc hides the one in /lib"


def test_variables(tmp_path: Path) -> None:
    write(tmp_path, "/etc/default/docker", '# a comment\nDOCKER_OPTS="--insecure-registry h:1"\n')
    write(
        tmp_path,
        "/etc/systemd/system/docker.service",
        "[Service]\nEnvironmentFile=-/etc/default/docker\nEnvironmentFile=-/absent\nEnvironment=A=b\n"
        "ExecStart=/d $DOCKER_OPTS ${A} $NOTHING\n",
    )
    assert arguments(tmp_path) == ("/d", "--insecure-registry", "h:1", "b")


def test_hostile_units(tmp_path: Path) -> None:
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "etc/systemd/system/docker.service").symlink_to("/etc/hostname")
    assert arguments(tmp_path) == ()
    write(tmp_path, "/lib/systemd/system/docker.service", "[Service]\nEnvironmentFile=../../x\nExecStart=/d 'open\n")
    assert arguments(tmp_path) == ("/d", "'open")


def test_a_few_repairs_are_free_and_further_ones_wait_twice_as_long_each() -> None:
    damper, now, pauses = Damper(), 0.0, []
    for _ in range(12):
        pause = damper.wait(now)
        pauses.append(pause)
        now += pause
        damper.repaired(now)
    assert pauses[:6] == [0, 0, 0, FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS, 4 * FIRST_PAUSE_SECONDS]
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
    assert damper.wait(now + 3 * LONGEST_PAUSE_SECONDS) == 0, "peace is believed in the end"


@pytest.mark.parametrize("host", ["10.99.0.11:30401", "denied.example:401", "registry.not-found:5000"])
@pytest.mark.parametrize("server", ANSWERS)
def test_answers_are_known_by_their_whole_text_whatever_words_a_host_has(server: str, host: str) -> None:
    expected, answers = ANSWERS[server]
    for answer in answers:
        state, problem = judge(host, answer.replace("{host}", host), runtime="docker")
        assert (state, problem and problem.reason) == expected, answer


def test_an_answer_about_another_host_proves_nothing() -> None:
    answer = 'failed to pull and unpack image "a:1/x:1": failed to resolve reference "a:1/x:1": a:1/x:1: not found'
    assert judge("h:1", answer, runtime="containerd")[0] is HostState.CONFIGURED


def test_a_child_that_was_just_forked_is_no_second_daemon(tmp_path: Path) -> None:
    """dockerd's children bear its name until they are the runtime whose version it asks for."""
    for pid, parent in ((10, 1), (11, 10), (20, 1)):
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "comm").write_text("dockerd\n")
        (folder / "status").write_text("Uid:\t0\t0\t0\t0\n")
        (folder / "stat").write_text(f"{pid} (dockerd) S {parent} " + "0 " * 40)
        (folder / "cmdline").write_text("dockerd\0")
    assert [process.pid for process in processes_named("dockerd", str(tmp_path))] == [10, 20]


def test_a_signal_that_is_forbidden_is_reported_with_what_forbids_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """AppArmor's default profile does; the uids are the same."""

    def forbid(_descriptor: int, _signal: int) -> None:
        raise PermissionError

    process = read_process(os.getpid())
    assert process
    monkeypatch.setattr(signal, "pidfd_send_signal", forbid)
    with pytest.raises(NodeProblemError, match="AppArmor") as caught:
        hang_up(process)
    assert caught.value.problem.reason is Reason.NOT_PROVED


@pytest.fixture
def files(tmp_path: Path) -> NodeFiles:
    (tmp_path / "root/etc").mkdir(parents=True)
    return NodeFiles(str(tmp_path / "root"))


def test_no_symlink_leads_out_of_the_tree(files: NodeFiles, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("secret")
    (tmp_path / "root/etc/link").symlink_to(outside)
    (tmp_path / "root/etc/file").symlink_to(outside / "file")
    for path in ("/etc/link/file", "/etc/file"):
        with pytest.raises(NodeProblemError) as caught:
            files.read(path)
        assert caught.value.problem.reason is Reason.FILE_SYMLINK
    with pytest.raises(NodeProblemError):
        files.write("/etc/link/new", b"x")
    with pytest.raises(NodeProblemError) as caught:
        files.read("/etc/../../outside/file")
    assert caught.value.problem.reason is Reason.FILE_ERROR
    assert sorted(path.name for path in outside.iterdir()) == ["file"]
    files.write("/etc/file", b"ours")
    assert (outside / "file").read_text() == "secret", "a rename replaces the link, not what it points to"


def test_a_path_that_a_runtime_was_started_with_may_be_relative(files: NodeFiles) -> None:
    """`containerd --config config.toml`: a problem of this runtime, which no other one has to suffer from."""
    with pytest.raises(NodeProblemError) as caught:
        read_registry_settings(files, "config.toml", major=1)
    assert caught.value.problem.words() == "config.toml: not an absolute path without .."


def test_a_pipe_is_no_file_and_does_not_block(files: NodeFiles, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "root/etc/pipe")
    with pytest.raises(NodeProblemError) as caught:
        files.read("/etc/pipe")
    assert caught.value.problem.reason is Reason.FILE_NOT_REGULAR


def test_mode_and_attributes_are_kept(files: NodeFiles, tmp_path: Path) -> None:
    path = tmp_path / "root/etc/file"
    path.write_text("old")
    path.chmod(0o640)
    os.setxattr(path, "user.note", b"kept")
    files.write("/etc/file", b"new", like=files.read("/etc/file"))
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o640)
    assert os.getxattr(path, "user.note") == b"kept"


@pytest.mark.root
def test_owner_and_group_are_kept(files: NodeFiles, tmp_path: Path) -> None:
    path = tmp_path / "root/etc/file"
    path.write_text("old")
    os.chown(path, 1234, 4321)
    files.write("/etc/file", b"new", like=files.read("/etc/file"))
    status = path.stat()
    assert (path.read_text(), status.st_uid, status.st_gid) == ("new", 1234, 4321)


def test_a_file_is_on_disk_before_it_takes_its_place_and_its_name_after(
    files: NodeFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a node that loses power could have a file of no bytes, from which its runtime does not start."""
    (tmp_path / "root/etc/file").write_text("old")
    done: list[object] = []
    fsync, rename = os.fsync, os.rename

    def watch_fsync(descriptor: int) -> None:
        fsync(descriptor)
        done.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else os.fstat(descriptor).st_size)

    def watch_rename(source: str, target: str, **places: Any) -> None:
        rename(source, target, **places)
        done.append("rename")

    monkeypatch.setattr(os, "fsync", watch_fsync)
    monkeypatch.setattr(os, "rename", watch_rename)
    files.write("/etc/file", b"newer")
    assert done == [len(b"newer"), "rename", "directory"]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/file").write_text("old")

    def refuse(operation: str, _path: str) -> None:
        if operation == "rename":
            raise OSError(28, "No space left on device")

    with pytest.raises(NodeProblemError) as caught:
        NodeFiles(str(tmp_path), refuse).write("/etc/file", b"new")
    assert caught.value.problem.reason is Reason.FILE_NO_SPACE
    assert [path.name for path in (tmp_path / "etc").iterdir()] == ["file"]
    assert (tmp_path / "etc/file").read_text() == "old"
