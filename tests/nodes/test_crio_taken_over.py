"""A drop-in that somebody put in the place of ours is theirs, whatever our record says: the mark in the file counts."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from regkeeper.nodes import crio
from regkeeper.nodes.cri import Cri
from regkeeper.nodes.crio import Crio, CrioLook
from regkeeper.nodes.crio_config import OUR_PATH
from regkeeper.nodes.files import NodeFiles
from regkeeper.nodes.process import Process
from regkeeper.nodes.reasons import FileChangedError, NodeProblemError, Reason
from regkeeper.nodes.record import Ledger

THEIRS = b'[[registry]]\nlocation = "theirs:5000"\ninsecure = true\n[[registry]]\nlocation = "tls:5000"\n'


class Place:
    """A node with a CRI-O that an agent has told of one host."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = folder / OUR_PATH[1:]
        self.path.parent.mkdir(parents=True)
        (folder / "var/lib").mkdir(parents=True)
        self.signals = 0
        process = Process(pid=2, parent=1, name="crio", uid=0, arguments=("crio",), started=1.0, nested=False)
        monkeypatch.setattr(crio, "prove", lambda *_, **__: process)
        monkeypatch.setattr(crio, "hang_up", self._hang_up)
        monkeypatch.setattr(Process, "age", lambda _process: 60.0)
        monkeypatch.setattr(Cri, "version", lambda _cri: "1.30")
        self.at_that_moment: Callable[[], None] = lambda: None
        """Called when the drop-in is about to be replaced or removed."""
        files = NodeFiles(str(folder), self._before)
        self.crio = Crio(files, settle_seconds=5)
        self.ledger = Ledger(files)
        self.run("one:5000")
        assert b"one:5000" in self.path.read_bytes()
        assert self.signals == 1

    def _before(self, operation: str, path: str) -> None:
        if path == OUR_PATH and operation in ("rename", "remove"):
            self.at_that_moment()

    def _hang_up(self, _process: Process, _proc: str) -> None:
        self.signals += 1

    def look(self, hosts: Sequence[str]) -> CrioLook:
        return self.crio.look(hosts, self.ledger, allow_pending_edits=False)

    def run(self, *hosts: str) -> CrioLook:
        """A pass, and what is seen after it."""
        look = self.look(hosts)
        if look.acts:
            self.crio.act(look, self.ledger)
        return self.look(hosts)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


def test_it_is_left_and_reported(place: Place) -> None:
    place.path.write_bytes(THEIRS)
    look = place.run("one:5000", "theirs:5000", "tls:5000")
    assert place.path.read_bytes() == THEIRS
    assert {host: problem.reason for host, problem in look.refused.items()} == {"one:5000": Reason.FILE_FOREIGN}
    assert list(look.suspects) == ["tls:5000"], "what it trusts is trusted"
    assert place.crio.reverted(place.ledger), "nothing of ours is left"


@pytest.mark.parametrize("hosts", [("one:5000", "two:5000"), ()], ids=["another host", "a revert"])
def test_one_that_comes_at_the_same_moment_is_not_replaced(place: Place, hosts: tuple[str, ...]) -> None:
    def come() -> None:
        place.path.write_bytes(THEIRS)

    place.at_that_moment = come
    with pytest.raises(FileChangedError):
        place.run(*hosts)
    place.run(*hosts)
    assert place.path.read_bytes() == THEIRS
    assert place.crio.reverted(place.ledger), "nothing of ours is left"


def test_a_revert_leaves_it_and_has_crio_read_it_once(place: Place) -> None:
    """Or CRI-O would trust our host from memory until somebody else reloads it."""
    place.path.write_bytes(THEIRS)
    look = place.run()
    assert place.path.read_bytes() == THEIRS
    assert (look.problems, look.acts) == ((), False)
    assert place.crio.reverted(place.ledger)
    assert place.signals == 2
    place.run()
    assert place.signals == 2, "from here on it is theirs to load"


def test_what_crio_was_not_told_of_is_not_reverted(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_process: Process, _proc: str) -> None:
        raise NodeProblemError(Reason.NOT_PROVED, runtime="crio", path="/run/crio/crio.sock", detail="gone")

    monkeypatch.setattr(crio, "hang_up", fail)
    place.path.write_bytes(THEIRS)
    with pytest.raises(NodeProblemError):
        place.run()
    assert not place.crio.reverted(place.ledger)


def test_a_broken_one_is_not_loaded(place: Place) -> None:
    """With it every pull of the node fails."""
    place.path.write_bytes(b"[[registry")
    with pytest.raises(NodeProblemError) as caught:
        place.run()
    assert caught.value.problem.reason is Reason.FILE_BROKEN
    assert not place.crio.reverted(place.ledger)
    assert place.signals == 1


def test_a_stopped_crio_trusts_nothing_from_memory(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> Process:
        raise NodeProblemError(Reason.NOT_RUNNING, runtime="crio")

    monkeypatch.setattr(crio, "prove", stopped)
    place.path.write_bytes(THEIRS)
    place.run()
    assert place.crio.reverted(place.ledger)
    assert place.signals == 1


def test_ours_goes_with_a_revert(place: Place) -> None:
    place.run()
    assert not place.path.exists()
    assert place.crio.reverted(place.ledger)
    assert place.signals == 2
