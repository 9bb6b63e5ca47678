"""`make test` on a machine that can't run it: says what is missing and what can be run, and touches nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import run


def test_without_root_it_names_what_is_missing_and_the_way_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    for start in ("run", "Popen"):
        monkeypatch.setattr(f"subprocess.{start}", lambda *_, **__: pytest.fail("something was started"))
    assert run.main([]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("Needs: Linux, root")
    assert "Missing: root" in said.err
    assert "make test-unit" in said.err


def test_every_test_belongs_to_exactly_one_phase() -> None:
    """The markers of the phases part the suite: no test runs twice or never."""
    every = [phase for lane in run.LANES for phase in lane if phase.module == "pytest"]
    marks = [(control_plane, nodes) for control_plane in (False, True) for nodes in (False, True)]
    for control_plane, nodes in marks:
        names = {"control_plane": control_plane, "nodes": nodes}
        phases = [phase.name for phase in every if eval(phase.markers, {}, names)]
        assert len(phases) == 1, names


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options of a pytest that knows nothing of this project, and so starts in a third of the time."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.chdir(tmp_path)
    return ["-p", "xdist", f"--rootdir={tmp_path}", f"--config-file={os.devnull}"]


def test_the_phases_of_all_lanes_run_and_say_what_failed(
    tmp_path: Path, bare: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """A marker that no test has: pytest says so by its exit status, 5."""
    test = tmp_path / "test_of_some.py"
    test.write_text("def test(): print('ran')")
    none, some = run.Phase("none", "root"), run.Phase("some", "not root")
    options = [*bare, "-s", str(test)]
    assert run.run_lanes([[some], [none]], options) == ["none"]
    assert run.run_lanes([[none], [some]], options) == ["none"]
    assert run.run_lanes([[none, some]], options) == ["none"]
    said = capfd.readouterr().out
    assert said.index("=== some") < said.index("ran") < said.index("=== none")
    assert said.count("ran") == 3


def test_what_a_phase_imports_is_compiled_once(
    tmp_path: Path, bare: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Images of Python and of CI often forbid it by a variable: every process then compiles all that it imports."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    test = tmp_path / "test_import.py"
    test.write_text("def test(): import imported")
    (tmp_path / "imported.py").touch()
    assert run.run_lanes([[run.Phase("some", "not root")]], [*bare, "--override-ini=pythonpath=.", str(test)]) == []
    assert list(tmp_path.glob("__pycache__/imported.*.pyc"))


CRASH = """
import os, pathlib, pytest

pathlib.Path("worker-" + os.environ["PYTEST_XDIST_WORKER"]).touch()

@pytest.mark.nodes
def test_crash():
    os._exit(1)
"""


def test_no_worker_takes_the_place_of_one_that_crashed_beside_nodes(tmp_path: Path, bare: list[str]) -> None:
    """It would build a third cluster beside the one that the first can't take down any more."""
    (phase,) = [each for lane in run.LANES for each in lane if each.markers == "nodes"]
    test = tmp_path / "test_crash.py"
    test.write_text(CRASH)
    command = phase.command([*bare, str(test), "--numprocesses=1"])
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "crashed while running" in done.stdout
    assert [path.name for path in tmp_path.glob("worker-*")] == ["worker-gw0"]


GROUP = """
import os, pathlib, pytest

@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("number", range(4))
def test_of_a_group(number):
    pathlib.Path("worker-" + os.environ["PYTEST_XDIST_WORKER"]).touch()
"""


def test_the_tests_of_a_group_run_in_one_worker(tmp_path: Path, bare: list[str]) -> None:
    """They share what is dear to make, or would disturb each other side by side."""
    test = tmp_path / "test_group.py"
    test.write_text(GROUP)
    subprocess.run([sys.executable, "-m", "pytest", *bare, *run.GROUPS, "-n2", test], check=True)
    assert len(list(tmp_path.glob("worker-*"))) == 1


def test_the_tests_that_need_the_embedded_cluster_are_known() -> None:
    listed = run.embedded_tests()
    files = {name.partition("::")[0] for name in listed}
    assert {"tests/e2e/test_cluster.py", "tests/e2e/test_operator_process.py"} <= files
    assert "tests/e2e/test_crd.py" not in files


def test_a_test_in_the_wrong_place_is_named_by_a_worker_and_does_not_run(
    tmp_path: Path, bare: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No phase on clusters would find the one, nor one beside them the other."""
    tests = Path(run.__file__).parent
    monkeypatch.setenv("PYTHONPATH", str(tests.parent))
    shutil.copy(tests / "conftest.py", tmp_path)
    (tmp_path / "test_astray.py").write_text("import pytest\n\n@pytest.mark.nodes\ndef test_astray(): pass")
    (tmp_path / "test_other.py").write_text("def test_other(): pass")
    (tmp_path / "e2e").mkdir()
    (tmp_path / "e2e" / "test_unmarked.py").write_text("def test_unmarked(): pass")
    (tmp_path / "e2e" / "test_marked.py").write_text("import pytest\n\n@pytest.mark.nodes\ndef test_marked(): pass")
    command = [sys.executable, "-m", "pytest", *bare, "-Wignore", "-n1", "."]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    for astray in ("test_astray.py::test_astray", "e2e/test_unmarked.py::test_unmarked"):
        assert f"{astray}: tests of clusters belong into" in done.stdout
    assert "2 passed, 2 errors" in done.stdout
