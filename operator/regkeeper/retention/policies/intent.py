"""What a run is asked to do, whoever asks: the policies as one (policy.py), or the command `delete`.

It passes between processes, and knows nothing of the models in which policies are written: importing those takes as
long as reading 2,000 images.
"""

from collections.abc import Iterable, Mapping
from fractions import Fraction

from msgspec import Struct, field

from regkeeper.retention.policies.patterns import Matcher, everything
from regkeeper.retention.policies.references import Reference
from regkeeper.retention.policies.rules import SECOND, Rule


class Intent(Struct, frozen=True):
    """What a run is asked to do: several policies as one. Times are in nanoseconds.

    Attributes:
        rules: of all policies; those of a policy that only keeps have `deletes` False.
        deletions: what goes by name.
        untagged_after: age of untagged manifests that go; None: they stay.
        untagged_in: repositories whose untagged manifests may go.
        garbage_after: age of blobs and layer links that go when nothing needs them.
        sweeps_garbage: False: of these only what the run itself sets free.
        orphaned_for: age of dependants that go when their subject is nowhere; None: they stay.
        uploads_after: age of uploads that go; None: they stay.
        younger_than: a tag pushed within this time stays, save by an exact deletion.
        older_than: what a deletion names exactly stays, too, if it was pushed within this time.
        largest_share: what a plan may delete of the covered repositories; None: anything (the command `delete`).
        allow_empty: rules may take the last tag of a repository.
        in_use: whether the images in use have to be known.
        hosts: names of the registry besides its own, to which references have to be to count as in use; None: all do.
        undo_window: how long a run can be undone.
        fingerprint: a digest of the rules; empty for the command `delete`.
        policies: a digest of the rules of each policy that deletes, by its label.
        known: the same of those too that only keep.
        dry_run: a policy that deletes says that nothing is to be changed.
        used_elsewhere: a policy names lists of images in use that only the cluster has.
    """

    rules: tuple[Rule, ...] = ()
    deletions: tuple[Reference, ...] = ()
    untagged_after: int | None = None
    untagged_in: Matcher = everything
    garbage_after: int = 24 * 3600 * SECOND
    sweeps_garbage: bool = True
    orphaned_for: int | None = None
    uploads_after: int | None = None
    younger_than: int = 0
    older_than: int = 0
    largest_share: Fraction | None = None
    allow_empty: bool = True
    in_use: bool = False
    hosts: frozenset[str] | None = None
    undo_window: int = 24 * 3600 * SECOND
    fingerprint: str = ""
    policies: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[str, str] = field(default_factory=dict)
    dry_run: bool = False
    used_elsewhere: bool = False


def deletion_intent(
    references: Iterable[Reference],
    *,
    untagged_after: int | None = None,
    untagged_in: Matcher = everything,
    undo_window: int = 24 * 3600 * SECOND,
) -> Intent:
    """What the command `delete` asks for: no rules, no limits, and no garbage save what it sets free itself."""
    return Intent(
        deletions=tuple(references),
        untagged_after=untagged_after,
        untagged_in=untagged_in,
        sweeps_garbage=False,
        undo_window=undo_window,
    )
