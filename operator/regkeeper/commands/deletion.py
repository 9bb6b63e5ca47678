"""What `retain` and `delete` share: what was asked for, and how it is answered."""

from collections.abc import Callable, Mapping

import typer
from msgspec import Struct

from regkeeper.commands.answering import KEPT_AGAINST_WILL, answering, note, print_document
from regkeeper.commands.change_options import Change
from regkeeper.commands.volume_options import present
from regkeeper.retention.errors import RefusedError
from regkeeper.retention.planning.asking import Inquiry
from regkeeper.retention.planning.plan import Plan
from regkeeper.retention.planning.plan_files import Approved
from regkeeper.retention.planning.printing import print_plan
from regkeeper.retention.policies.in_use import InUse
from regkeeper.retention.policies.intent import Intent
from regkeeper.retention.processes.spread import processors


class Deletion(Struct, frozen=True, kw_only=True):
    """One `retain` or `delete` as it was asked for.

    Attributes:
        plan_now: `now` judges the plan alone, and is not the run's own, from which its undo window counts.
        approved: A plan whose victims alone may go, judged by its own time; None: no approval limits them.
        shows_all: A person is shown the repositories, too, that lose nothing.
        accept: Raises `RefusedError` for a plan that may not be carried out, or asks the person.
    """

    command: str
    change: Change
    intent: Intent
    in_use: InUse | None
    accept: Callable[[Plan], None]
    shows_all: bool = True
    plan_now: bool = False
    approved: Approved | None = None

    def inquiry(self, progress: Callable[[str], None]) -> Inquiry:
        """What the plan is asked for; `progress` is told of each repository that was read."""
        return Inquiry(
            intent=self.intent,
            in_use=self.in_use,
            mode=self.change.mode,
            approved=self.approved,
            processes=processors(),
            progress=progress,
        )

    def judged_at(self, now: int) -> int:
        """Nanoseconds since 1970 by which the plan's ages are judged, in a run that has its own `now`."""
        if self.approved is not None:
            return self.approved.now
        return present(self.change.now) if self.plan_now and self.change.now else now


def refusal_of(deletion: Deletion, plan: Plan) -> str:
    """Why a plan may not be carried out; empty: it may."""
    if plan.refusal:
        return plan.refusal
    try:
        deletion.accept(plan)
    except RefusedError as error:
        return str(error)
    return ""


def answer(deletion: Deletion, plan: Plan, further: Mapping[str, object]) -> None:
    """Print a plan for whoever asked: `further` stands beside it in the document."""
    if deletion.change.as_json:
        print_document({**plan.document(), **further})
    else:
        with answering():
            print_plan(plan, whole=deletion.shows_all)


def end(plan: Plan, refusal: str, *, stuck: bool = False) -> None:
    """End the command with the status that a plan, or its refusal, comes to; `stuck`: a purge left something."""
    if refusal:
        note(f"refused: {refusal}")
        raise typer.Exit(1)
    if plan.problems or stuck:
        raise typer.Exit(KEPT_AGAINST_WILL)
