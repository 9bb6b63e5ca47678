"""`regkeeper delete`: delete tags, manifests or repositories by name."""

import sys
from typing import Annotated
from urllib.parse import urlsplit

import typer
from msgspec.structs import replace

from regkeeper.commands.answering import failures
from regkeeper.commands.change_options import Change, changing_command
from regkeeper.commands.deletion import Deletion
from regkeeper.commands.performing import perform
from regkeeper.commands.volume_options import InUseFile, read_in_use, seconds
from regkeeper.retention.errors import RefusedError
from regkeeper.retention.moments import SECOND
from regkeeper.retention.planning.plan import Plan
from regkeeper.retention.policies.intent import Intent, deletion_intent
from regkeeper.retention.policies.patterns import matcher
from regkeeper.retention.policies.presence import absent
from regkeeper.retention.policies.references import (
    ForeignAddressError,
    InvalidReferenceError,
    Reference,
    parse_reference,
)
from regkeeper.retention.quarantine.moves import Kind
from regkeeper.retention.runs import session
from regkeeper.retention.wording import count

UNTAGGED_AGE = "24h"
"""Untagged manifests that are younger stay unless --older-than says otherwise: a push sets the tag last."""

app = typer.Typer(add_completion=False)


@app.command()
@changing_command
def delete(
    references: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="REF…",
            help="repo:tag, repo@sha256:…, repo:tag@sha256:… (only if it still points there); globs; - reads them "
            "from standard input.",
        ),
    ] = None,
    *,
    change: Change,
    repository: Annotated[
        bool, typer.Option("--repository", help="A REF without tag and digest is a whole repository.")
    ] = False,
    untagged: Annotated[
        bool,
        typer.Option(
            "--untagged", help="Untagged manifests of the named repositories, or of all, once they are 24 h old."
        ),
    ] = False,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Only what was pushed, or became untagged, longer ago (30d, 12h).")
    ] = None,
    missing_ok: Annotated[bool, typer.Option("--missing-ok", help="A REF that names nothing is no failure.")] = False,
    any_address: Annotated[
        bool, typer.Option("--any-address", help="REFs may begin with any registry's address.")
    ] = False,
    undo_window: Annotated[
        str, typer.Option(metavar="AGE", help="How long `restore` can bring it back; 0s: not at all.")
    ] = "24h",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    in_use: InUseFile = None,
) -> None:
    """Delete by name: into a quarantine, from which `restore` brings it back until it is purged. All or nothing.

    A REF that names nothing, or something that tags, indexes or --in-use need, refuses all. A pattern that names more
    than one tag asks on a terminal, and wants --yes elsewhere.

    Exit status: 0 done or nothing to do, 1 refused or failed, 2 wrong usage, 3 done, but something can't be read and
    was kept, or could not be removed.
    """
    texts = _texts(references or [])
    if not texts and not untagged:
        raise typer.BadParameter("nothing is named: say what to delete, or --untagged", param_hint="REF")
    parsed = [_parse(text, registry=change.registry, any_address=any_address) for text in texts]
    intent = _intent(
        parsed,
        repository=repository,
        untagged=untagged,
        older_than=None if older_than is None else seconds(older_than, "--older-than"),
        undo_window=seconds(undo_window, "--undo-window"),
    )
    with failures(as_json=change.as_json):
        used = read_in_use(in_use)
        if not missing_ok and not dry_run:
            with session.reading(change.root, change.journal) as seen:
                _refuse_missing(absent(seen.volume, parsed))
    change.note_unasked()
    patterns = any(not reference.exact for reference in intent.deletions)

    def accept(plan: Plan) -> None:
        _refuse_ambiguous(intent, plan)
        if not missing_ok:
            _refuse_missing([*plan.unmatched, *_looked_for_in_vain(parsed, plan)])
        kept = [item for item in plan.kept if _is_exact(item.asked, intent)]
        if kept:
            reasons = "; ".join(f"{item.asked}: {item.reason}" for item in kept)
            raise RefusedError(f"kept, so nothing was deleted: {reasons}")
        tags = plan.count(Kind.TAG)
        if patterns and tags > 1 and not yes and not dry_run:
            _confirm(tags)

    deletion = Deletion(
        command="delete",
        change=change,
        intent=intent,
        in_use=used,
        accept=accept,
        shows_all=untagged,  # which of these stay, and why, is told of nowhere else
    )
    perform(deletion, dry_run=dry_run)


