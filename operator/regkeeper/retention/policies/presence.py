"""Whether references name anything on a volume, told from the names of its directories alone."""

from collections.abc import Iterable
from functools import cache

from regkeeper.retention.policies.references import Reference
from regkeeper.retention.volume import digests
from regkeeper.retention.volume.layout import REVISIONS, TAGS, Volume, repository_path


def absent(volume: Volume, references: Iterable[Reference]) -> list[str]:
    """The exact references that certainly name nothing: there is no tag, manifest or repository of that name.

    A typing error is thus found before anything is changed. Whether a tag still points to a digest is for the plan.
    """

    @cache
    def names(path: str) -> frozenset[str]:
        return frozenset(volume.names(path))

    def is_there(reference: Reference) -> bool:
        path = repository_path(reference.repository)
        if reference.tag is not None:
            return reference.tag in names(f"{path}/{TAGS}")
        if reference.digest is not None:
            algorithm, _, hexadecimal = digests.to_text(reference.digest).partition(":")
            return hexadecimal in names(f"{path}/{REVISIONS}/{algorithm}")
        return bool(names(path))

    return [reference.text for reference in references if reference.exact and not is_there(reference)]
