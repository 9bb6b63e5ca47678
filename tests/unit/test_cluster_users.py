"""What several processes of tests use together: the last of them removes it."""

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tests.cluster import records
from tests.cluster.__main__ import down
from tests.cluster.fixtures import in_common


def _fail() -> str:
    raise RuntimeError("no slot is free")


def _use(root: Path, name: str, making: Connection, using: Connection) -> None:
    """Use it until the end of the connections."""
    records.ROOT = root

    def make() -> None:
        making.send(name)
        making.recv()

    with in_common(name, make, lambda _: None):
        using.send(name)
        using.recv()


def _kill_a_user(root: Path, name: str, *, while_it_makes: bool = False) -> None:
    spawn = multiprocessing.get_context("spawn")
    (making, makes), (using, uses) = spawn.Pipe(), spawn.Pipe()
    process = spawn.Process(target=_use, args=(root, name, makes, uses))
    process.start()
    making.recv()
    if not while_it_makes:
        making.send("made")
        using.recv()
    process.kill()
    process.join()


def test_the_last_user_removes_it_and_who_could_not_make_it_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "ROOT", tmp_path / "root")
    removed: list[str] = []
    with pytest.raises(RuntimeError, match="no slot"), in_common("thing", _fail, removed.append):
        pytest.fail("it is used though it was not made")
    with records.users_lock("thing") as users:
        assert users.names() == []
        users.record_self("other")
    with in_common("thing", lambda: "first", removed.append):
        pass
    assert removed == []
    with records.users_lock("thing") as users:
        users.forget("other")
    with in_common("thing", lambda: "second", removed.append):
        assert removed == []
    assert removed == ["second"]


@pytest.mark.parametrize(
    ("everything", "left"), [(True, ["used"]), (False, ["killed in the making.lock", "used"])], ids=["all", "one"]
)
def test_what_killed_users_left_goes_with_the_cluster_and_who_lives_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, everything: bool, left: list[str]
) -> None:
    """Also of what was no cluster, and whose name nobody uses again."""
    root = tmp_path / "root"
    monkeypatch.setattr(records, "ROOT", root)
    removed: list[str] = []
    with in_common("used", lambda: "used", removed.append):
        _kill_a_user(root, "killed")
        _kill_a_user(root, "used")
        _kill_a_user(root, "killed in the making", while_it_makes=True)
        down(name="killed", everything=everything)
        assert sorted(path.name for path in (root / "users").iterdir()) == left
        down(name="used")
        with records.users_lock("used") as users:
            assert len(users.names()) == 1
        assert removed == []
    assert removed == ["used"]
    down(everything=True)
    assert not root.exists()
