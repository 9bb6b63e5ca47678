"""The contract of planning and sweeping: a plan is `Move`s, each one rename out of the tree into the quarantine."""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from regkeeper.retention.volume.repository import Problem


class Kind(StrEnum):
    """What is moved, in the crash-safe order: references before what they refer to."""

    TAG = "tag"
    """`repositories/<name>/_manifests/tags/<T>`"""
    INDEX_REVISION = "index-revision"
    """`repositories/<name>/_manifests/revisions/<alg>/<hex>` of an index"""
    REVISION = "revision"
    """the same of any other manifest"""
    LAYER_LINK = "layer-link"
    """`repositories/<name>/_layers/<alg>/<hex>`"""
    REPOSITORY = "repository"
    """`repositories/<name>/_manifests`, `_layers` or `_uploads`, one move each, where nothing is left in it"""
    BLOB = "blob"
    """`blobs/<alg>/<hh>/<hex>` of a layer or config"""
    MANIFEST_BLOB = "manifest-blob"
    """the same of a manifest"""
    UPLOAD = "upload"
    """`repositories/<name>/_uploads/<uuid>`"""
    LEFTOVER = "leftover"
    """`blobs/<alg>/<hh>/<hex>` with what a registry has begun to write, and no `data`"""
    TEMPORARY = "temporary"
    """`blobs/<alg>/<hh>/<hex>/data.<uuid>.tmp`, the same beside a `data` that stays"""


class Move(Struct, frozen=True):
    """One rename. `path` is relative to `docker/registry/v2` and was built from parts that were read there."""

    kind: Kind
    path: str
    repository: str
    """Empty for blobs."""
    name: str
    """The tag, or the digest as `alg:hex`, or the upload's uuid."""
    bytes: int
    """Bytes that are freed when it is purged; 0 for links."""
    witness: tuple[int, int] | None
    """(inode, ctime in ns) of the link or `data` at the time of the mark; a difference before the move keeps it."""
    digest: str = ""
    """The digest that a tag pointed to, from which the age of an untagged manifest is counted; empty otherwise."""


class Plan(Protocol):
    """What the sweep needs to know of a plan."""

    @property
    def moves(self) -> Collection[Move]:
        """In the order of `Kind`."""

    @property
    def hash(self) -> str:
        """Of the sorted victims and the rules."""

    @property
    def policies(self) -> Mapping[str, str]:
        """A digest of each policy's rules: marks of restored images hold until one changes. Empty: `delete`."""

    @property
    def problems(self) -> list[Problem]:
        """What can't be read; the sweep adds what can't be moved and may as well stay."""

    @property
    def repositories(self) -> int:
        """How many repositories the volume had, for the next run's comparison."""
