"""Volumes whose repositories are recorded, and plans by these records and without them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regkeeper.retention.judging.question import Question
from regkeeper.retention.planning.asking import Inquiry, ask_to_change
from regkeeper.retention.planning.plan import Plan
from regkeeper.retention.planning.planner import Planner
from regkeeper.retention.policies.in_use import InUse
from regkeeper.retention.policies.intent import Intent
from regkeeper.retention.policies.policy import merge
from regkeeper.retention.quarantine.journals import open_journals
from regkeeper.retention.quarantine.storage import Guard, no_guard, open_writable
from regkeeper.retention.records.record_files import RecordFiles, WritableRecordFiles
from regkeeper.retention.records.remembering import RememberingReader
from regkeeper.retention.runs.quiet import Mode
from regkeeper.retention.volume.layout import open_volume, walk_repositories
from regkeeper.retention.volume.places import CACHE
from tests.engine import documents
from tests.engine.planning import UNLIMITED, policies
from tests.engine.volumes import DAY, OLD, Volume

LATER = 4 * 10**18
"""A `now` in 2096, for which whatever the tests write has been there long enough to be recorded."""


KEEP_ONE = {"rules": [{"keep": {"last": 1}}], "untagged": {"deleteAfter": "0s"}}


def intent(*specs: dict[str, Any]) -> Intent:
    return merge(policies(*({"limits": UNLIMITED, **spec} for spec in specs)))


def remember(volume: Volume, *, now: int = LATER, guard: Guard = no_guard) -> None:
    """Read everything and record it, as a run that deletes does."""
    with open_writable(str(volume.root), guard) as opened:
        reader = RememberingReader(opened, WritableRecordFiles(opened), now=now, trusting=False)
        for found in walk_repositories(opened):
            reader.read(found.name)
            reader.remember(reader.notes())


def await_tick(volume: Volume) -> None:
    """Return when a change gets another ctime than what was recorded: in life ten minutes lie between the two."""
    probe = volume.root / "probe"
    probe.touch()
    first = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns == first:
        probe.chmod(0o600)
    probe.unlink()


@dataclass(frozen=True)
class Asked:
    """A plan, and in how many repositories the reader trusted a record."""

    plan: Plan
    trusted: int


def ask_by_records(volume: Volume, *specs: dict[str, Any]) -> Asked:
    with open_volume(str(volume.root)) as opened:
        reader = RememberingReader(opened, RecordFiles(opened), now=LATER, trusting=True)
        plan = Planner(opened, Question(intent(*specs), volume.now), reader=reader).make()
        return Asked(plan, reader.trusted)


def plan_of_a_run(
    volume: Volume, *specs: dict[str, Any], processes: int = 1, progress: Callable[[str], None] = lambda _: None
) -> Plan:
    """As a run that is carried out makes it: it records what it has read."""
    with open_writable(str(volume.root)) as opened, open_journals(opened) as journals:
        return ask_to_change(
            opened,
            journals,
            Inquiry(intent=intent(*specs), in_use=InUse(), mode=Mode.READ_ONLY, processes=processes, progress=progress),
            now=volume.now,
            clock=LATER,
        )


def told(plan: Plan) -> tuple[Any, ...]:
    return plan.document(), list(plan.moves), plan.problems


def told_without_records(volume: Volume, *specs: dict[str, Any]) -> tuple[Any, ...]:
    with open_volume(str(volume.root)) as opened:
        return told(Planner(opened, Question(intent(*specs), volume.now)).make())


def recorded(root: Path) -> Volume:
    """Two repositories with a bit of everything, recorded."""
    volume = Volume(root)
    app, other = volume.repository("team/app"), volume.repository("other")
    for number in range(3):
        image = app.push_image(f"v{number}", layers=[b"base", b"%d" % number], age=OLD - number * DAY)
        app.push_signature(image)
    child = app.push_image(layers=[b"child"], platform="linux/arm64")
    app.push_index("multi", children=[child])
    app.push(documents.index([app.push_blob(b"no manifest")]), "cache")
    app.push_image("wide", layers=[b"wide"], algorithm="sha512")
    gone = app.push_image(layers=[b"gone"])
    app.delete_revision(gone.digest)
    other.push_image("v1", layers=[b"base"])
    other.push_image("v2", layers=[b"base", b"2"])
    (other.tags / "half" / "index").mkdir(parents=True)
    lost = other.push_image("lost", layers=[b"lost"])
    volume.remove(volume.blob_data(lost.digest))
    remember(volume)
    await_tick(volume)
    return volume


def records(volume: Volume) -> list[Path]:
    return sorted((volume.v2 / CACHE).iterdir())
