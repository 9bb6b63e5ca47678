"""One Job's pod for tests: a mounted snapshot in, an answer out, a real volume."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from regkeeper.answer import LARGEST, Answer, Outcome, decode
from regkeeper.cli import app
from regkeeper.naming import API_VERSION
from regkeeper.snapshot import Document, Stage, encode
from tests.engine.driver import ours
from tests.engine.volumes import DAY, Entry, Volume, files
from tests.snapshot_volume import mount

JOB = "0f5e9a3c-2d1b-4c7e-8a6f-1234567890ab"
UNLIMITED = {"maxDeletedShare": "100%", "allowEmptyRepositories": True}
KEEP_ONE = {"rules": [{"keep": {"last": 1}}], "limits": UNLIMITED}


def manifest(spec: dict[str, Any], name: str = "keep-last") -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "ImageRetention",
        "metadata": {"name": name, "namespace": "images", "uid": "1", "generation": 1},
        "spec": {"registryRef": {"name": "main"}, **spec},
        "status": {"observedGeneration": 1},
    }


@dataclass
class Pod:
    """One Job's pod."""

    root: Path
    folder: Path
    job: str = JOB
    log: str = ""
    generation: int = 0

    @property
    def options(self) -> list[str]:
        """Where this pod has what."""
        paths = {"snapshot": "snapshot", "handover": "plan", "termination-log": "termination-log"}
        return [f"--{option}={self.folder / name}" for option, name in paths.items()]

    def tell(self, stage: Stage, spec: dict[str, Any] | None = None, **document: Any) -> None:
        """Mount a snapshot."""
        self.generation += 1
        end = f"{datetime.now(UTC) + timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}"
        fields: dict[str, Any] = {
            "action": "retain",
            "name": "keep-last",
            "policy": None if spec is None else manifest(spec),
            "end_time": end,
            "in_use": [],
        }
        content = Document(**{**fields, **document})
        (self.folder / "snapshot").mkdir(parents=True, exist_ok=True)
        mount(self.folder / "snapshot", encode(content, run=self.job, generation=self.generation, stage=stage))

    def container(self, command: str, *, status: int = 0) -> Answer:
        """Run one of the two containers to its end."""
        message = self.folder / "termination-log"
        message.write_bytes(b"x" * 5000)  # what an earlier container left must not show through
        arguments = ["job", f"--root={self.root}", *self.options, command]
        result = CliRunner().invoke(app, arguments, env={"JOB_UID": self.job})
        self.log = result.stdout
        assert (result.exit_code, message.stat().st_size <= LARGEST) == (status, True), result.output
        return decode(message.read_bytes())

    def foreseen(self, **document: Any) -> Answer:
        """The first container, the registry taking pushes."""
        self.tell(Stage.PLAN, **document)
        return self.container("plan")

    def whole_run(self, spec: dict[str, Any] | None = None, **document: Any) -> Answer:
        """Both containers, the registry being quiet from the beginning."""
        self.tell(Stage.RUN, spec, **document)
        assert self.container("plan").outcome is Outcome.SKIPPED
        return self.container("run")


def three_tags(root: Path) -> Volume:
    """Three tags, of which `keep last 1` deletes two. The Job judges by the real time."""
    volume = Volume(root, now=time.time_ns())
    repository = volume.repository("boke/wordpress")
    for number, name in enumerate(("4.9", "5.0", "latest")):
        repository.push_image(name, layers=[b"base", f"{name} ".encode() * 100], age=(10 - number) * DAY)
    return volume


def content(volume: Volume) -> dict[str, Entry]:
    """Every file of the registry itself, times included."""
    return files(volume.root, ignore=ours)


def tags(volume: Volume, repository: str = "boke/wordpress") -> set[str]:
    return {path.name for path in volume.repository(repository).tags.iterdir()}
