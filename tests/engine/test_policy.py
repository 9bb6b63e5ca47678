"""Policies: what is refused, with the path of the field, and how several become one intent."""

import re
from fractions import Fraction
from typing import Any

import pytest

from regkeeper.commands.retain import retain
from regkeeper.durations import parse_duration
from regkeeper.retention.policies.policy import InvalidPolicyError, merge, read_policies
from tests.engine.planning import policies

HOUR = 3600 * 10**9


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"rules": [{"name": "x"}]}, "spec.rules[0]: a rule needs `keep`; say `keep: {last: 0}` to delete all"),
        ({"rules": [{"keep": None}]}, "spec.rules[0]: a rule needs `keep`; say `keep: {last: 0}` to delete all"),
        ({"rules": [{"keep": {}}]}, "spec.rules[0].keep: it keeps nothing; say `keep: {last: 0}` to delete all"),
        ({"rules": [{"keep": {"lasts": 1}}]}, "spec.rules[0].keep.lasts: unknown key"),
        ({"rules": [{"keep": {"last": -1}}]}, "spec.rules[0].keep.last"),
        ({"rules": [{"keep": {"last": False}}]}, "spec.rules[0].keep.last"),
        ({"rules": [{"keep": {"semver": {"highest": False}}}]}, "spec.rules[0].keep.semver.highest"),
        *[
            ({"rules": [{"keep": {"last": 0, "matching": [pattern]}}]}, f"matching: {pattern!r} matches no tag")
            for pattern in ("!v*", "^v", "v1, v2", "stable ", "app:v1", "team/v*", "{a,b:c}", "{a,b},c", "a[b]!")
        ],
        (
            {"rules": [{"keep": {"semver": {"highest": 1, "constraint": "x y"}}}]},
            "spec.rules[0].keep.semver.constraint",
        ),
        ({"rules": [{"tags": ["[a"], "keep": {"last": 1}}]}, "spec.rules[0].tags: [a: a bracket is not closed"),
        ({"rules": [{"tags": ["/(/"], "keep": {"last": 1}}]}, "spec.rules[0].tags: /(/"),
        *[
            ({"rules": [{"keep": {"last": 1}, name: None}]}, f"spec.rules[0]: `{name}` has no value: give it one, or")
            for name in ("repositories", "tags")
        ],
        ({"rules": [{"keep": {"last": 1, "pushedWithin": None}}]}, "spec.rules[0].keep: `pushedWithin` has no value"),
        (
            {"rules": [{"keep": {"semver": {"highest": 1, "constraint": None}}}]},
            "spec.rules[0].keep.semver: `constraint` has no value",
        ),
        (
            {"rules": [{"tags": [], "keep": {"last": 1}}]},
            "spec.rules[0].tags: an empty list says nothing; leave it out for all",
        ),
        ({"rules": [{"tags": "v*", "keep": {"last": 1}}]}, "spec.rules[0].tags: it must be a list, as in [a, b]"),
        ({"rules": {"keep": {"last": 1}}}, "spec.rules: it must be a list, as in [a, b]"),
        ({"rules": [{"keep": 5}]}, "spec.rules[0].keep: it must be a mapping, as in {key: value}"),
        *[
            ({"rules": [{"name": text, "keep": {"last": 1}}]}, f"spec.rules[0]: {text!r} can't be printed")
            for text in ("\x1b[2J", "a\nb")
        ],
        ({"rules": [{"keep": {"matching": ["/\x1b/"]}}]}, "spec.rules[0]: '/\\x1b/' can't be printed"),
        ({"delete": ["App:v1"]}, "spec.delete[0]"),
        ({"delete": ["app:"]}, "spec.delete[0]"),
        ({"untagged": {"deleteAfter": "1 day"}}, "spec.untagged.deleteAfter: '1 day' is no duration"),
        ({"undoWindow": "99999999h"}, "spec.undoWindow: 99999999h is too long; write at most 999999d"),
        ({"undoWindow": 3600}, "spec.undoWindow: it must be text, in quotes if it looks like a number"),
        (
            {"limits": {"maxDeletedShare": "101%"}},
            "spec.limits.maxDeletedShare: '101%' is no share; write it as in 50%",
        ),
        ({"limits": {"maxDeletedShare": 50}}, "spec.limits.maxDeletedShare: 50 is no share; write it as in 50%"),
    ],
)
def test_what_means_nothing_is_refused_with_the_path_of_the_field(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidPolicyError) as error:
        policies(spec)
    assert message in str(error.value)


