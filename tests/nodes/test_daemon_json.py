"""Editing one list of daemon.json: random files, and the odd ones that people write."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regkeeper.nodes.daemon_json import KEY, BrokenError, parse, with_entries

hosts = st.lists(st.from_regex(r"[a-z]{1,4}:[1-9]", fullmatch=True), unique=True, max_size=3)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=4), children, max_size=3),
    max_leaves=5,
)


@st.composite
def files(draw: st.DrawFn) -> str:
    """A daemon.json with or without the list, in some formatting."""
    members = list(draw(st.dictionaries(st.text(max_size=5), values, max_size=4)).items())
    if draw(st.booleans()):
        members.insert(draw(st.integers(0, len(members))), (KEY, draw(hosts)))
    indent = draw(st.sampled_from([None, 1, 2, "\t"]))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,", " : ")]))
    return json.dumps(dict(members), indent=indent, separators=separators) + draw(st.sampled_from(["", "\n", " \n\n"]))


@given(files(), hosts)
def test_what_is_added_and_removed_again_leaves_every_byte(text: str, added: list[str]) -> None:
    before = parse(text)
    added = [host for host in added if host not in (before.get(KEY) or ())]
    changed = with_entries(text, add=added)
    assert parse(changed) == {**before, KEY: [*(before.get(KEY) or ()), *added]}
    back = with_entries(changed, remove=added, keep_key=KEY in before)
    assert parse(back) == before
    assert back == text or not before


@given(files(), st.data())
def test_any_entry_can_be_taken_out(text: str, data: st.DataObject) -> None:
    before = parse(text)
    present = before.get(KEY) or ["nobody:1"]
    removed = data.draw(st.lists(st.sampled_from(present), unique=True))
    changed = with_entries(text, remove=removed)
    assert parse(changed) == {**before, KEY: [host for host in before.get(KEY) or () if host not in removed]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", '{\n  "insecure-registries": ["h:1"]\n}\n'),
        ("{}", '{\n  "insecure-registries": ["h:1"]\n}'),
        ("{\n}\n", '{\n  "insecure-registries": ["h:1"]\n}\n'),
        ('{"debug": true}', '{"debug": true, "insecure-registries": ["h:1"]}'),
        ('{"insecure-registries":["a:1","b:1"]}', '{"insecure-registries":["a:1","b:1","h:1"]}'),
        ('{"insecure-registries":["a:1"]}', '{"insecure-registries":["a:1", "h:1"]}'),
        ('{\r\n\t"debug": true\r\n}\r\n', '{\r\n\t"debug": true,\r\n\t"insecure-registries": ["h:1"]\r\n}\r\n'),
        ("\ufeff{}", '\ufeff{\n  "insecure-registries": ["h:1"]\n}'),
    ],
    ids=["empty", "braces", "braces on two lines", "one line", "dense list", "one entry", "CRLF and tabs", "BOM"],
)
def test_formatting(text: str, expected: str) -> None:
    assert with_entries(text, add=["h:1"]) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("{", "[]", "null", "1", '"x"', "{} {}", "{'a': 1}", '{"a": 1,}', "// c\n{}", '{"a": NaN}', "[" * 100_000),
        *('{"a": 1, "a": 2}', '{"insecure-registries": "h:1"}', '{"insecure-registries": [1]}', '{"a": "\x01"}'),
    ],
)
def test_what_is_broken_is_refused(text: str) -> None:
    with pytest.raises(BrokenError) as caught:
        parse(text)
    assert text not in str(caught.value), "never what stands in the file"


@given(st.text(max_size=30))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        settings: dict[str, Any] = parse(text)
    except BrokenError:
        return
    assert isinstance(settings, dict)
