"""A thousand tags deleted in one command, against a script that reads the whole volume for each of them."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench.programs import HEADER, Cost, Programs, cost, rows
from tests.bench.reference_volume import REPOSITORIES, changed, prepared, tag_names
from tests.bench.table import Section

COUNT = 1000
SAMPLE = 3


def run() -> Iterator[Section]:
    with prepared(REPOSITORIES) as (folder, root):
        programs = Programs(folder, root)
        references = list(tag_names(REPOSITORIES))[:: REPOSITORIES * 40 // COUNT][:COUNT]
        script = [sys.executable, "-m", "tests.bench.many_deletions", str(root)]
        each = [cost([*script, reference]) for reference in references[: SAMPLE + 1]][1:]  # the first warms up
        ours = cost(programs.regkeeper("delete", "-", "--yes"), stdin="\n".join(references).encode())
        cost(programs.regkeeper("restore"))
        changed(root)
        middle = sorted(each, key=lambda one: one.seconds)[SAMPLE // 2]
        theirs = Cost(middle.seconds * COUNT, middle.cpu_seconds * COUNT, middle.mebibytes)
        section = Section(
            f"{COUNT:,} tags deleted",
            f"`regkeeper delete` of {COUNT:,} tags in {REPOSITORIES} repositories: plan, journal, some 9,000 renames, "
            "each kind made durable; undone afterwards. Against what deletion scripts do for each tag: read every "
            "manifest of the volume to see what is shared. Ours is measured once, the stand-in for such a script "
            f"(it reads and deletes nothing) {SAMPLE} times for one tag, and multiplied.",
            HEADER,
            rows({"regkeeper": [ours], "one by one": [theirs]}, "regkeeper"),
        )
        section.expect(theirs.seconds >= 500 * ours.seconds, "500 times faster than one by one")
        yield section


def read_everything(root: Path, reference: str) -> set[str]:
    """The layers that the tag alone has, found as scripts do."""
    name, _, tag = reference.partition(":")
    repositories = root / "docker/registry/v2/repositories"
    blobs = root / "docker/registry/v2/blobs/sha256"
    mine: set[str] = set()
    others: set[str] = set()
    target = (repositories / name / "_manifests/tags" / tag / "current/link").read_text().removeprefix("sha256:")
    for revision in repositories.glob("*/*/_manifests/revisions/sha256/*/link"):
        digest = revision.read_text().removeprefix("sha256:")
        manifest = json.loads((blobs / digest[:2] / digest / "data").read_bytes())
        named = {manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])}
        (mine if digest == target else others).update(named)
    return mine - others


if __name__ == "__main__":
    read_everything(Path(sys.argv[1]), sys.argv[2])
