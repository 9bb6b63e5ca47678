"""What the oracle is asked: policies as one, and what runs; its words for places on a volume."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.engine.oracle_patterns import nanoseconds

Node = tuple[str, str]
"""(repository, digest): a revision."""
Place = tuple[str, str]
"""(repository, tag)."""

PLAUSIBLE = 315_619_200 * 10**9
"""1980-01-02T00:00:00Z."""

DEPENDANT = re.compile(r"(?P<alg>sha256|sha512)-(?P<hex>[0-9a-f]{64})(\..*)?")
"""A tag holds 128 characters; the OCI distribution specification truncates the digest to 64, also for sha512."""


@dataclass(frozen=True)
class InUse:
    """What runs: tags and digests by their repository, and digests of manifests or configs without one."""

    tags: frozenset[Place] = frozenset()
    manifests: frozenset[Node] = frozenset()
    anywhere: frozenset[str] = frozenset()


@dataclass
class Policy:
    """Several ImageRetention specs as one: rules unite, ages are the longest."""

    rules: list[dict[str, Any]]
    delete: list[str]
    untagged: int | None
    orphaned: int | None
    garbage: int
    younger_than: int
    uploads: int | None

    @classmethod
    def of(cls, specs: Iterable[dict[str, Any]]) -> "Policy":
        specs = list(specs)

        def longest(block: str, key: str, default: str | None = None) -> int | None:
            given = [spec.get(block, {}).get(key, default) for spec in specs]
            return max((nanoseconds(age) for age in given if age is not None), default=None)

        return cls(
            rules=[rule for spec in specs for rule in spec.get("rules", ())],
            delete=[entry for spec in specs for entry in spec.get("delete", ())],
            untagged=longest("untagged", "deleteAfter"),
            orphaned=longest("dependants", "orphanedFor"),
            garbage=longest("garbage", "deleteAfter", "24h") or 0,
            younger_than=longest("protect", "youngerThan", "1h") or 0,
            uploads=longest("uploads", "deleteAfter"),
        )
