"""What a repository has beside tags, revisions and layers: somebody else's, or of an unknown algorithm."""

from regkeeper.retention.volume import digests
from regkeeper.retention.volume.digests import ALGORITHMS
from regkeeper.retention.volume.layout import LAYERS, MANIFESTS, REVISIONS, TAGS, Volume, repository_path
from regkeeper.retention.volume.repository import TAG_NAME


def has_strangers(volume: Volume, repository: str) -> bool:
    """Whether a repository has what is not read. What can't be listed has some, too."""
    try:
        return _has_strangers(volume, repository_path(repository))
    except OSError:
        return True


def _has_strangers(volume: Volume, path: str) -> bool:
    names = volume.names
    algorithms = [(f"{path}/{parent}", name) for parent in (REVISIONS, LAYERS) for name in names(f"{path}/{parent}")]
    return (
        not {f"{MANIFESTS}/{name}" for name in names(f"{path}/{MANIFESTS}")} <= {REVISIONS, TAGS}
        or not all(TAG_NAME.fullmatch(name) for name in names(f"{path}/{TAGS}"))
        or not all(name in ALGORITHMS for _, name in algorithms)
        or not all(
            digests.from_hex(ALGORITHMS[algorithm], name)
            for parent, algorithm in algorithms
            for name in names(f"{parent}/{algorithm}")
        )
    )
