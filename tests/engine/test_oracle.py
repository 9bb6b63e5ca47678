"""The engine against the oracle, on random registries: the same survivors, the same victims, the same bytes.

`make test` tries some hundreds of cases; `python -m tests.bench oracle` 20,000. Both know nothing of each other: where
they differ, the text of the specification decides.
"""

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from regkeeper.retention.planning.plan import Exceeded
from regkeeper.retention.policies.in_use import InUse as EngineInUse
from regkeeper.retention.policies.in_use import parse_in_use
from regkeeper.retention.quarantine.moves import Kind
from tests.engine import planning
from tests.engine.cases import cases
from tests.engine.driver import in_use_file
from tests.engine.memory import folder_in_memory
from tests.engine.oracle import Verdict, judge
from tests.engine.oracle_limits import exceeded
from tests.engine.oracle_policy import InUse
from tests.engine.registry_history import History, build
from tests.engine.strategies import ABOUT_OTHERS, ABOUT_SEVERAL, SPECS, histories, in_use
from tests.engine.volumes import DAY, Volume

CROWDS = st.dictionaries(st.sampled_from(["app", "team/app"]), st.integers(15, 30), max_size=2)
"""By repository, how many tags more: below twenty no share is taken."""

LIMITS = st.fixed_dictionaries(
    {}, optional={"maxDeletedShare": st.sampled_from(["5%", "33%", "80%"]), "allowEmptyRepositories": st.booleans()}
)

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


def planned(volume: Volume, specs: list[dict[str, Any]], used: EngineInUse, *, offline: bool = False) -> Verdict:
    """What the engine would delete, in the oracle's words."""
    plan = planning.retain(volume, *specs, in_use=used, offline=offline)
    rows = [(entry.name, row) for entry in plan.plan.entries for row in entry.tags if not row.deleted]
    blobs = plan.moves(Kind.BLOB, Kind.MANIFEST_BLOB)
    return Verdict(
        tags={(move.repository, move.name) for move in plan.moves(Kind.TAG)},
        revisions=plan.deleted_manifests(),
        layers=plan.deleted_links(),
        blobs={move.name: move.bytes for move in blobs},
        repositories={move.repository for move in plan.moves(Kind.REPOSITORY)},
        half_written={move.name for move in plan.moves(Kind.LEFTOVER)},
        temporaries={move.path for move in plan.moves(Kind.TEMPORARY)},
        uploads={(move.repository, move.name) for move in plan.moves(Kind.UPLOAD)},
        reasons={(name, row.tag): words(row.reason) for name, row in rows},
    )


def words(reason: str) -> set[str]:
    """The oracle's word for a reason, if it has one that is as definite."""
    said = reason.rpartition("but kept: ")[2]
    return {word for beginning, word in REASONS.items() if said.startswith(beginning)}


def compare(volume: Volume, specs: list[dict[str, Any]], used: InUse, *, offline: bool = False) -> None:
    expected = judge(volume.v2, specs, now=volume.now, in_use=used, offline=offline)
    got = planned(volume, specs, parse_in_use(in_use_file(used).encode()), offline=offline)
    assert got.tags == expected.tags
    assert got.revisions == expected.revisions
    assert got.repositories == expected.repositories
    assert got.layers == expected.layers
    assert got.blobs == expected.blobs
    assert got.half_written == expected.half_written
    assert got.temporaries == expected.temporaries
    assert got.uploads == expected.uploads
    for place, reasons in got.reasons.items():
        # A dependant in use is "in use" here and "dependant" there; in a pinned repository any reason is one too many.
        assert "pinned" in expected.reasons[place] or reasons <= expected.reasons[place] | {"use"}, place


@cases(300)
@given(history=histories(), specs=st.lists(SPECS, min_size=1, max_size=2), data=st.data())
def test_engine_and_oracle_agree(history: History, specs: list[dict[str, Any]], data: st.DataObject) -> None:
    with folder_in_memory() as folder:
        volume = Volume(Path(folder))
        build(volume, history)
        offline = data.draw(st.booleans(), label="offline")
        compare(volume, specs, data.draw(in_use(volume), label="in use"), offline=offline)


@cases(50)
@given(
    history=histories(damages=0, kinds=ABOUT_OTHERS, repositories=3),
    specs=st.lists(SPECS, min_size=1, max_size=2),
    data=st.data(),
)
def test_engine_and_oracle_agree_on_what_is_about_others(
    history: History, specs: list[dict[str, Any]], data: st.DataObject
) -> None:
    """Signatures, fallback tags and copies of both, which keep or take each other in several repositories."""
    with folder_in_memory() as folder:
        volume = Volume(Path(folder))
        build(volume, history)
        compare(volume, specs, data.draw(in_use(volume), label="in use"))


@cases(100)
@given(history=histories(damages=0, kinds=ABOUT_SEVERAL, repositories=2), spec=SPECS, data=st.data())
def test_engine_and_oracle_agree_on_what_is_about_several(
    history: History, spec: dict[str, Any], data: st.DataObject
) -> None:
    """An SBOM of two images, of which one goes, and its signature."""
    with folder_in_memory() as folder:
        volume = Volume(Path(folder))
        build(volume, history)
        keep_one = {**spec, "rules": [{"keep": {"last": 1}}]}
        compare(volume, [keep_one], data.draw(in_use(volume), label="in use"))


@cases(25)
@given(
    history=histories(damages=0),
    crowds=CROWDS,
    specs=st.lists(st.tuples(SPECS, LIMITS), min_size=1, max_size=2),
    data=st.data(),
)
def test_engine_and_oracle_agree_on_the_limits(
    history: History, crowds: dict[str, int], specs: list[tuple[dict[str, Any], dict[str, Any]]], data: st.DataObject
) -> None:
    with folder_in_memory() as folder:
        volume = Volume(Path(folder))
        build(volume, history)
        for name, tags in crowds.items():
            for number in range(tags):
                layers = [b"of all", b"layer" * number]
                volume.repository(name).push_image(f"v{number}.0", layers=layers, age=(2 + 2 * number) * DAY)
        used = data.draw(in_use(volume), label="in use")
        limited = [{**spec, "limits": limits} for spec, limits in specs]
        plan = planning.retain(volume, *limited, in_use=parse_in_use(in_use_file(used).encode()), limited=True).plan
        assert limits_of(plan.limits) == exceeded(volume.v2, limited, now=volume.now, in_use=used)


def limits_of(limits: list[Exceeded]) -> set[str]:
    """The repositories that would be emptied, what exceeds its share, and what the volume looks like, as is said."""
    words = {"allowEmptyRepositories": 0, "maxDeletedShare": 3, "missingManifests": -5}
    return {limit.message.split()[words[limit.limit]] for limit in limits}