@pytest.mark.parametrize("pattern", ["v[!0-9]*", "{a,{b,c[,:]}}-?", "/!|a:b/", "**", "A_b.c-d"])
def test_what_may_match_a_tag_is_taken(pattern: str) -> None:
    assert merge(policies({"rules": [{"keep": {"matching": [pattern]}}]})).rules


@pytest.mark.parametrize(
    "text",
    [
        "",
        "--- \n---\n",
        "[1, 2]",
        "a: [",
        "kind: Pod",
        "a: 1\na: 2",
        "? [x]\n: 1",
        "&a [*a]",
        "!!map x",
        "a: !!set [x]",
        "!!timestamp x",
        "x" * (1 << 21),
        "\x00",
        'apiVersion: regkeeper.dev/v1alpha1\nkind: ImageRetention\nmetadata: {name: "\\ud800"}\nspec: {}',
        "apiVersion: regkeeper.dev/v2\nkind: ImageRetention\nmetadata: {}\nspec: {}",
    ],
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(InvalidPolicyError, match=r"^file\.yaml: "):
        read_policies(text, "file.yaml")


def test_the_policy_that_the_help_of_retain_shows_is_one() -> None:
    example = re.search(r"\{.*\}", retain.__doc__ or "", re.DOTALL)
    assert example
    (rule,) = merge(read_policies(example[0], "help")).rules
    assert rule.covers_repository("boke/wordpress")


def test_a_key_that_occurs_twice_is_refused() -> None:
    text = "apiVersion: regkeeper.dev/v1alpha1\nkind: ImageRetention\nmetadata: {}\nspec: {rules: [], rules: []}"
    with pytest.raises(InvalidPolicyError, match="the key rules occurs twice"):
        read_policies(text, "file.yaml")


def test_what_is_omitted_deletes_nothing_but_garbage_after_a_day() -> None:
    intent = merge(policies({}))
    assert (intent.rules, intent.deletions) == ((), ())
    assert (intent.untagged_after, intent.orphaned_for, intent.uploads_after) == (None, None, None)
    assert intent.garbage_after == intent.undo_window == 24 * HOUR
    assert intent.younger_than == HOUR
    assert intent.largest_share == Fraction(1, 2)
    assert not intent.allow_empty
    assert intent.in_use


def test_of_several_policies_the_strictest_limits_and_the_longest_ages_count() -> None:
    strict = {"limits": {"maxDeletedShare": "10%"}, "garbage": {"deleteAfter": "7d"}, "untagged": {"deleteAfter": "2d"}}
    lax = {
        "limits": {"maxDeletedShare": "100%", "allowEmptyRepositories": True},
        "protect": {"inUse": False, "youngerThan": "2h"},
        "untagged": {"deleteAfter": "1h"},
        "undoWindow": "7d",
    }
    intent = merge(policies(lax, strict))
    assert intent.largest_share == Fraction(1, 10)
    assert not intent.allow_empty
    assert intent.in_use
    assert intent.garbage_after == intent.undo_window == 7 * 24 * HOUR
    assert intent.untagged_after == 48 * HOUR
    assert intent.younger_than == 2 * HOUR


def test_the_order_of_policies_does_not_matter_to_the_fingerprint_and_the_rules_do() -> None:
    one, other = policies({"rules": [{"keep": {"last": 1}}]}, {"delete": ["a:b"]})
    assert merge([one, other]).fingerprint == merge([other, one]).fingerprint
    assert merge([one]).fingerprint != merge([other]).fingerprint


@pytest.mark.parametrize(
    ("text", "seconds"), [("30d", 2_592_000), ("24h", 86400), ("1h30m", 5400), ("0s", 0), ("1d2h3m4s", 93784)]
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "1m1h", "-1h", "1.5h", "1 h", "1w", "٣h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        parse_duration(text)


def test_zero_needs_no_unit() -> None:
    assert merge(policies({"undoWindow": 0})).undo_window == 0
