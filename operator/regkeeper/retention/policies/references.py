"""References to what a policy or a person names: `repo:tag`, `repo@alg:hex`, `repo:tag@alg:hex`, a whole `repo`."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from regkeeper.retention.policies.patterns import Matcher, PatternError, is_glob, matcher
from regkeeper.retention.volume import digests
from regkeeper.retention.volume.digests import Digest

_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_GLOB = re.compile(r"[A-Za-z0-9_.\-/*?\[\]{},!^]+")
_LONGEST_REPOSITORY = 255


class InvalidReferenceError(ValueError):
    """What was given is no reference. Never a reason to delete anything."""


class ForeignAddressError(InvalidReferenceError):
    """An address stands in front of a reference that may not stand there."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What to delete.

    Attributes:
        text: as it was written.
        repository: a name or a glob.
        tag: a name or a glob; None: the digest, or the whole repository.
        digest: None: whatever the tag points to.
        address: what was dropped in front; empty: nothing.
    """

    text: str
    repository: str
    tag: str | None
    digest: Digest | None
    matches_repository: Matcher = field(repr=False, compare=False)
    matches_tag: Matcher = field(repr=False, compare=False)
    address: str = ""

    @property
    def exact(self) -> bool:
        """It names one thing, so that the protections against patterns that take too much don't apply."""
        return not is_glob(self.repository) and not is_glob(self.tag or "")

    @property
    def whole_repository(self) -> bool:
        return self.tag is None and self.digest is None


def parse_reference(text: str, *, strip_address: Callable[[str], bool] | None = None) -> Reference:
    """The reference that a text is.

    Args:
        text: as it was written.
        strip_address: tells of an address in front (`k8smaster:5000`) whether it may be dropped; without it none is.
            `docker.io` in front may be an address or a part of a repository's name: it is dropped if that is allowed.

    Raises:
        InvalidReferenceError: it is empty, unfinished, absolute, or has `..`, upper case or control characters in the
            repository.
        ForeignAddressError: an address stands in front that may not be dropped.
    """
    rest = text
    if not rest or rest != rest.strip() or not rest.isprintable():
        raise InvalidReferenceError(f"{text!r} is no reference: write repository:tag")
    digest = None
    rest, at, digest_text = rest.partition("@")
    if at and (digest := digests.parse(digest_text)) is None:
        raise InvalidReferenceError(f"{text!r}: after @ stands no digest (sha256: and 64 hexadecimal digits)")
    address, slash, below = rest.partition("/")
    dropped = ""
    if slash and ("." in address or ":" in address or address == "localhost") and _HOST.fullmatch(address):
        if strip_address is not None and strip_address(address):
            dropped, rest = address, below
        elif not _COMPONENT.fullmatch(address) or address == "localhost":
            raise ForeignAddressError(f"{text!r} begins with the address of a registry, {address}: leave it out")
    repository, colon, tag = rest.partition(":")
    if colon and not tag:
        raise InvalidReferenceError(f"{text!r}: no tag stands after the colon")
    _check_repository(text, repository)
    if colon and not (_TAG.fullmatch(tag) or (is_glob(tag) and _GLOB.fullmatch(tag) and "/" not in tag)):
        raise InvalidReferenceError(f"{text!r}: {tag!r} is no tag")
    try:
        return Reference(
            text,
            repository,
            tag if colon else None,
            digest,
            matcher([repository], regular_expressions=False),
            matcher([tag], regular_expressions=False),
            dropped,
        )
    except PatternError as error:
        raise InvalidReferenceError(str(error)) from None


def _check_repository(text: str, repository: str) -> None:
    if repository.startswith("/"):
        raise InvalidReferenceError(
            f"{text!r}: a repository is no path; regular expressions are for the rules of a policy"
        )
    components = repository.split("/")
    if not repository or "" in components or "." in components or ".." in components:
        raise InvalidReferenceError(f"{text!r}: {repository!r} is no repository")
    if is_glob(repository):
        if not _GLOB.fullmatch(repository) or repository != repository.lower():
            raise InvalidReferenceError(f"{text!r}: {repository!r} is no pattern of repositories")
    elif len(repository) > _LONGEST_REPOSITORY or not all(map(_COMPONENT.fullmatch, components)):
        raise InvalidReferenceError(
            f"{text!r}: {repository!r} is no repository (lower case, digits, separators between them)"
        )