def _refuse_missing(references: list[str]) -> None:
    if references:
        raise RefusedError(f"nothing is named {', '.join(references)}: nothing was deleted (--missing-ok)")


def _looked_for_in_vain(references: list[Reference], plan: Plan) -> list[str]:
    """The REFs of repositories that are not there; --untagged looks into such, and nothing is deleted by their name."""
    names = [entry.name for entry in plan.entries]
    return [
        reference.text
        for reference in references
        if reference.whole_repository and reference.text not in plan.unmatched
        if not any(map(reference.matches_repository, names))
    ]


def _texts(arguments: list[str]) -> list[str]:
    """The REFs, those of standard input in the place of `-`."""
    texts: list[str] = []
    for argument in arguments:
        if argument != "-":
            texts.append(argument)
            continue
        lines = [line.rstrip("\r\n") for line in sys.stdin]
        named = [line for line in lines if line.strip()]
        if not named:
            raise typer.BadParameter("standard input names nothing", param_hint="REF")
        texts += named
    return texts


def _parse(text: str, *, registry: str | None, any_address: bool) -> Reference:
    ours = _addresses(registry) if registry else frozenset()
    try:
        return parse_reference(text, strip_address=lambda address: any_address or address in ours)
    except ForeignAddressError as error:
        raise typer.BadParameter(f"{error}, or say --registry or --any-address", param_hint="REF") from None
    except InvalidReferenceError as error:
        raise typer.BadParameter(str(error), param_hint="REF") from None


def _addresses(registry: str) -> frozenset[str]:
    """How a registry's address may be written: as it was given, and with its port, as `regkeeper list` prints it."""
    url = urlsplit(registry)
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    return frozenset({url.netloc, f"{host}:{url.port or (443 if url.scheme == 'https' else 80)}"})


def _intent(
    references: list[Reference], *, repository: bool, untagged: bool, older_than: int | None, undo_window: int
) -> Intent:
    whole = [reference for reference in references if reference.whole_repository]
    if whole and not repository and not untagged:
        raise typer.BadParameter(
            f"{whole[0].text} is a whole repository: say --repository to delete it, or name a tag", param_hint="REF"
        )
    # With --untagged alone, a repository is named to look into it, not to delete it.
    deleted = references if repository else [item for item in references if not item.whole_repository]
    intent = deletion_intent(
        deleted,
        untagged_after=(seconds(UNTAGGED_AGE, "") if older_than is None else older_than) * SECOND if untagged else None,
        untagged_in=matcher([item.repository for item in references] or ["**"], regular_expressions=False),
        undo_window=undo_window * SECOND,
    )
    age = (older_than or 0) * SECOND
    return replace(intent, younger_than=age, older_than=age)


def _refuse_ambiguous(intent: Intent, plan: Plan) -> None:
    """Refuse a REF whose address is also how the name of a repository begins, as those of mirrors do."""
    for reference in intent.deletions:
        if not reference.address:
            continue
        namesakes = [entry.name for entry in plan.entries if entry.name.startswith(f"{reference.address}/")]
        if namesakes:
            raise RefusedError(
                f"{reference.text}: {reference.address} is taken for a registry's address, but {namesakes[0]} is a "
                "repository here: nothing was deleted. Leave the address out, or --any-address if the name is meant"
            )


def _is_exact(text: str, intent: Intent) -> bool:
    return any(reference.text == text and reference.exact for reference in intent.deletions)


def _confirm(tags: int) -> None:
    """Ask a person; elsewhere refuse."""
    if not sys.stdin.isatty():
        raise RefusedError(f"a pattern names {count(tags, 'tag')}: say --yes to delete them")
    if not typer.confirm(f"Delete {count(tags, 'tag')}?", err=True):
        raise RefusedError("not confirmed")
