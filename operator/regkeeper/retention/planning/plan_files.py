"""Plans that stay on the volume: of runs, as they were printed, and those that wait for an approval, as documents.

An approval is for its victims: a plan that is made for it has these and no others, whatever was pushed, or came into
use, since. All are compressed.
"""

import gzip
import json
import os
import re
import zlib
from typing import Any

from msgspec import Struct

from regkeeper.retention.errors import RefusedError, translated
from regkeeper.retention.moments import parse_moment
from regkeeper.retention.planning.plan import Plan, Victim, hash_of
from regkeeper.retention.planning.printing import lines
from regkeeper.retention.quarantine import reserve
from regkeeper.retention.quarantine.storage import WritableVolume
from regkeeper.retention.volume.layout import Volume, read_file
from regkeeper.retention.volume.places import AWAITING, PLANS

LARGEST = 1 << 28
"""Bytes of a record that is read, compressed."""

_NAME = re.compile(r"[0-9A-Za-z-]+")

_AWAITING = 20
"""How many plans that wait for an approval stay: the newest ones."""


class InvalidPlanError(ValueError):
    """A document that is no plan, or was changed after it was made."""


class Approved(Struct, frozen=True):
    """A plan that a person approved.

    Attributes:
        hash: as the plan had it.
        now: nanoseconds since 1970, by which it was made and is made again.
        rules: digest of the rules by which it was made.
        victims: what may go.
    """

    hash: str
    now: int
    rules: str
    victims: frozenset[Victim]


def approved_plan(document: Any) -> Approved:
    """The approval of a plan's document.

    Raises:
        InvalidPlanError: it is none, or its hash is not that of its victims and rules.
    """
    try:
        victims = frozenset(
            (entry["repository"], row.get("tag", ""), row["digest"] or "")
            for entry in document["repositories"]
            for row in (*entry["tags"], *entry["manifests"])
            if row["deleted"]
        )
        plan = Approved(document["hash"], parse_moment(document["now"]), document["rules"], victims)
        if hash_of(plan.rules, plan.victims) != plan.hash:
            raise InvalidPlanError("its hash is not that of its victims and rules: it was changed, or is not whole")
    except InvalidPlanError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError):
        raise InvalidPlanError("it is no plan as `retain --dry-run --json` prints one") from None
    return plan


def refuse_other_rules(plan: Approved, rules: str) -> None:
    """An approval ends with a change of the rules.

    Raises:
        RefusedError: they have changed.
    """
    if plan.rules != rules:
        raise RefusedError("the rules have changed since the plan that was approved; nothing was deleted")


def record_run(volume: WritableVolume, run: str, plan: Plan, *, keep: int) -> None:
    """Keep the plan of a run, beside those of the runs before it.

    Args:
        volume: Where it is kept.
        run: Its name.
        plan: What it did.
        keep: How many stay, this one among them.

    Raises:
        StorageError: there is no room.
    """
    _write(volume, f"{PLANS}/{run}", "".join(f"{text}\n" for _, text in lines(plan)))
    keep_newest(volume, PLANS, keep)


def record_awaiting(volume: WritableVolume, plan: Plan) -> None:
    """Keep a plan that waits for an approval, on a full volume in the room of the reserve.

    Raises:
        StorageError: there is no room.
    """
    path, text = f"{AWAITING}/{plan.hash}", json.dumps(plan.document(), separators=(",", ":"))
    reserve.on_full(volume, lambda: _write(volume, path, text))
    keep_newest(volume, AWAITING, _AWAITING)


def recorded_run(volume: Volume, run: str) -> str | None:
    """A run's plan in lines for people; None: it is not kept."""
    return _read(volume, PLANS, run)


def awaiting(volume: Volume, plan_hash: str) -> Approved:
    """The plan of a hash, that waited for its approval.

    Raises:
        RefusedError: the volume does not have it.
    """
    text = _read(volume, AWAITING, plan_hash)
    if text is None:
        raise RefusedError(f"no plan {plan_hash} waits for an approval: look at the last one, and approve that")
    try:
        return approved_plan(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"the plan {plan_hash} can't be carried out: {error}") from error


def _write(volume: WritableVolume, path: str, text: str) -> None:
    # Names of tags may be of any bytes.
    content = gzip.compress(text.encode("utf-8", "surrogateescape"), mtime=0)
    with translated(path):
        volume.replace_file(path, content)


def keep_newest(volume: WritableVolume, directory: str, number: int) -> None:
    """Remove all but the newest files of a directory of ours.

    Raises:
        StorageError: one can't be removed.
    """
    with translated(directory), volume.directory(directory) as descriptor:
        times = {
            name: os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mtime_ns for name in os.listdir(descriptor)
        }
        for name in sorted(times, key=lambda name: (times[name], name), reverse=True)[number:]:
            volume.unlink(descriptor, name)


def _read(volume: Volume, directory: str, name: str) -> str | None:
    if not _NAME.fullmatch(name):
        return None
    path = f"{directory}/{name}"
    with translated(path):
        try:
            content = read_file(volume.descriptor, path, LARGEST)
        except FileNotFoundError:
            return None
    try:
        return gzip.decompress(content).decode("utf-8", "surrogateescape")
    except (OSError, EOFError, zlib.error) as error:
        raise RefusedError(f"{path} can't be understood: {error}") from error
