"""`regkeeper restore`: undo a run, or bring single images back."""

from typing import Annotated

import typer

from regkeeper.commands.answering import failures, note, print_document
from regkeeper.commands.change_options import Change, changing_command
from regkeeper.commands.reports import (
    note_recovered,
    note_restored,
    recovered_document,
    restored_document,
)
from regkeeper.retention.policies.references import InvalidReferenceError, Reference, parse_reference
from regkeeper.retention.quarantine import marks, reserve
from regkeeper.retention.runs.recovery import Recovered, recover
from regkeeper.retention.runs.restore import Restored, can_be_undone, last_undoable, nothing_to_undo, undo, undoable
from regkeeper.retention.runs.restore_images import restore_reference
from regkeeper.retention.runs.session import Session

app = typer.Typer(add_completion=False)


@app.command()
@changing_command
def restore(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]", help="The run to undo, as `regkeeper runs` names it; default: the last one not yet undone."
        ),
    ] = None,
    *,
    change: Change,
    ref: Annotated[
        str | None,
        typer.Option(
            metavar="REF", help="Bring back only this: repo:tag, repo@sha256:…, or a whole repo; globs match."
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Undo every run that can be undone.")] = False,
    forget: Annotated[
        bool,
        typer.Option("--forget", help="Bring nothing back: later runs may delete what the undo of RUN brought back."),
    ] = False,
) -> None:
    """Bring back what runs deleted and a purge has not freed. What was pushed since stays as it is.

    Later runs keep what came back, until the rules change or --forget; what a `delete` had taken, whatever the rules.

    Exit status: 0 done, 1 refused or failed, or nothing can come back, 2 wrong usage.

    With --json: `restored` (`runs`, `entries`, `bytes`, `newer`: tags that were pushed since, `missing`: digests
    and tags that are nowhere any more, since the image was incomplete before or was purged in part) and what earlier
    runs had left; with --forget `forgotten`, the run.
    """
    if sum((run is not None, ref is not None, every)) > 1:
        raise typer.BadParameter("RUN, --ref and --all exclude each other")
    if forget and run is None:
        raise typer.BadParameter("--forget needs the RUN whose undo is to be forgotten")
    reference = None if ref is None else _parse(ref)
    with failures(as_json=change.as_json), change.opened() as session:
        if forget and run is not None:
            marks.forget(session.volume, run)
            note(f"what the undo of run {run} brought back is no longer kept")
            if change.as_json:
                print_document({"outcome": "done", "forgotten": run})
            return
        change.note_unasked()
        change.refuse_writers(session)
        recovered = recover(session.volume, session.journals, now=session.present)
        note_recovered(recovered)
        restored = _restore(session, recovered, run, reference, every=every)
        reserve.replenish(session.volume)
        note_restored(restored)
    if change.as_json:
        print_document(
            {
                "outcome": "done",
                "restored": restored_document(restored),
                "recovered": recovered_document(recovered),
            }
        )


def _parse(text: str) -> Reference:
    try:
        return parse_reference(text)
    except InvalidReferenceError as error:
        raise typer.BadParameter(str(error), param_hint="--ref") from None


def _restore(
    session: Session, recovered: Recovered, run: str | None, reference: Reference | None, *, every: bool
) -> Restored:
    volume, journals = session.volume, session.journals
    if reference is not None:
        return restore_reference(volume, journals, reference, session.present)
    ended = {**recovered.rolled_back, **recovered.undone}
    if every:
        restored = Restored()
        for item in ended.values():
            restored.add(item)
        for each in [item.run for item in reversed(journals.all()) if can_be_undone(item)]:
            # As it is now: the undo of a later run may have written into it.
            restored.add(undo(volume, journals, journals.load(each), session.present))
        if not restored.runs:
            raise nothing_to_undo(journals.all())
        return restored
    if run in ended or (run is None and ended):
        # The run that had not ended was the last one, and it has just been put back.
        return ended[run or max(ended)]
    journal = last_undoable(journals) if run is None else undoable(journals, run)
    return undo(volume, journals, journal, session.present)
