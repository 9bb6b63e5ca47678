"""ImageRetention manifests in the engine's terms: read from files, checked, and merged into one intent."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import yaml
from msgspec import Struct
from pydantic import ValidationError

from regkeeper.api.v1alpha1 import policy as model
from regkeeper.api.v1alpha1.retention_spec import ImageRetentionDocument, ImageRetentionSpec
from regkeeper.durations import parse_duration
from regkeeper.retention.policies.intent import Intent
from regkeeper.retention.policies.patterns import Matcher, PatternError, matcher, may_be_tags
from regkeeper.retention.policies.references import InvalidReferenceError, Reference, parse_reference
from regkeeper.retention.policies.rules import SECOND, HighestVersions, Keeper, Last, Matching, PushedWithin, Rule
from regkeeper.retention.policies.versions import ConstraintError, constraint

LARGEST_POLICY = 1 << 20
"""Characters of a policy file."""


_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""What steers a terminal, or can't be printed at all; reasons in a plan repeat what policies say."""

_MAPPING = "it must be a mapping, as in {key: value}"

_EXPLANATIONS = {
    "dict_type": _MAPPING,
    "extra_forbidden": "unknown key",
    "int_type": "it must be a whole number, without quotes",
    "list_type": "it must be a list, as in [a, b]",
    "model_attributes_type": _MAPPING,
    "model_type": _MAPPING,
    "missing": "it is missing",
    "string_too_short": "it is empty",
    "string_type": "it must be text, in quotes if it looks like a number",
    "too_short": "an empty list says nothing; leave it out for all",
}
"""By the type of a pydantic error, what to do where its own words don't say so."""


class InvalidPolicyError(ValueError):
    """A policy that means nothing; the message has the path of the field. Nothing is deleted because of it."""


class Policy(Struct, frozen=True):
    """One ImageRetention.

    Attributes:
        label: its name, and where it comes from if it has none.
    """

    label: str
    spec: ImageRetentionSpec


def read_policies(text: str, source: str) -> list[Policy]:
    """The policies of a file with one or several YAML or JSON documents.

    Args:
        text: the content of the file.
        source: its name, for messages.

    Raises:
        InvalidPolicyError: it has none, or one is invalid.
    """
    if len(text) > LARGEST_POLICY:
        raise InvalidPolicyError(f"{source}: larger than {LARGEST_POLICY} characters")
    try:
        documents = [document for document in yaml.load_all(text, _UniqueKeyLoader) if document is not None]
    except (yaml.YAMLError, ValueError, AttributeError, RecursionError) as error:  # AttributeError: `!!timestamp x`
        raise InvalidPolicyError(f"{source}: {error}") from None
    if not documents:
        raise InvalidPolicyError(f"{source}: it holds no ImageRetention")
    return [parse_policy(document, source) for document in documents]


def parse_policy(document: Any, source: str) -> Policy:
    """One policy out of a manifest.

    Raises:
        InvalidPolicyError: it means nothing.
    """
    try:
        parsed = ImageRetentionDocument.model_validate(document)
    except ValidationError as error:
        raise InvalidPolicyError(f"{source}: " + "; ".join(map(_explained, error.errors()))) from None
    name = parsed.metadata.get("name")
    if isinstance(name, str) and _UNPRINTABLE.search(name):
        raise InvalidPolicyError(f"{source}: metadata.name: {name!r} can't be printed")
    policy = Policy(name if isinstance(name, str) and name else source, parsed.spec)
    try:
        list(_rules(policy, deletes=True))
        _deletions(policy)
    except InvalidPolicyError as error:
        raise InvalidPolicyError(f"{source}: {error}") from None
    return policy


def merge(policies: Sequence[Policy], also_keep: Sequence[Policy] = ()) -> Intent:
    """One intent: deleted if one policy covers it and none keeps it, the strictest limits, the longest ages.

    Args:
        policies: what deletes; at least one.
        also_keep: these only keep, and their ages and limits count too.
    """
    specs = [policy.spec for policy in (*policies, *also_keep)]
    return Intent(
        rules=tuple(
            [rule for policy in policies for rule in _rules(policy, deletes=True)]
            + [rule for policy in also_keep for rule in _rules(policy, deletes=False)]
        ),
        deletions=tuple(reference for policy in policies for reference in _deletions(policy)),
        untagged_after=_longest_if_asked(policies, specs, "untagged", "delete_after"),
        garbage_after=max(_nanoseconds(spec.garbage.delete_after) for spec in specs),
        orphaned_for=_longest_if_asked(policies, specs, "dependants", "orphaned_for"),
        uploads_after=_longest_if_asked(policies, specs, "uploads", "delete_after"),
        younger_than=max(_nanoseconds(spec.protect.younger_than) for spec in specs),
        largest_share=min(Fraction(spec.limits.max_deleted_share.rstrip("%")) / 100 for spec in specs),
        allow_empty=all(spec.limits.allow_empty_repositories for spec in specs),
        in_use=any(spec.protect.in_use for spec in specs),
        hosts=_hosts(specs),
        undo_window=max(_nanoseconds(spec.undo_window) for spec in specs),
        fingerprint=_fingerprint(policies),
        policies=_fingerprints(policies),
        # Of one name, what deletes: it is its rules that end what an undo keeps.
        known=_fingerprints(also_keep) | _fingerprints(policies),
        dry_run=any(policy.spec.dry_run for policy in policies),
        used_elsewhere=any(spec.protect.references for spec in specs),
    )


