"""The engine against the oracle, on random registries: the same survivors, the same victims, the same bytes.

`make test` tries some hundreds of cases; `python -m tests.bench oracle` 20,000. Both know nothing of each other: where
they differ, the text of the specification decides.
"""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from regkeeper.retention.in_use import InUse as EngineInUse
from regkeeper.retention.in_use import parse_in_use
from regkeeper.retention.moves import Kind
from tests.engine import planning
from tests.engine.cases import cases
from tests.engine.driver import in_use_file
from tests.engine.oracle import InUse, Verdict, judge
from tests.engine.strategies import SPECS, History, build, histories, in_use
from tests.engine.volumes import Volume

REASONS = {
    "among the last ": "last",
    "among the highest ": "semver",
    "pushed within ": "pushedWithin",
    "matches ": "matching",
    "in use by ": "use",
    "pushed in the future": "time",
    "its push time can't be right": "time",
    "no rule covers it": "uncovered",
}
"""How the engine begins to say why a tag stays → the oracle's word for it."""


def planned(volume: Volume, specs: list[dict[str, Any]], used: EngineInUse) -> Verdict:
    """What the engine would delete, in the oracle's words."""
    plan = planning.retain(volume, *specs, in_use=used)
    rows = [(entry.name, row) for entry in plan.plan.entries for row in entry.tags if not row.deleted]
    blobs = plan.moves(Kind.BLOB, Kind.MANIFEST_BLOB)
    return Verdict(
        tags={(move.repository, move.name) for move in plan.moves(Kind.TAG)},
        revisions=plan.deleted_manifests(),
        layers=plan.deleted_links(),
        blobs={move.name: move.bytes for move in blobs},
        repositories={move.repository for move in plan.moves(Kind.REPOSITORY)},
        reasons={(name, row.tag): words(row.reason) for name, row in rows},
    )


def words(reason: str) -> set[str]:
    """The oracle's word for a reason, if it has one that is as definite."""
    said = reason.rpartition("but kept: ")[2]
    return {word for beginning, word in REASONS.items() if said.startswith(beginning)}


def compare(volume: Volume, specs: list[dict[str, Any]], used: InUse) -> None:
    expected = judge(volume.v2, specs, now=volume.now, in_use=used)
    got = planned(volume, specs, parse_in_use(in_use_file(used).encode()))
    assert got.tags == expected.tags
    assert got.revisions == expected.revisions
    assert got.repositories == expected.repositories
    assert got.layers == expected.layers
    assert got.blobs == expected.blobs
    for place, reasons in got.reasons.items():
        # A dependant in use is "in use" here and "dependant" there; in a pinned repository any reason is one too many.
        assert "pinned" in expected.reasons[place] or reasons <= expected.reasons[place] | {"use"}, place


@cases(300)
@given(history=histories(), specs=st.lists(SPECS, min_size=1, max_size=2), data=st.data())
def test_engine_and_oracle_agree(history: History, specs: list[dict[str, Any]], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        volume = Volume(Path(folder))
        build(volume, history)
        compare(volume, specs, data.draw(in_use(volume), label="in use"))
