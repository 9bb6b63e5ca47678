"""Which limits a run exceeds: the specification once more, like `oracle`.

It takes a volume on which everything can be read, and does not judge whether its times were reset. Of bytes, what a
repository had is what the manifests in it that stay need, and whatever the run deletes.
"""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

from tests.engine.oracle import Judge, Verdict
from tests.engine.oracle_policy import InUse, Place, Policy
from tests.engine.oracle_reading import read

FEWEST = 20


def exceeded(v2: Path, specs: Iterable[dict[str, Any]], *, now: int, in_use: InUse) -> set[str]:
    """`tags`, `manifests`, `bytes`: more than the share of these; each repository that rules would empty; `copy`: a
    run on a volume that looks like half of one."""
    specs = list(specs)
    judge = Judge(read(v2), Policy.of(specs), now, in_use)
    verdict = judge.verdict()
    limits = [spec.get("limits", {}) for spec in specs]
    found = {"copy"} if _is_half_a_copy(judge) and verdict != Verdict(reasons=verdict.reasons) else set[str]()
    if not all(limit.get("allowEmptyRepositories") for limit in limits):
        found |= _emptied(judge, verdict)
    at_stake = {
        place
        for place, tag in judge.places.items()
        if not judge.is_dependant(tag)
        and (judge.asked_for(place, exactly=False) or (judge.covered(place) and tag.digest is not None))
    }
    if sum(judge.places[place].digest is not None for place in at_stake) >= FEWEST:
        share = min(Fraction(limit.get("maxDeletedShare", "50%").rstrip("%")) / 100 for limit in limits)
        had_and_lost = _had_and_lost(judge, verdict, {name for name, _ in at_stake})
        found |= {what for what, (had, lost) in had_and_lost.items() if lost > share * had}
    return found


def _is_half_a_copy(judge: Judge) -> bool:
    repositories = judge.world.repositories.values()
    headless = [
        repository
        for repository in repositories
        if repository.layers and not repository.tags and repository.named <= repository.layers.keys()
    ]
    return len(headless) > 1 and 10 * len(headless) > len(repositories)


def _emptied(judge: Judge, verdict: Verdict) -> set[str]:
    """Repositories that lose their last version, and one of them because a rule selects it and nothing else does."""
    by_rule = {place for place in verdict.tags if place not in judge.exact and not _is_dependant(judge, place)}
    by_rule = {place for place in by_rule if not judge.asked_for(place, exactly=False)}
    left = {place[0] for place in judge.places if place not in verdict.tags and not _is_dependant(judge, place)}
    return {name for name, _ in by_rule} - left


def _had_and_lost(judge: Judge, verdict: Verdict, covered: set[str]) -> dict[str, tuple[int, int]]:
    """Of the covered repositories; the bytes that are lost are those of the whole run."""
    tags = [place for place, tag in judge.places.items() if place[0] in covered and (tag.digest or tag.unreadable)]
    manifests = [node for node in judge.nodes if node[0] in covered]
    stays = judge.needed_by(covered, verdict) - verdict.blobs.keys()
    kept = sum(judge.world.sizes.get(digest, 0) for digest in stays)
    return {
        "tags": (len(tags), sum(place in verdict.tags for place in tags)),
        "manifests": (len(manifests), sum(node in verdict.revisions for node in manifests)),
        "bytes": (kept + verdict.bytes, verdict.bytes),
    }


def _is_dependant(judge: Judge, place: Place) -> bool:
    return judge.is_dependant(judge.places[place])
