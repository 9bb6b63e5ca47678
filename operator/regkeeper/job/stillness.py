"""Waits until a run may take its volume for quiet: the registry says so itself, and no push goes on."""

import time
from collections.abc import Container

from regkeeper.job.request import Request
from regkeeper.retention.errors import StoppedError, UnansweredError
from regkeeper.retention.runs.quiet import Upload, uploads
from regkeeper.retention.runs.session import Session, refuse_writers

ANSWER_SECONDS = 30.0
"""How long a node may take to know what a Service's address leads to."""
STILL_SECONDS = 15.0
"""For which an upload must not be touched, once no registry of ours takes pushes, so that it counts as given up."""


def require_quiet(request: Request, session: Session) -> Container[Upload]:
    """Check that nothing writes to the volume; the uploads that the switch has cut off.

    Whoever pushed to our registry can't go on: its pods that took pushes are gone, and those that came answer 405. Its
    uploads would look for ten minutes as if something wrote. Who goes on with one all the same is another writer, and
    is then refused by what the upload says.

    Raises:
        NotQuietError, UnansweredError: the registry takes pushes, or nobody knows.
        StoppedError: the run was told to stop.
    """
    require_no_writers(request, session)
    now = time.time_ns()
    found = {upload for upload in uploads(session.volume) if upload.age(now=now, clock=now) is not None}
    if not found or request.document.registry is None:
        return ()
    deadline = time.monotonic() + STILL_SECONDS
    while time.monotonic() < deadline:
        _pause(session)
    given_up = found.intersection(uploads(session.volume))
    for upload in sorted(given_up):
        print(f"an upload to {upload.repository} ({upload.name}) was cut off by the switch; its push has to begin anew")
    return given_up


def require_no_writers(request: Request, session: Session) -> None:
    """Refuse as `refuse_writers` does, but wait while nobody knows.

    A node's kube-proxy hears a moment after the operator that a registry's pod has begun to serve, or is gone; until
    then its Service's address leads to nobody, or out of the cluster.
    """
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            refuse_writers(session.volume, request.mode, request.document.registry)
        except UnansweredError:
            if time.monotonic() >= deadline:
                raise
            _pause(session)
        else:
            return


def _pause(session: Session) -> None:
    time.sleep(0.2)
    if reason := session.volume.stop():
        raise StoppedError(f"{reason}: stopped before anything was changed")
