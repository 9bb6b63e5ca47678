"""The engine as its users have it: the command `regkeeper`, run in this process, on a volume of `volumes`."""

import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from regkeeper.cli import app
from tests.engine.oracle_policy import InUse
from tests.engine.oracle_reading import complete_tags, read
from tests.engine.volumes import SECOND, Volume

REFUSES_NOTHING = {"maxDeletedShare": "100%", "allowEmptyRepositories": True}


def ours(path: str) -> bool:
    """Whether a path below the root is the engine's own: its quarantine, journals and cache."""
    return path.startswith("docker/registry/v2/.regkeeper")


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: its exit status.
        document: what it printed under `--json`; {} if nothing.
        errors: what it wrote to stderr.
    """

    code: int
    document: dict[str, Any]
    errors: str


def run(volume: Volume, command: str, *arguments: str, now: int | None = None) -> Outcome:
    """`regkeeper COMMAND --root … --json`, at the volume's `now` or another. An exception in the command is raised.

    Raises:
        AssertionError: it printed something else than one JSON document.
    """
    moment = f"{datetime.fromtimestamp((now or volume.now) // SECOND, UTC):%Y-%m-%dT%H:%M:%SZ}"
    options = ["--root", str(volume.root), "--json", "--now", moment]
    result = CliRunner().invoke(app, [command, *options, *arguments], catch_exceptions=False)
    document = json.loads(result.stdout) if result.stdout else {}
    assert isinstance(document, dict), result.stdout
    return Outcome(result.exit_code, document, result.stderr)


def retain(
    volume: Volume, *specs: dict[str, Any], arguments: Iterable[str] = (), in_use: InUse | None = None
) -> Outcome:
    """`regkeeper retain` with a policy for each spec."""
    with tempfile.TemporaryDirectory() as folder:
        options = []
        for number, spec in enumerate(specs):
            file = Path(folder) / f"policy-{number}.yaml"
            file.write_text(policy(spec, f"policy-{number}"))
            options += ["--policy", str(file)]
        return run(volume, "retain", *options, *_in_use(in_use, folder), *arguments)


def purge(volume: Volume, *arguments: str, in_use: InUse | None = None) -> Outcome:
    """`regkeeper purge`."""
    with tempfile.TemporaryDirectory() as folder:
        return run(volume, "purge", *_in_use(in_use, folder), *arguments)


def _in_use(in_use: InUse | None, folder: str) -> list[str]:
    """The option that names what is in use, in a file in a folder."""
    if in_use is None:
        return []
    file = Path(folder) / "in-use"
    file.write_text(in_use_file(in_use))
    return ["--in-use", str(file)]


def policy(spec: dict[str, Any], name: str = "policy") -> str:
    """An ImageRetention manifest; JSON is YAML."""
    return json.dumps(
        {"apiVersion": "regkeeper.dev/v1alpha1", "kind": "ImageRetention", "metadata": {"name": name}, "spec": spec}
    )


def in_use_file(in_use: InUse) -> str:
    """A line for each image, then their count."""
    references = [f"registry.example:5000/{repository}:{tag}" for repository, tag in in_use.tags]
    references += [f"registry.example:5000/{repository}@{digest}" for repository, digest in in_use.manifests]
    references += in_use.anywhere
    lines = [f"{reference} Deployment shop/web" for reference in sorted(references)]
    return "\n".join([*lines, f"# {len(lines)}"]) + "\n"


def delete(volume: Volume, *arguments: str) -> Outcome:
    """`regkeeper delete`, with references and options."""
    return run(volume, "delete", *arguments)


def invoke(*arguments: str, standard_input: str | None = None, environment: dict[str, str] | None = None) -> Outcome:
    """The command as it is given; what is no document on stdout is passed over."""
    result = CliRunner().invoke(
        app, list(arguments), input=standard_input, env=environment or {}, catch_exceptions=False
    )
    try:
        document = json.loads(result.stdout)
    except ValueError:
        document = {}
    return Outcome(result.exit_code, document, result.stderr)


def tags(volume: Volume, repository: str = "app") -> set[str]:
    """The tags that a repository has."""
    return {path.name for path in volume.repository(repository).tags.iterdir()}


def complete(volume: Volume) -> set[tuple[str, str]]:
    """(repository, tag) of each that pulls in full, found out without the engine."""
    return complete_tags(read(volume.v2))
