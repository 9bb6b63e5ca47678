"""What holds of every run on every volume, asked of the command itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from tests.engine.cases import cases
from tests.engine.driver import Outcome, delete, ours, purge, retain, run
from tests.engine.memory import folder_in_memory
from tests.engine.oracle import judge
from tests.engine.oracle_patterns import is_pattern
from tests.engine.oracle_policy import DEPENDANT
from tests.engine.oracle_reading import World, complete_tags, read
from tests.engine.pools import FUTURE
from tests.engine.registry_history import History, build
from tests.engine.strategies import SPECS, histories, in_use
from tests.engine.volumes import DAY, SECOND, Volume, files, snapshot

MINUTE = 60 * SECOND
YEAR = 365 * DAY * SECOND


@contextmanager
def built(history: History) -> Iterator[Volume]:
    """With one more image, which always stays: blobs without any repository are refused, as an unmounted half."""
    with folder_in_memory() as folder:
        volume = Volume(Path(folder))
        volume.repository("anchor").push_image("kept", age=FUTURE)
        build(volume, history)
        yield volume


def tags(world: World) -> set[tuple[str, str]]:
    return {(name, tag) for name, repository in world.repositories.items() for tag in repository.tags}


def revisions(world: World) -> set[tuple[str, str]]:
    return {(name, digest) for name, repository in world.repositories.items() for digest in repository.revisions}


@cases(60)
@given(history=histories(), specs=st.lists(SPECS, min_size=1, max_size=2), data=st.data())
def test_a_run_does_what_the_plan_says_and_restore_undoes_it(
    history: History, specs: list[dict[str, Any]], data: st.DataObject
) -> None:
    """Deleted is what the oracle says; what is kept stays whole; undone, each file is as it was, times included.

    And so it stays when the same rules run again, save what an exact entry names.
    """
    with built(history) as volume:
        used = data.draw(in_use(volume), label="in use")
        before, untouched = read(volume.v2), files(volume.root)
        expected = judge(volume.v2, specs, now=volume.now, in_use=used)

        assert_done(retain(volume, *specs, in_use=used))
        after = read(volume.v2)
        assert tags(before) - tags(after) == expected.tags
        assert revisions(before) - revisions(after) == expected.revisions
        assert before.sizes.keys() - after.sizes.keys() == expected.blobs.keys()
        assert complete_tags(before) - expected.tags <= complete_tags(after)

        volume.now += MINUTE
        if files(volume.root, ignore=ours) != untouched:
            run(volume, "restore")  # its status also tells of what was incomplete before the run
        assert files(volume.root, ignore=ours) == untouched

        if all(is_pattern(entry) for spec in specs for entry in spec.get("delete", ())):
            assert_done(retain(volume, *specs, in_use=used))
            assert files(volume.root, ignore=ours) == untouched


@cases(40)
@given(history=histories(damages=0), specs=st.lists(SPECS, min_size=1, max_size=2), data=st.data())
def test_what_came_into_use_after_a_run_is_whole_after_the_purge(
    history: History, specs: list[dict[str, Any]], data: st.DataObject
) -> None:
    """As whole as if the run had known of it: what its plan would then have kept."""
    with built(history) as volume:
        used = data.draw(in_use(volume), label="in use")
        before = read(volume.v2)
        known = judge(volume.v2, specs, now=volume.now, in_use=used)
        assert_done(retain(volume, *specs))
        volume.now += 3 * YEAR  # a run's window counts from when it really was
        assert_done(purge(volume, in_use=used))
        after = read(volume.v2)
        assert complete_tags(before) - known.tags <= complete_tags(after)
        assert revisions(before) - known.revisions <= revisions(after)


@cases(25)
@given(history=histories(), data=st.data())
def test_a_deletion_by_name_takes_nothing_else_or_nothing_at_all(history: History, data: st.DataObject) -> None:
    """Tags that are not named stay, and stay whole; refused, nothing has changed; undone, each file is as it was."""
    with built(history) as volume:
        before, untouched = read(volume.v2), files(volume.root)
        names = [f"{name}:{tag}" for name, tag in sorted(tags(before))]
        names += [f"{name}@{digest}" for name, digest in sorted(revisions(before))]
        named = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True), label="named")
        repositories = data.draw(st.lists(st.sampled_from(["team", "team/app", "app"]), max_size=1), label="whole")
        options = ["--repository", "--missing-ok"] if repositories else []
        outcome = delete(volume, *named, *repositories, *options)
        assert outcome.code in (0, 1, 3), outcome.errors
        after = read(volume.v2)
        asked = {place for place in tags(before) if f"{place[0]}:{place[1]}" in named or place[0] in repositories}
        gone = tags(before) - tags(after)
        assert {place for place in gone if not DEPENDANT.fullmatch(place[1])} <= asked
        assert complete_tags(before) - gone <= complete_tags(after)
        if outcome.code == 1:
            assert files(volume.root, ignore=ours) == untouched
        elif files(volume.root, ignore=ours) != untouched:
            run(volume, "restore")
        assert files(volume.root, ignore=ours) == untouched


@cases(40)
@given(history=histories(), specs=st.lists(SPECS, min_size=1, max_size=3))
def test_a_dry_run_changes_nothing_and_a_second_run_finds_no_victim(
    history: History, specs: list[dict[str, Any]]
) -> None:
    """Save garbage that the young link of a manifest held, which went in the first run."""
    with built(history) as volume:
        before = snapshot(volume.root)
        assert_done(retain(volume, *specs, arguments=["--dry-run"]))
        assert snapshot(volume.root) == before

        repositories = len(read(volume.v2).repositories)
        assert_done(retain(volume, *specs))
        # A volume that lost most of its repositories, even to us, makes the next run ask whether it is mounted.
        assume(len(read(volume.v2).repositories) * 2 >= repositories)
        once = read(volume.v2)
        assert_done(retain(volume, *specs))
        twice = read(volume.v2)
        assert (tags(once), revisions(once)) == (tags(twice), revisions(twice))


@cases(40)
@given(history=histories(), specs=st.lists(SPECS, min_size=2, max_size=3), data=st.data())
def test_the_order_of_policies_does_not_matter(
    history: History, specs: list[dict[str, Any]], data: st.DataObject
) -> None:
    with built(history) as volume:
        other_order = data.draw(st.permutations(specs))
        documents = [retain(volume, *order, arguments=["--dry-run"]).document for order in (specs, other_order)]
        first, second = ([deleted(each, "tags"), deleted(each, "manifests"), each["totals"]] for each in documents)
        assert first == second


@cases(40)
@given(history=histories(), specs=st.lists(SPECS, min_size=1, max_size=2), data=st.data())
def test_what_runs_somewhere_never_makes_a_plan_delete_more_tags(
    history: History, specs: list[dict[str, Any]], data: st.DataObject
) -> None:
    with built(history) as volume:
        used = data.draw(in_use(volume), label="in use")
        alone = retain(volume, *specs, arguments=["--dry-run"]).document
        with_users = retain(volume, *specs, arguments=["--dry-run"], in_use=used).document
        assert deleted(with_users, "tags") <= deleted(alone, "tags")


def deleted(document: dict[str, Any], kind: str) -> set[tuple[str, ...]]:
    """Repository with tag and digest of each victim in a plan."""
    return {
        (repository["repository"], row.get("tag", ""), row["digest"])
        for repository in document["repositories"]
        for row in repository[kind]
        if row["deleted"]
    }


def assert_done(outcome: Outcome) -> None:
    assume("missingManifests" not in {limit["limit"] for limit in outcome.document.get("limits", ())})
    assert outcome.code in (0, 3), outcome.errors
