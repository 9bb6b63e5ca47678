"""A plan for people: by repository what goes, what stays, and why each; in colour on a terminal, plain elsewhere."""

import sys
from collections.abc import Iterator
from enum import Enum
from itertools import islice
from typing import TextIO

from regkeeper.retention.moments import moment
from regkeeper.retention.planning.plan import Outcome, Plan, RepositoryPlan
from regkeeper.retention.quarantine.moves import Kind
from regkeeper.retention.volume import digests
from regkeeper.retention.wording import count, shown, size_of

_BATCH = 1000
"""Lines that are written at once."""


class Style(Enum):
    """How a line looks on a terminal, in rich's words."""

    HEADING = "bold"
    GOES = "red"
    STAYS = "green"
    WARNING = "yellow"
    PLAIN = ""


Line = tuple[Style, str]
"""How a line looks, and its text."""


def print_plan(plan: Plan, output: TextIO | None = None, *, whole: bool = True) -> None:
    """Write the plan, a line for each tag and manifest; to standard output if nothing else is given.

    `whole`: with the repositories that lose nothing.
    """
    output = output or sys.stdout
    if not output.isatty():
        every = lines(plan, whole=whole)
        while batch := [text for _, text in islice(every, _BATCH)]:
            output.write("\n".join([*batch, ""]))  # one call of the system each, even where Python does not buffer
        return
    from rich.console import Console  # only for a person who looks at it
    from rich.text import Text

    console = Console(file=output, soft_wrap=True)
    for style, text in lines(plan, whole=whole):
        console.print(Text(text, style=style.value))


def lines(plan: Plan, *, whole: bool = True) -> Iterator[Line]:
    """The plan, line by line; `whole` as for `print_plan`."""
    for entry in plan.entries:
        if whole or entry.loses_something:
            yield from _entry(entry)
    for upload in plan.moves.of(Kind.UPLOAD):
        yield Style.GOES, f"- upload {shown(upload.repository)} {shown(upload.name)}: nobody ended it"
    for leftover in plan.moves.of(Kind.LEFTOVER):
        yield Style.GOES, f"- {shown(leftover.name)}: a blob that the registry did not write to its end"
    for temporary in plan.moves.of(Kind.TEMPORARY):
        yield Style.GOES, f"- {shown(temporary.path)}: the registry did not write it to its end"
    for problem in plan.problems:
        yield Style.WARNING, f"! {shown(str(problem))}"
    for text in plan.unmatched:
        yield Style.WARNING, f"! delete: {shown(text)} names nothing"
    for prevented in plan.kept:
        where = f"{prevented.repository} {prevented.name}"
        yield Style.WARNING, f"! delete: {prevented.asked} asks for {shown(where)}, but it is kept: {prevented.reason}"
    for warning in plan.warnings:
        yield Style.WARNING, f"! {warning}"
    yield from _summary(plan)


def _entry(entry: RepositoryPlan) -> Iterator[Line]:
    size = f", {size_of(entry.deleted_bytes)} that it alone had" if entry.deleted_bytes else ""
    empty = ", nothing is left" if entry.empty else ""
    deleted = f"{entry.tags.deleted_count} of {count(len(entry.tags), 'tag')} to delete"
    yield Style.HEADING, f"{shown(entry.name)}: {deleted}{size}{empty}"
    goes, stays = Style.GOES, Style.STAYS
    for tag, time, going, reason in entry.tags.shown():
        pushed = (time and moment(time)) or "at an unknown time"
        if going:
            yield goes, f"  - {tag}  delete: {reason} · pushed {pushed}"
        else:
            yield stays, f"  + {tag}  kept: {reason} · pushed {pushed}"
    for digest, going, reason in entry.manifests.shown():
        name = digests.to_text(digest)
        if going:
            yield goes, f"  - {name}  delete: {reason}"
        else:
            yield stays, f"  + {name}  kept: {reason}"


def _summary(plan: Plan) -> Iterator[Line]:
    looked_at = f"Looked at {count(plan.repositories, 'repository')}"
    if plan.outcome is Outcome.NOTHING:
        yield Style.HEADING, f"{looked_at}, nothing to delete."
    else:
        parts = (
            count(plan.count(Kind.TAG), "tag"),
            count(plan.count(Kind.INDEX_REVISION, Kind.REVISION), "manifest"),
            count(plan.count(Kind.LAYER_LINK), "layer link"),
            count(plan.count(Kind.BLOB, Kind.MANIFEST_BLOB), "blob"),
        )
        frees = f"A purge then frees {size_of(plan.deleted_bytes)}."
        yield Style.HEADING, f"{looked_at}, to delete: {', '.join(parts)}. {frees}"
    for exceeded in plan.limits:
        yield Style.WARNING, f"! limit {exceeded.limit}: {shown(exceeded.message)}"
    if plan.refusal:
        yield Style.WARNING, f"! refused: {plan.refusal}"
    yield Style.PLAIN, f"Plan {plan.hash}"
