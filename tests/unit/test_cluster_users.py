"""What several processes of tests use together: the last of them removes it."""

from pathlib import Path

import pytest

from tests.cluster import records
from tests.cluster.fixtures import in_common


def _fail() -> str:
    raise RuntimeError("no slot is free")


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
