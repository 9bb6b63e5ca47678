"""config.yml: what is generated, how the user's settings lie over it, and how long a registry may take to stop."""

from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from regkeeper.errors import InvalidSpecError
from regkeeper.resources.config import checked_config, config_file, dump_yaml, go_duration_seconds
from regkeeper.resources.protection import merge
from tests.registry_objects import UID, a_registry

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(min_size=1), below, max_size=3),
    max_leaves=10,
)


def test_generated_config() -> None:
    assert yaml.safe_load(config_file(a_registry(), read_only=False).text) == {
        "version": "0.1",
        "storage": {
            "filesystem": {"rootdirectory": "/var/lib/registry"},
            "delete": {"enabled": True},
            "maintenance": {"readonly": {"enabled": False}},
        },
        "http": {
            "addr": ":5000",
            "draintimeout": "30s",
            "headers": {"X-Content-Type-Options": ["nosniff"], "X-Regkeeper-Registry": [UID]},
        },
        "health": {"storagedriver": {"enabled": True, "interval": "10s", "threshold": 3}},
    }


def test_read_only_is_what_the_pass_says_whatever_the_spec() -> None:
    config = checked_config(a_registry(readOnly=False), read_only=True)
    assert config["storage"]["maintenance"] == {"readonly": {"enabled": True}}


def test_the_users_config_lies_over_the_generated_one() -> None:
    mine = {"log": {"level": "debug"}, "http": {"relativeurls": True}, "health": {"storagedriver": {"threshold": 9}}}
    config = checked_config(a_registry(config=mine), read_only=False)
    assert config["log"] == {"level": "debug"}
    assert config["http"] == {
        "addr": ":5000",
        "draintimeout": "30s",
        "headers": {"X-Content-Type-Options": ["nosniff"], "X-Regkeeper-Registry": [UID]},
        "relativeurls": True,
    }
    assert config["health"]["storagedriver"] == {"enabled": True, "interval": "10s", "threshold": 9}


def test_digest_follows_the_text() -> None:
    files = [config_file(a_registry(), read_only=read_only) for read_only in (False, False, True)]
    first, again, other = (file.digest for file in files)
    assert first == again != other


def test_merge_replaces_lists_and_changes_neither_side() -> None:
    base, over = {"a": {"b": [1], "c": 2}}, {"a": {"b": [3]}, "d": {"e": 4}}
    assert merge(base, over) == {"a": {"b": [3], "c": 2}, "d": {"e": 4}}
    assert base == {"a": {"b": [1], "c": 2}}
    assert over == {"a": {"b": [3]}, "d": {"e": 4}}


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        ({}, 30),
        ({"config": {"http": {"draintimeout": "1m30s"}}}, 90),
        ({"config": {"http": {"draintimeout": "100ms"}}}, 1),
        ({"config": {"http": {"draintimeout": 0}}}, 0),
        ({"extraEnv": [{"name": "REGISTRY_HTTP_DRAINTIMEOUT", "value": "5m"}]}, 300),
    ],
)
def test_drain_time_is_the_effective_one(spec: dict[str, Any], seconds: int) -> None:
    assert config_file(a_registry(**spec), read_only=False).drain_seconds == seconds


def test_a_drain_time_that_is_no_duration_is_refused() -> None:
    with pytest.raises(InvalidSpecError, match=r"http\.draintimeout of config\.yml is 'soon': write a duration"):
        config_file(a_registry(config={"http": {"draintimeout": "soon"}}), read_only=False)


def test_a_drain_time_that_grows_is_not_written_out() -> None:
    """A little deeper, a value of four hundred characters took the operator of all its memory."""
    grown = "[&a [x,x,x,x,x,x,x,x,x,x], &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a], &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]]"
    registry = a_registry(extraEnv=[{"name": "REGISTRY_HTTP_DRAINTIMEOUT", "value": grown}])
    assert config_file(registry, read_only=False).drain_seconds == 30


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("1h2m3s", 3723),
        ("1.5m", 90),
        ("0", 0),
        ("", None),
        ("5", None),
        ("-1s", None),
        ("2562048h", None),
    ],
)
def test_go_durations(text: str, seconds: float | None) -> None:
    assert go_duration_seconds(text) == seconds


@given(JSON)
@example({"next line, which YAML 1.1 takes for a line break": "\x85", "\x85": None})
def test_yaml_means_what_was_written(value: object) -> None:
    assert yaml.safe_load(dump_yaml(value)) == value


@pytest.mark.parametrize(
    "text", ["1e3", "0o7", "0x1F", "y", "N", "no", ".5", "+1", "-", "1_000", "12:30:45", "~", "null"]
)
def test_text_that_go_would_take_for_something_else_is_quoted(text: str) -> None:
    assert dump_yaml({"key": text}) == f"key: '{text}'\n"
