"""btrfs shows in an open directory what was there when it was opened, or rewound last (Linux 6.5)."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.engine.mounts import formatted, mounted
from tests.engine.running import Runner, content
from tests.engine.samples import KEEP_LAST, team_volume
from tests.engine.volumes import SECOND

pytestmark = pytest.mark.root


@pytest.fixture
def on_btrfs(tmp_path: Path) -> Iterator[Path]:
    image = formatted(tmp_path / "image", 128, "mkfs.btrfs")
    with mounted(tmp_path / "mounted", "-o", "loop", str(image)) as folder:
        yield folder


def test_a_run_sees_its_own_journal_and_that_of_the_last(on_btrfs: Path) -> None:
    """Its name could be taken, and what was begun for nothing stayed."""
    volume = team_volume(on_btrfs / "registry")
    runner = Runner(volume.root, volume.now)
    before = content(volume.root)
    moment = datetime.fromtimestamp(runner.now / SECOND, UTC)
    with runner.changing() as (_, journals):
        begun = [journals.begin(run=journals.next_run(moment), command="delete", undo_window=0, now=None) for _ in "ab"]
        assert journals.all() == begun
    assert runner.retain(KEEP_LAST).journal is not None
    assert runner.retain(KEEP_LAST).journal is None
    assert len(runner.journals()) == 1
    runner.restore()
    assert content(volume.root) == before
