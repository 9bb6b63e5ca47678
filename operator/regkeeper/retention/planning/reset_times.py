"""Whether a volume lost the times of its pushes, as a copy does that was made without them.

All its tags seem to be pushed at once then, though their images were built over months: rules by age and by order would
keep the wrong ones.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from fractions import Fraction
from itertools import chain, islice
from math import ceil

import msgspec

from regkeeper.retention.planning.plan import Plan
from regkeeper.retention.policies.rules import OLDEST_PLAUSIBLE, SECOND
from regkeeper.retention.volume.digests import Digest
from regkeeper.retention.volume.manifest import CorruptManifestError, Manifest
from regkeeper.retention.volume.manifest_reader import ManifestReader

LARGEST_TREE = 100
"""Manifests of one tag that are read for the time of its build: anybody may push an index of thousands."""

RESET_SHARE, RESET_SPAN, CREATED_SPAN = Fraction(80, 100), 3600 * SECOND, 30 * 86400 * SECOND


def times_were_reset(plan: Plan, reader: ManifestReader) -> bool:
    """Whether the covered tags were pushed within so short a time that it must be that of a copy."""
    hours = Counter(time // RESET_SPAN for entry in plan.entries for time in entry.tags.covered_times())
    enough = ceil(RESET_SHARE * hours.total())
    # A span lies within two hours, of which a volume has few; its times, in a list, are 10 MB for 250,000 tags.
    if all(count + hours[hour + 1] < enough for hour, count in hours.items()):
        return False
    times = sorted(chain.from_iterable(entry.tags.covered_times() for entry in plan.entries))
    spans = zip(times, times[enough - 1 :], strict=False)
    starts = [at for at, (first, last) in enumerate(spans) if last - first <= RESET_SPAN]
    if not starts:
        return False
    first = times[max(starts, key=lambda at: bisect_right(times, times[at] + RESET_SPAN) - at)]
    oldest, newest = None, None
    covered = (tag for entry in plan.entries for tag in entry.tags.covered())
    for digest in dict.fromkeys(digest for digest, time in covered if first <= time <= first + RESET_SPAN):
        created = _created(reader, digest)
        if created is None:
            continue
        oldest = created if oldest is None else min(oldest, created)
        newest = created if newest is None else max(newest, created)
        if newest - oldest > CREATED_SPAN:
            return True
    return False


def _created(reader: ManifestReader, digest: Digest) -> int | None:
    """When an image was built, in nanoseconds; of an index, its newest child that is no attestation."""
    images = islice(_images(reader, digest), LARGEST_TREE)
    times = [time for manifest in images if (time := _build_time(reader, manifest)) is not None]
    return max(times, default=None)


def _images(reader: ManifestReader, digest: Digest) -> Iterator[Manifest]:
    """A manifest and those below it, each once: an index may list a child a thousand times."""
    seen = {digest}
    waiting = [digest]
    while waiting:
        try:
            manifest = reader.read_manifest(waiting.pop())
        except (FileNotFoundError, CorruptManifestError):
            continue
        yield manifest
        fresh = [child for child in manifest.children if child not in seen and child not in manifest.attestations]
        seen.update(fresh)
        waiting.extend(fresh)


def _build_time(reader: ManifestReader, manifest: Manifest) -> int | None:
    if manifest.config is None:
        return None
    try:
        config = _decode_config(reader.read_document(manifest.config))
    except (FileNotFoundError, CorruptManifestError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if config.created is None:
        return None
    moment = config.created if config.created.tzinfo else config.created.replace(tzinfo=UTC)
    created = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * SECOND
    return created if created >= OLDEST_PLAUSIBLE else None


class _Config(msgspec.Struct):
    created: datetime | None = None


_decode_config = msgspec.json.Decoder(_Config).decode
