"""Plans of test volumes, and short ways to ask what becomes of a tag, a manifest or a blob."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from regkeeper.retention.judging.question import Question
from regkeeper.retention.planning.plan import Plan
from regkeeper.retention.planning.planner import Planner
from regkeeper.retention.policies.in_use import InUse
from regkeeper.retention.policies.intent import Intent, deletion_intent
from regkeeper.retention.policies.policy import Policy, merge, read_policies
from regkeeper.retention.policies.references import parse_reference
from regkeeper.retention.processes.read_ahead import waits_for_nothing
from regkeeper.retention.quarantine.moves import Kind, Move
from regkeeper.retention.volume import digests
from regkeeper.retention.volume.layout import open_volume
from regkeeper.retention.volume.repository_reader import RepositoryReader
from tests.engine.volumes import Volume

UNLIMITED = {"maxDeletedShare": "100%", "allowEmptyRepositories": True}
"""Limits for tests that are about something else."""


@dataclass(frozen=True)
class Planned:
    """A plan and what tests ask of it."""

    plan: Plan

    def tag(self, repository: str, tag: str) -> str:
        """`deleted: …` or `kept: …`, the reason behind it."""
        row = next(
            row for entry in self.plan.entries if entry.name == repository for row in entry.tags if row.tag == tag
        )
        return f"{'deleted' if row.deleted else 'kept'}: {row.reason}"

    def manifest(self, repository: str, digest: str) -> str:
        row = next(
            row
            for entry in self.plan.entries
            if entry.name == repository
            for row in entry.manifests
            if digests.to_text(row.digest) == digest
        )
        return f"{'deleted' if row.deleted else 'kept'}: {row.reason}"

    def deleted_tags(self) -> set[str]:
        """`repository:tag` of each victim."""
        return {f"{move.repository}:{move.name}" for move in self.moves(Kind.TAG)}

    def deleted_manifests(self) -> set[tuple[str, str]]:
        """Repository and digest."""
        return {(move.repository, move.name) for move in self.moves(Kind.REVISION, Kind.INDEX_REVISION)}

    def deleted_links(self) -> set[tuple[str, str]]:
        """Repository and digest of each layer link."""
        return {(move.repository, move.name) for move in self.moves(Kind.LAYER_LINK)}

    def deleted_blobs(self) -> set[str]:
        return {move.name for move in self.moves(Kind.BLOB, Kind.MANIFEST_BLOB)}

    def moves(self, *kinds: Kind) -> list[Move]:
        return [move for move in self.plan.moves if move.kind in kinds]


def policies(*specs: Mapping[str, Any]) -> list[Policy]:
    """A policy for each spec, by the way that a file takes; JSON is YAML."""
    documents = [
        {
            "apiVersion": "regkeeper.dev/v1alpha1",
            "kind": "ImageRetention",
            "metadata": {"name": f"policy-{number}"},
            "spec": spec,
        }
        for number, spec in enumerate(specs)
    ]
    return list(_read("\n---\n".join(map(json.dumps, documents))))


@cache
def _read(text: str) -> tuple[Policy, ...]:
    """Once a text: tests of crashes make thousands of runs with one policy, of which reading it was a tenth."""
    return tuple(read_policies(text, "policies.yaml"))


def retain(
    volume: Volume,
    *specs: Mapping[str, Any],
    also_keep: Iterable[Mapping[str, Any]] = (),
    limited: bool = False,
    offline: bool = False,
    repositories_before: int | None = None,
    **question: Any,
) -> Planned:
    """What `retain` would do; without limits unless the test is about them."""
    asked = [spec if limited else {"limits": UNLIMITED, **spec} for spec in specs]
    intent = merge(policies(*asked), policies(*also_keep) if also_keep else ())
    return plan(volume, intent, offline=offline, repositories_before=repositories_before, **question)


def delete(volume: Volume, *references: str, **question: Any) -> Planned:
    """What the command `delete` would do."""
    return plan(volume, deletion_intent(map(parse_reference, references)), **question)


def plan(
    volume: Volume,
    intent: Intent,
    *,
    offline: bool = False,
    repositories_before: int | None = None,
    now: int | None = None,
    in_use: InUse | None = None,
    processes: int = 1,
    waits: Callable[[], int] = waits_for_nothing,
    **question: Any,
) -> Planned:
    """The plan, made without waiting between the attempts at an unreadable link."""
    asked = Question(intent, now or volume.now, in_use or InUse(), **question)
    with open_volume(str(volume.root)) as opened:
        reader = RepositoryReader(opened, pause=lambda _: None)
        planner = Planner(
            opened,
            asked,
            reader=reader,
            offline=offline,
            repositories_before=repositories_before,
            processes=processes,
            waits=waits,
        )
        return Planned(planner.make())


def used(*images: str) -> InUse:
    """Images in use by `Deployment shop/web`."""
    in_use = InUse()
    for image in images:
        in_use.add(image, "Deployment shop/web")
    return in_use