def _longest_if_asked(
    policies: Iterable[Policy], specs: Iterable[ImageRetentionSpec], field: str, age: str
) -> int | None:
    """The longest age of all policies, if one that deletes gives an age at all."""
    if all(getattr(policy.spec, field) is None for policy in policies):
        return None
    return max(_nanoseconds(getattr(value, age)) for spec in specs if (value := getattr(spec, field)) is not None)


def _hosts(specs: Iterable[ImageRetentionSpec]) -> frozenset[str] | None:
    """The hosts that count, if every policy which asks for images in use narrows them."""
    asking = [spec.protect.hosts for spec in specs if spec.protect.in_use]
    return frozenset().union(*asking) if asking and all(asking) else None


def _nanoseconds(duration: str) -> int:
    return parse_duration(duration) * SECOND


def _fingerprint(policies: Iterable[Policy]) -> str:
    """A digest of what the policies would delete, in whatever order they come."""
    fields = {"rules", "delete", "untagged", "garbage", "dependants", "uploads"}
    # Without defaults, so that a field which a newer regkeeper knows changes nothing for who does not use it.
    dumped = [policy.spec.model_dump(include=fields, exclude_defaults=True) for policy in policies]
    texts = sorted(json.dumps(document, sort_keys=True) for document in dumped)
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _fingerprints(policies: Iterable[Policy]) -> dict[str, str]:
    """The digest of each policy alone, by its label; of those of one label, of all."""
    by_label: dict[str, list[Policy]] = {}
    for policy in policies:
        by_label.setdefault(policy.label, []).append(policy)
    return {label: _fingerprint(of_label) for label, of_label in by_label.items()}


def _rules(policy: Policy, *, deletes: bool) -> Iterable[Rule]:
    for index, rule in enumerate(policy.spec.rules):
        path = f"spec.rules[{index}]"
        for text in (rule.name, *rule.keep.matching):
            if _UNPRINTABLE.search(text):
                raise InvalidPolicyError(f"{path}: {text!r} can't be printed")
        yield Rule(
            f"{policy.label}/{rule.name or index + 1}",
            _matcher(rule.repositories, f"{path}.repositories"),
            _matcher(rule.tags, f"{path}.tags"),
            tuple(_keepers(rule.keep, f"{path}.keep")),
            deletes,
        )


def _keepers(keep: model.Keep, path: str) -> Iterable[Keeper]:
    if keep.last is not None:
        yield Last(keep.last)
    if keep.pushed_within is not None:
        yield PushedWithin(keep.pushed_within, _nanoseconds(keep.pushed_within))
    if keep.semver is not None:
        try:
            constraint(keep.semver.constraint)
        except ConstraintError as error:
            raise InvalidPolicyError(f"{path}.semver.constraint: {error}") from None
        yield HighestVersions(keep.semver.highest, keep.semver.constraint and " ".join(keep.semver.constraint.split()))
    for pattern in keep.matching:
        matches = _matcher([pattern], f"{path}.matching")
        if not may_be_tags(pattern):  # in vain it would keep what its author believes to be safe
            raise InvalidPolicyError(
                f"{path}.matching: {pattern!r} matches no tag: write one pattern of tags an entry, or /a regular "
                "expression/; `!` and `^` negate in brackets alone"
            )
        yield Matching(pattern, matches)


def _matcher(patterns: Sequence[str] | None, path: str) -> Matcher:
    try:
        return matcher(["**"] if patterns is None else patterns)
    except PatternError as error:
        raise InvalidPolicyError(f"{path}: {error}") from None


def _deletions(policy: Policy) -> Iterable[Reference]:
    references = []
    for index, text in enumerate(policy.spec.delete):
        try:
            references.append(parse_reference(text))
        except InvalidReferenceError as error:
            raise InvalidPolicyError(f"spec.delete[{index}]: {error}") from None
    return references


def _explained(error: Any) -> str:
    """A pydantic error as `path: what is wrong`."""
    path = ""
    for part in error["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    if error["loc"][-1:] == ("maxDeletedShare",):
        message = f"{error['input']!r} is no share; write it as in 50%"
    else:
        message = _EXPLANATIONS.get(error["type"]) or error["msg"].removeprefix("Value error, ")
    return f"{path or 'the document'}: {message}"


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that occurs twice: the first one would be lost without a word, a rule that keeps among it."""

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        if not isinstance(node, yaml.MappingNode):  # as of `!!map text`
            raise yaml.constructor.ConstructorError(None, None, "this is no mapping", node.start_mark)
        keys = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, "a key must be text", key_node.start_mark)
            if key in keys:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key} occurs twice", key_node.start_mark)
            keys.add(key)
        return super().construct_mapping(node, deep=deep)
