"""`make test` on a machine that can't run it: says what is missing and what can be run, and touches nothing."""

import pytest

from tests import run


def test_without_root_it_names_what_is_missing_and_the_way_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("subprocess.run", lambda *_, **__: pytest.fail("something was started"))
    assert run.main([]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("Needs: Linux, root")
    assert "Missing: root" in said.err
    assert "make test-unit" in said.err


def test_every_test_belongs_to_exactly_one_phase() -> None:
    """The markers of the phases part the suite: no test runs twice or never."""
    marks = [(control_plane, nodes) for control_plane in (False, True) for nodes in (False, True)]
    for control_plane, nodes in marks:
        names = {"control_plane": control_plane, "nodes": nodes}
        phases = [phase.name for phase in run.PHASES if eval(phase.markers, {}, names)]
        assert len(phases) == 1, names
