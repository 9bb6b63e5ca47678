"""Runs about what earlier ones deleted: a purge frees it, an undo brings it back, a rescue what is in use of it."""

from msgspec.structs import replace

from regkeeper.answer import Answer, Outcome, Restored
from regkeeper.job.request import Request
from regkeeper.job.stillness import require_no_writers, require_quiet
from regkeeper.job.summary import with_purges
from regkeeper.retention.errors import RefusedError
from regkeeper.retention.policies.in_use import InUse
from regkeeper.retention.quarantine import marks, reserve
from regkeeper.retention.quarantine.history import due
from regkeeper.retention.runs.purge import purge as free
from regkeeper.retention.runs.recovery import recover
from regkeeper.retention.runs.restore import Restored as Back
from regkeeper.retention.runs.restore import undo, undoable
from regkeeper.retention.runs.restore_images import restore_used
from regkeeper.retention.runs.session import Session
from regkeeper.retention.wording import count, size_of

NOTHING_IN_USE = "nothing that can come back is in use"


def purge(request: Request, session: Session) -> Answer:
    """Free what is due."""
    volume, journals, now = session.volume, session.journals, session.present
    given_up = require_quiet(request, session)
    undone = sorted(recover(volume, journals, now=now).undone)
    purged = free(volume, journals, due(journals, volume, now), now=now, in_use=request.in_use, given_up=given_up)
    reserve.replenish(volume)
    if not purged.runs:
        if undone:
            return Answer(outcome=Outcome.DONE, message=f"finished the undo of run {', '.join(undone)}")
        return Answer(outcome=Outcome.NOTHING_TO_DO, message="nothing is due")
    answer = Answer(
        outcome=Outcome.DONE,
        message=f"freed {size_of(purged.bytes)}",
        restored=_restored(purged.returned) if purged.returned.moves else None,
    )
    return with_purges(answer, [purged])


def restore(request: Request, session: Session) -> Answer:
    """Undo a run, or end what its undo keeps."""
    wanted, volume, journals = request.document.restore, session.volume, session.journals
    if wanted is None:
        raise RefusedError("no run to restore is named")
    if wanted.forget:
        marks.forget(volume, wanted.run)
        message = f"what the undo of run {wanted.run} brought back is no longer kept for that"
        return Answer(outcome=Outcome.DONE, message=message, run=wanted.run)
    require_no_writers(request, session)
    recovered = recover(volume, journals, now=session.present)
    ended = {**recovered.rolled_back, **recovered.undone}
    back = ended.get(wanted.run) or undo(volume, journals, undoable(journals, wanted.run), session.present)
    reserve.replenish(volume)
    return replace(_came_back(back, [wanted.run]), run=wanted.run)


def rescue(request: Request, session: Session) -> Answer:
    """Bring back what is in use of all that was deleted."""
    volume, journals = session.volume, session.journals
    require_no_writers(request, session)
    recover(volume, journals, now=session.present)
    back = restore_used(volume, journals, require_in_use(request))
    reserve.replenish(volume)
    return _came_back(back, back.runs)


def require_in_use(request: Request) -> InUse:
    """The images in use.

    Raises:
        RefusedError: nobody was asked.
    """
    if request.in_use is None:
        raise RefusedError("the images in use are not told")
    return request.in_use


def _came_back(back: Back, runs: list[str]) -> Answer:
    return Answer(
        outcome=Outcome.DONE if back.moves else Outcome.NOTHING_TO_DO,
        message=f"{count(len(back.moves), 'entry')} back from run {', '.join(runs)}" if runs else NOTHING_IN_USE,
        restored=_restored(back),
        warnings=len(back.missing),
        texts=[f"{digest} is nowhere any more: what needs it can't be pulled" for digest in back.missing],
    )


def _restored(back: Back) -> Restored:
    newer = [f"{move.repository}:{move.name}" for move in back.newer]
    return Restored(entries=len(back.moves), newer=newer)
