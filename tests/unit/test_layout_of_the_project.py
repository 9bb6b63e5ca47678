"""The layout itself: what would break every import if somebody tidied it."""

import operator
import subprocess
import sys
import zipfile
from pathlib import Path

import regkeeper

ROOT = Path(__file__).parents[2]


def test_source_root_has_no_init_file() -> None:
    """With an `operator/__init__.py` on the path even `python -m pytest` crashes (facts of kopf 1.45)."""
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_the_standard_library_still_owns_the_name_operator() -> None:
    assert operator.itemgetter(0)("ab") == "a"
    assert Path(regkeeper.__file__).parent == ROOT / "operator" / "regkeeper"


def test_the_wheel_ships_regkeeper_alone(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    top = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert top == {"regkeeper", f"{wheel.name.removesuffix('-py3-none-any.whl')}.dist-info"}


def test_lock_files_name_no_index_and_hash_everything() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        lines = (ROOT / name).read_text().splitlines()
        assert not [line for line in lines if "://" in line or "index-url" in line or "find-links" in line]
        pinned = [line for line in lines if "==" in line]
        assert pinned
        assert all(line.endswith("\\") for line in pinned), "each pin is followed by its hashes"
