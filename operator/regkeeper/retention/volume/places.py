"""Where regkeeper keeps its own files on a volume, relative to `docker/registry/v2`.

A directory beside `blobs` and `repositories`: no registry reads it (distribution enumerates those two only), and it is
the same filesystem, so that a deletion is a rename. Below `blobs` or `repositories` the registry's own
garbage-collect would stumble over it.

    .regkeeper/
        journals/<run>              what each run did, see journal.py
        quarantine/<run>/<number>   what it moved; the number is that of the journal's move
        kept/<run>                  what an undo brought back, see marks.py
        plans/<run>                 what a run was to do and why, see plan_files.py
        awaiting/<hash>             a plan that waits for an approval
        answers/<uid>               what a Job answered
        repositories                how many the last run left in the catalog, see history.py
        immovable                   what was half written and could not be moved, see immovable.py
        reserve/                    space and inodes for a run on a full volume, see reserve.py
        cache/                      what was read of immutable manifests; safe to lose
"""

STATE = ".regkeeper"
JOURNALS = f"{STATE}/journals"
QUARANTINE = f"{STATE}/quarantine"
KEPT = f"{STATE}/kept"
PLANS = f"{STATE}/plans"
AWAITING = f"{STATE}/awaiting"
ANSWERS = f"{STATE}/answers"
RESERVE = f"{STATE}/reserve"
LEFT = f"{STATE}/repositories"
IMMOVABLE = f"{STATE}/immovable"
CACHE = f"{STATE}/cache"


def run_directory(run: str) -> str:
    """The quarantine of one run."""
    return f"{QUARANTINE}/{run}"
