"""Editing one list in daemon.json as a careful person would: every byte that is not about it stays.

Pure. The standard library's decoder finds where members and elements begin and end; the edit is made in the text
between those places, and its result is decoded again and compared with what it should mean before anybody sees it.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

KEY = "insecure-registries"

_BLANK = re.compile(r"[ \t\n\r]*")
_BYTE_ORDER_MARK = "\ufeff"


class BrokenError(ValueError):
    """Not a JSON object that dockerd would take; the message says where, never what stands there."""


@dataclass(frozen=True, slots=True)
class _Span:
    """A member (from its key) or an element in the text, and where its value begins."""

    start: int
    value: int
    end: int
    key: str = ""


def parse(text: str) -> dict[str, Any]:
    """The settings; empty for a blank text, which is a file that nobody wrote into yet.

    Raises:
        BrokenError: no JSON object, a key that stands in it twice at the top, or a list of hosts that is none.
    """
    body = text.removeprefix(_BYTE_ORDER_MARK)
    if not body.strip(" \t\n\r"):
        return {}
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise BrokenError(f"{error.msg}, line {error.lineno} column {error.colno}") from None
    except (ValueError, RecursionError):
        raise BrokenError("not JSON") from None
    if not isinstance(value, dict):
        raise BrokenError("not an object")
    keys = [member.key for member in _members(text)]
    if len(set(keys)) != len(keys):
        raise BrokenError("a key stands in it twice")
    entries = value.get(KEY)
    if entries is not None and not (isinstance(entries, list) and all(isinstance(entry, str) for entry in entries)):
        raise BrokenError(f"{KEY} is not a list of strings")
    return value


def entries_of(settings: dict[str, Any]) -> tuple[str, ...]:
    """The list of insecure registries; `null` and an absent key are empty."""
    return tuple(settings.get(KEY) or ())


def with_entries(text: str, *, add: Iterable[str] = (), remove: Iterable[str] = (), keep_key: bool = True) -> str:
    """The text with hosts added to the end of the list and others taken out of it.

    Args:
        text: of a file that `parse` understands.
        add: hosts that are not in the list.
        remove: hosts, whether in the list or not.
        keep_key: leave `[]` where the list becomes empty; False drops the key.
    """
    settings = parse(text)
    gone = set(remove)
    wanted = [entry for entry in entries_of(settings) if entry not in gone] + list(add)
    if wanted or keep_key:
        expected = {**settings, KEY: wanted}
        edited = _edit_list(text, settings, gone, list(add))
    else:
        expected = {key: value for key, value in settings.items() if key != KEY}
        edited = _drop_key(text)
    if parse(edited) != expected:
        raise BrokenError("it can't be edited safely")
    return edited


def _edit_list(text: str, settings: dict[str, Any], gone: set[str], add: list[str]) -> str:
    members = list(_members(text))
    if not members:
        return _first_member(text, add)
    if KEY not in settings:
        return _append(text, members, [_member(add)])
    if settings[KEY] is None:
        member = _member_of(text)
        return text[: member.value] + json.dumps(add) + text[member.end :]
    for entry in gone:
        text = _without_elements(text, entry)
    return _with_elements(text, add) if add else text


def _first_member(text: str, add: list[str]) -> str:
    """The key as the first one of an empty object, or of a file without one."""
    if "{" not in text:
        return f"{text}{{\n  {_member(add)}\n}}\n"
    opening = text.index("{") + 1
    closing = _BLANK.match(text, opening).end()  # type: ignore[union-attr]
    blank = text[opening:closing]
    return f"{text[:opening]}\n  {_member(add)}{blank if chr(10) in blank else chr(10)}{text[closing:]}"


def _drop_key(text: str) -> str:
    members = list(_members(text))
    for index, member in enumerate(members):
        if member.key == KEY:
            return _without(text, members, index)
    return text


def _with_elements(text: str, add: list[str]) -> str:
    elements = list(_elements(text))
    written = [json.dumps(entry) for entry in add]
    if not elements:
        opening = _member_of(text).value + 1
        return f"{text[:opening]}{', '.join(written)}{text[opening:]}"
    return _append(text, elements, written)


def _without_elements(text: str, entry: str) -> str:
    while True:
        elements = list(_elements(text))
        found = [index for index, span in enumerate(elements) if json.loads(text[span.start : span.end]) == entry]
        if not found:
            return text
        text = _without(text, elements, found[-1])


def _append(text: str, spans: list[_Span], written: list[str]) -> str:
    """Put further members or elements behind the last one, spaced as that one is."""
    last = spans[-1]
    blank = _blank_before(text, last.start)
    if len(spans) == 1 and not blank:
        blank = " "  # the first on a line has nothing before it, the second would
    return text[: last.end] + "".join(f",{blank}{item}" for item in written) + text[last.end :]


def _without(text: str, spans: list[_Span], index: int) -> str:
    """Cut one of several things that commas separate, with the comma and the blank that came with it."""
    if index > 0:
        return text[: spans[index - 1].end] + text[spans[index].end :]
    if len(spans) > 1:
        return text[: spans[0].start] + text[spans[1].start :]
    start = spans[0].start - len(_blank_before(text, spans[0].start))
    return text[:start] + text[_BLANK.match(text, spans[0].end).end() :]  # type: ignore[union-attr]


def _member(entries: list[str]) -> str:
    return f"{json.dumps(KEY)}: {json.dumps(entries)}"


def _blank_before(text: str, position: int) -> str:
    return text[len(text[:position].rstrip(" \t\n\r")) : position]


def _member_of(text: str) -> _Span:
    return next(member for member in _members(text) if member.key == KEY)


def _members(text: str) -> Iterator[_Span]:
    """Members of the top object of a text that is known to be valid."""
    if "{" not in text:
        return
    position = _skip(text, text.index("{") + 1)
    while text[position] != "}":
        key, after_key = scanstring(text, position + 1)
        value = _skip(text, _skip(text, after_key) + 1)
        _, end = json.JSONDecoder().raw_decode(text, value)
        yield _Span(position, value, end, key)
        position = _skip(text, end)
        if text[position] == ",":
            position = _skip(text, position + 1)


def _elements(text: str) -> Iterator[_Span]:
    """Elements of the list, as `_members` gives members."""
    position = _skip(text, _member_of(text).value + 1)
    while text[position] != "]":
        _, end = json.JSONDecoder().raw_decode(text, position)
        yield _Span(position, position, end)
        position = _skip(text, end)
        if text[position] == ",":
            position = _skip(text, position + 1)


def _skip(text: str, position: int) -> int:
    return _BLANK.match(text, position).end()  # type: ignore[union-attr]


def _refuse_constant(name: str) -> None:
    raise ValueError(name)
