"""A snapshot's document in the engine's terms."""

from dataclasses import dataclass

from regkeeper.api.v1alpha1.retention_spec import Approval
from regkeeper.retention.errors import RefusedError
from regkeeper.retention.moments import parse_moment
from regkeeper.retention.policies.in_use import InUse, InvalidInUseError
from regkeeper.retention.policies.intent import Intent
from regkeeper.retention.policies.policy import InvalidPolicyError, Policy, merge, parse_policy
from regkeeper.retention.runs.quiet import Mode
from regkeeper.snapshot import Document


@dataclass(frozen=True)
class Request:
    """What a run is asked to do.

    Attributes:
        job: UID of the Job.
        document: As it was read.
        end: Nanoseconds since 1970, by this machine's clock, after which nothing is changed.
        intent: Of the policy and those that only keep; None: there is no policy any more.
        approval: Which plans wait for one.
        in_use: None: nobody was asked.
    """

    job: str
    document: Document
    end: int
    intent: Intent | None
    approval: Approval
    in_use: InUse | None

    @property
    def mode(self) -> Mode:
        return Mode(self.document.mode)

    @property
    def what(self) -> Intent:
        """What the policy asks for.

        Raises:
            RefusedError: it is deleted.
        """
        if self.intent is None:
            raise RefusedError("the policy is deleted: nothing more goes by it")
        return self.intent


def read_request(job: str, document: Document) -> Request:
    """The request of a Job's document.

    Raises:
        RefusedError: a policy is invalid, an image in use is no reference, or images in use are wanted and not told.
    """
    try:
        policy = None if document.policy is None else parse_policy(document.policy, document.name)
        others = [_other(other) for other in document.others]
    except InvalidPolicyError as error:
        raise RefusedError(f"invalid policy: {error}. Nothing is deleted while it is so") from error
    intent = None if policy is None else merge([policy], others)
    if intent is not None and intent.in_use and document.in_use is None:
        raise RefusedError("the images in use are not told: they would count as unused")
    return Request(
        job=job,
        document=document,
        end=parse_moment(document.end_time),
        intent=intent,
        approval="WhenLimitExceeded" if policy is None else policy.spec.approval,
        in_use=None if document.in_use is None else _in_use(document, intent),
    )


def _other(manifest: dict[str, object]) -> Policy:
    metadata = manifest.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return parse_policy(manifest, str(name))


def _in_use(document: Document, intent: Intent | None) -> InUse:
    narrowed = None if intent is None or intent.hosts is None else intent.hosts | frozenset(document.hosts)
    in_use = InUse(narrowed)
    for reference, user in document.in_use or ():
        try:
            in_use.add(reference, user)
        except InvalidInUseError as error:
            raise RefusedError(f"in use by {user}: {error}. Nothing is deleted while it is so") from error
    return in_use
