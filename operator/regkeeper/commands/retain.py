"""`regkeeper retain`: delete what the rules of ImageRetention policies don't keep."""

from typing import Annotated
from urllib.parse import urlsplit

import typer

from regkeeper.commands.deletion import Deletion, plan_and_carry_out, plan_only
from regkeeper.commands.volume_options import (
    AsJson,
    EndTimeOption,
    InUseFile,
    JournalDirectory,
    ModeOption,
    Now,
    RegistryOption,
    Root,
    failures,
    note,
    read_in_use,
)
from regkeeper.retention.errors import RefusedError
from regkeeper.retention.moments import moment
from regkeeper.retention.plan import Plan
from regkeeper.retention.policy import Intent, InvalidPolicyError, Policy, merge, read_policies
from regkeeper.retention.quiet import Mode

app = typer.Typer(add_completion=False)


@app.command()
def retain(
    *,
    root: Root,
    policy: Annotated[list[str], typer.Option(metavar="FILE", help="ImageRetention manifests; repeatable.")],
    also_keep: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Policies that only keep; their ages and limits count too. Repeatable."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and change nothing.")] = False,
    approve: Annotated[
        str | None,
        typer.Option(
            metavar="HASH",
            help="Carry out the plan of this hash although it exceeds a limit, and no other. With the "
            "plan's own --now, pushes since then neither go nor count.",
        ),
    ] = None,
    in_use: InUseFile = None,
    mode: ModeOption = Mode.READ_ONLY,
    registry: RegistryOption = None,
    as_json: AsJson = False,
    now: Now = None,
    journal: JournalDirectory = None,
    end_time: EndTimeOption = None,
) -> None:
    """Delete what policies don't keep: into a quarantine, from which `restore` brings it back until it is purged.

    Several policies make one plan: a tag goes if one covers it and none keeps it.

    A plan that exceeds a limit is refused and prints the hash and the time that approve it. The approval is for its
    victims under its rules: if one of them was pushed again, or another would go, the hash differs and nothing is
    deleted. With --approve, --now judges the plan alone; the undo window begins when the run does.
    """
    intent = merge(_read(policy, "--policy"), _read(also_keep or [], "--also-keep"))
    with failures(as_json=as_json):
        used = read_in_use(in_use, _hosts(intent, registry))
    if intent.in_use and used is None:
        note("images in use are not known (--in-use): none is kept for being used")
    if registry is None:
        note("no registry was asked whether it takes pushes (--registry)")

    def accept(plan: Plan) -> None:
        if approve is not None and not plan.moves:
            plan.warnings.append("nothing is left of what was approved: the plan deletes nothing")
        elif approve is not None and approve != plan.hash:
            raise RefusedError(
                f"this is not the plan that was approved: its hash is {plan.hash}. The policies, --now or what they "
                "delete differ; nothing was deleted"
            )
        if plan.limits and approve is None:
            exceeded = "; ".join(limit.message for limit in plan.limits)
            raise RefusedError(f"{exceeded}. If that is meant: --approve {plan.hash} --now {moment(plan.now)}")

    deletion = Deletion(
        command="retain",
        root=root,
        intent=intent,
        in_use=used,
        accept=accept,
        mode=mode,
        registry=registry,
        as_json=as_json,
        now=now,
        approved=approve is not None,
        journal=journal,
        end_time=end_time,
    )
    (plan_only if dry_run else plan_and_carry_out)(deletion)


def _hosts(intent: Intent, registry: str | None) -> frozenset[str] | None:
    """The names of the registry: those of the policies, and its own."""
    own = {urlsplit(registry).netloc} if registry else set()
    return None if intent.hosts is None else intent.hosts | own


def _read(files: list[str], option: str) -> list[Policy]:
    policies = []
    for name in files:
        try:
            with open(name, encoding="utf-8") as file:
                policies += read_policies(file.read(), name)
        except (OSError, UnicodeDecodeError, InvalidPolicyError) as error:
            raise typer.BadParameter(str(error), param_hint=option) from None
    return policies
