"""`regkeeper job plan` and `regkeeper job run`: the two containers of a run's pod. The operator starts them."""

import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Annotated

import typer
from msgspec.structs import replace

from regkeeper.answer import Answer, AnswerError, Outcome, decode, encode
from regkeeper.commands.answering import note
from regkeeper.errors import RegkeeperError
from regkeeper.job import stages
from regkeeper.job.request import Request, read_request
from regkeeper.retention.errors import NothingToUndoError, RefusedError, StoppedError
from regkeeper.retention.moments import SECOND, parse_moment
from regkeeper.snapshot import Snapshot, Stage, read, wait_for_run

app = typer.Typer(add_completion=False, no_args_is_help=True)


@dataclass(frozen=True)
class _Pod:
    """Where the pod has what, and whose it is."""

    root: str
    snapshot: str
    handover: str
    termination_log: str
    job_uid: str


@app.callback()
def job(
    context: typer.Context,
    *,
    root: Annotated[str, typer.Option(help="Where the registry's volume is mounted.")] = "/var/lib/registry",
    snapshot: Annotated[
        str, typer.Option(help="Where the parts of the snapshot are mounted.")
    ] = "/var/run/regkeeper/snapshot",
    handover: Annotated[str, typer.Option(help="File in which `plan` leaves its answer.")] = "/run/regkeeper/plan",
    termination_log: Annotated[
        str, typer.Option(help="File in which kubelet looks for the answer.")
    ] = "/dev/termination-log",
    job_uid: Annotated[str, typer.Option(envvar="JOB_UID", help="UID of the Job, which the snapshot must be for.")],
) -> None:
    """The two steps of a run on the cluster, each a container of its Job's pod."""
    context.obj = _Pod(root, snapshot, handover, termination_log, job_uid)


@app.command()
def plan(context: typer.Context) -> None:
    """Print what would go, and answer whether the registry has to be made quiet for it. Changes nothing."""
    pod: _Pod = context.obj

    def work() -> Answer:
        seen = read(pod.snapshot, pod.job_uid)
        if seen.stage is Stage.RUN:
            return Answer(outcome=Outcome.SKIPPED, message="the run may go on at once")
        return stages.plan(_request(seen, pod.job_uid), pod.root)

    _answer(work, pod.termination_log, pod.handover)


@app.command()
def run(context: typer.Context) -> None:
    """Wait until the registry is quiet, then do what is asked for. Repeats the answer of `plan` if that is final."""
    pod: _Pod = context.obj

    def work() -> Answer:
        before = _handed_over(pod.handover)
        seen = read(pod.snapshot, pod.job_uid)
        if before.outcome in (Outcome.SWITCH, Outcome.SKIPPED) and seen.stage is not Stage.RUN:
            seen = wait_for_run(pod.snapshot, pod.job_uid, parse_moment(seen.document.end_time) / SECOND, time.time)
        return replace(stages.run(_request(seen, pod.job_uid), pod.root, before), told=seen.generation)

    _answer(work, pod.termination_log)


def _request(seen: Snapshot, job_uid: str) -> Request:
    return read_request(job_uid, seen.document)


def _handed_over(handover: str) -> Answer:
    try:
        with open(handover, "rb") as file:
            return decode(file.read())
    except (OSError, AnswerError) as error:
        raise RegkeeperError(f"the answer of `plan` is not there: {error}") from error


def _answer(work: Callable[[], Answer], *files: str) -> None:
    """Leave the answer in the files; exit status 1 only if it is a failure."""
    try:
        with _stoppable():
            answer = work()
    except (RefusedError, NothingToUndoError) as error:
        answer = Answer(outcome=Outcome.REFUSED, message=str(error))
    except RegkeeperError as error:
        answer = Answer(outcome=Outcome.FAILED, message=str(error))
    except Exception as error:
        traceback.print_exc()
        answer = Answer(outcome=Outcome.FAILED, message=f"{type(error).__name__}: {error}")
    note(f"{answer.outcome}: {answer.message}")
    content = encode(answer)
    for file in files:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), "wb") as output:
            output.write(content)
    if answer.outcome is Outcome.FAILED:
        raise typer.Exit(1)


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM ends even the first process of a container, to which its default action does nothing."""
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise StoppedError(f"{signal.Signals(number).name}: stopped before anything was changed")
