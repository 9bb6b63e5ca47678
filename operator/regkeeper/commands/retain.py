"""`regkeeper retain`: delete what the rules of ImageRetention policies don't keep."""

import json
import re
from contextlib import nullcontext
from typing import Annotated
from urllib.parse import urlsplit

import typer

from regkeeper.commands.answering import failures, note
from regkeeper.commands.change_options import Change, changing_command
from regkeeper.commands.deletion import Deletion
from regkeeper.commands.performing import perform
from regkeeper.commands.volume_options import InUseFile, read_in_use
from regkeeper.retention.errors import RefusedError
from regkeeper.retention.moments import exact_moment
from regkeeper.retention.planning.early import reading_early
from regkeeper.retention.planning.plan import Plan
from regkeeper.retention.planning.plan_files import Approved, approved_plan, refuse_other_rules
from regkeeper.retention.policies.intent import Intent
from regkeeper.retention.policies.policy_process import PolicyProcess, UnreadablePolicyError, read_intent

_HASH = re.compile(r"[0-9a-f]{64}")

app = typer.Typer(add_completion=False)


@app.command()
@changing_command
def retain(
    context: typer.Context,
    *,
    change: Change,
    policy: Annotated[list[str], typer.Option(metavar="FILE", help="An ImageRetention manifest; repeatable.")],
    also_keep: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Policies that only keep; their ages and limits count too. Repeatable."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and change nothing.")] = False,
    approve: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|HASH",
            help="Carry out a plan although it exceeds a limit: the file that --dry-run --json printed, or only its "
            "hash.",
        ),
    ] = None,
    in_use: InUseFile = None,
) -> None:
    """Delete what policies don't keep: into a quarantine, from which `restore` brings it back until it is purged.

    A policy is a YAML file, such as {apiVersion: regkeeper.dev/v1alpha1, kind: ImageRetention, metadata: {name:
    newest}, spec: {registryRef: {name: any}, rules: [{repositories: ["boke/**"], keep: {last: 5}}]}}. Several make one
    plan: a tag goes if one covers it and none keeps it.

    A plan that exceeds a limit is refused until it is approved. --approve FILE, with what --dry-run --json printed,
    judges by the time of that plan, and of its victims those go that still are. --approve HASH --now TIME, as the
    refusal prints them, deletes only if the plan is still the same. The undo window begins when the run does.

    Exit status: 0 done or nothing to do, 1 refused or failed, 2 wrong usage, 3 done, but something can't be read and
    was kept, or could not be removed.
    """
    files = policy, also_keep or []
    process: PolicyProcess | None = context.obj
    if process is not None:
        process.ask(*files)
    plan_hash, approved = _approval(approve)

    def accept(plan: Plan) -> None:
        if approved is not None:
            refuse_other_rules(approved, plan.rules)
        if approve is not None and not plan.moves:
            plan.warnings.append("nothing is left of what was approved: the plan deletes nothing")
        elif plan_hash is not None and plan_hash != plan.hash:
            raise RefusedError(
                f"this is not the plan that was approved: its hash is {plan.hash}. The policies, --now or what they "
                "delete differ; nothing was deleted"
            )
        if plan.limits and approve is None:
            exceeded = "; ".join(limit.message for limit in plan.limits)
            raise RefusedError(f"{exceeded}. If that is meant: --approve {plan.hash} --now {exact_moment(plan.now)}")

    early = reading_early(change.root, change.journal, process) if process and dry_run else nullcontext()
    with failures(as_json=change.as_json), early as read:
        intent = _intent(process, *files)
        used = read_in_use(in_use, _hosts(intent, change.registry))
        if intent.in_use and used is None:
            note("images in use are not known (--in-use): none is kept for being used")
        if intent.used_elsewhere:
            note("`protect.references` is read on the cluster alone: list those images in --in-use too")
        if intent.dry_run and not dry_run:
            note("a policy says `dryRun: true`: nothing is changed")
        change.note_unasked()
        deletion = Deletion(
            command="retain",
            change=change,
            intent=intent,
            in_use=used,
            accept=accept,
            plan_now=plan_hash is not None,
            approved=approved,
        )
        perform(deletion, dry_run=dry_run or intent.dry_run, early=read)


def _approval(given: str | None) -> tuple[str | None, Approved | None]:
    """The hash that was given, or else the plan in the file."""
    if given is None or _HASH.fullmatch(given):
        return given, None
    try:
        with open(given, encoding="utf-8") as file:
            return None, approved_plan(json.load(file))
    except (OSError, ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{given}: {error}", param_hint="--approve") from None


def _hosts(intent: Intent, registry: str | None) -> frozenset[str] | None:
    """The names of the registry: those of the policies, and its own."""
    own = {urlsplit(registry).netloc} if registry else set()
    return None if intent.hosts is None else intent.hosts | own


def _intent(process: PolicyProcess | None, policies: list[str], also_keep: list[str]) -> Intent:
    try:
        return (process and process.answer()) or read_intent(policies, also_keep)
    except UnreadablePolicyError as error:
        raise typer.BadParameter(error.message, param_hint=error.option) from None
