"""docs/guides/cleaning-by-hand.md and undo.md: what they tell people to type works."""

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.engine import driver
from tests.engine.driver import invoke
from tests.engine.volumes import DAY, Volume

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
CLEANING, UNDO = ((GUIDES / name).read_text() for name in ("cleaning-by-hand.md", "undo.md"))
BLOCKS = re.findall(r"^ *```\w*\n(.*?)^ *```$", CLEANING + UNDO, re.DOTALL | re.MULTILINE)
COMMANDS = [line for block in BLOCKS for line in re.findall(r"^ *(?:\$ )?regkeeper +(.*)", block, re.MULTILINE)]
RUN = re.compile(r"\d{8}T\d{6}Z")


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Volume:
    """What the guides name, and their policy in the present directory."""
    volume = Volume(tmp_path / "volume")
    for number, tag in enumerate(("4.7", "4.8", "5.0", "5.1", "5.2", "latest")):
        volume.repository("boke/wordpress").push_image(tag, layers=[tag.encode()], age=(30 - number) * DAY)
    volume.repository("old/project").push_image("v1", layers=[b"old"], age=300 * DAY)
    monkeypatch.chdir(tmp_path)
    (policy,) = re.findall(r"^```yaml\n(.*?)^```", CLEANING, re.DOTALL | re.MULTILINE)
    Path("keep-last-5.yaml").write_text(policy)
    return volume


def test_the_guides_have_commands() -> None:
    assert {line.split()[0] for line in COMMANDS} == {"delete", "du", "purge", "restore", "retain", "runs"}
    assert len(COMMANDS) > 12


@pytest.mark.parametrize("line", COMMANDS)
def test_what_is_typed_is_done(line: str, volume: Volume) -> None:
    root = str(volume.root)
    words = shlex.split(line.replace("…", root).replace("/docker/var/lib/registry", root), comments=True)
    if words[0] in ("purge", "restore", "runs"):
        assert driver.delete(volume, "boke/wordpress:4.8").code == 0
        (run,) = driver.run(volume, "runs").document["runs"]
        words = [RUN.sub(run["run"], word) for word in words]
    if "--approve" in words:
        Path("plan.json").write_text(json.dumps(driver.run(volume, "retain", *words[3:5], "--dry-run").document))
    if ">" in words:
        words = words[: words.index(">")]
    outcome = invoke(*words)
    assert outcome.code == 0, outcome.errors
