r"""The agent's report, and the proof that it is this agent's and fresh.

The operator asks with a nonce that it uses once; both sides know a key. What each signs names its direction, so that no
question can pass for an answer:

    GET /report HTTP/1.1
    X-Regkeeper-Nonce: <32 to 64 hexadecimal digits>
    X-Regkeeper-Signature: HMAC-SHA256(key, "regkeeper question 1\n" + nonce + "\n" + pod uid)

    200 OK
    X-Regkeeper-Signature: HMAC-SHA256(key, "regkeeper answer 1\n" + nonce + "\n" + body)
    <the Report as JSON, in which pod uid, node and nonce stand again>

A stranger's question gets 403 and nothing else. A recorded question, sent again, gets an answer under its old nonce,
which the operator no longer accepts.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from regkeeper.nodes.reasons import Problem, Reason

VERSION = 1
MAXIMUM_BYTES = 256 << 10
"""Of a report's body; 512 hosts at three runtimes take about half."""
MINIMUM_KEY_BYTES = 32

NONCE_HEADER = "X-Regkeeper-Nonce"
SIGNATURE_HEADER = "X-Regkeeper-Signature"

_NONCE = re.compile(r"[0-9a-f]{32,64}", re.ASCII)


class HostState(StrEnum):
    """What the runtime makes of a host."""

    TRUSTED = "Trusted"
    """The runtime reached the registry over plain HTTP."""
    CONFIGURED = "Configured"
    """The runtime says that it trusts the host, but nothing answered yet."""
    PENDING = "Pending"
    """Will be tried again by itself."""
    BLOCKED = "Blocked"
    """Somebody has to act; the reason says how."""


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="ignore", frozen=True)


class ReportedProblem(_Model):
    """A `Problem` on the wire."""

    reason: str = Field(max_length=64)
    facts: dict[str, str] = Field(default_factory=dict, max_length=8)

    def words(self) -> str:
        """A sentence for a person; the bare code if it is a newer agent's."""
        return Problem(Reason(self.reason), self.facts).words() if self.reason in set(Reason) else self.reason


class HostReport(_Model):
    """One host at one runtime."""

    host: str = Field(max_length=260)
    state: HostState
    ours: bool
    """False where the administrator had it already, or it needs no entry."""
    problem: ReportedProblem | None = None


class RuntimeReport(_Model):
    """One runtime of the node."""

    runtime: str = Field(max_length=32)
    version: str = Field("", max_length=64)
    hosts: tuple[HostReport, ...] = Field((), max_length=512)
    problems: tuple[ReportedProblem, ...] = Field((), max_length=16)
    """What concerns the runtime as a whole."""
    reverted: bool
    """Nothing of ours is left at this runtime."""


class Report(_Model):
    """What one agent did and saw."""

    version: int = VERSION
    node: str = Field(max_length=253)
    pod_uid: str = Field(max_length=64)
    nonce: str = Field("", max_length=64)
    generation: int = 0
    """Of the list that this is about; 0 before the first."""
    cluster: str = Field("", max_length=64)
    list_problem: ReportedProblem | None = None
    """Why the list that is there now is not carried out."""
    problems: tuple[ReportedProblem, ...] = Field((), max_length=16)
    """What concerns the node as a whole."""
    runtimes: tuple[RuntimeReport, ...] = Field((), max_length=16)


class ReportRefusedError(Exception):
    """A reply that is not to be believed; the message says what differed."""


class StaleReportError(ReportRefusedError):
    """A genuine reply about another generation; `problem` says why the agent has not carried the asked one out."""

    def __init__(self, problem: "ReportedProblem | None") -> None:
        super().__init__("its generation is another")
        self.problem = problem


def reported(problem: Problem) -> ReportedProblem:
    """The wire form, each fact cut to 200 characters so that a report stays bounded whatever a node holds."""
    return ReportedProblem(reason=problem.reason, facts={key: value[:200] for key, value in problem.facts.items()})


def question_headers(key: bytes, *, nonce: str, pod_uid: str) -> dict[str, str]:
    """What the operator sends."""
    return {NONCE_HEADER: nonce, SIGNATURE_HEADER: _sign(key, "question", nonce, pod_uid.encode())}


def question_is_genuine(key: bytes, headers: Mapping[str, str], *, pod_uid: str) -> bool:
    """True if these headers were signed with the key, for this pod."""
    nonce, signature = headers.get(NONCE_HEADER) or "", headers.get(SIGNATURE_HEADER) or ""
    if not _NONCE.fullmatch(nonce) or not signature.isascii():
        return False
    return hmac.compare_digest(signature, _sign(key, "question", nonce, pod_uid.encode()))


def encode_answer(key: bytes, report: Report, *, nonce: str) -> tuple[bytes, dict[str, str]]:
    """Body and headers of the answer to a genuine question."""
    body = report.model_copy(update={"nonce": nonce}).model_dump_json(by_alias=True, exclude_none=True).encode()
    return body, {SIGNATURE_HEADER: _sign(key, "answer", nonce, body)}


def decode_answer(
    key: bytes, body: bytes, headers: Mapping[str, str], *, nonce: str, node: str, pod_uid: str, generation: int
) -> Report:
    """Read an answer that was asked for.

    Args:
        key: the shared key.
        body: at most `MAXIMUM_BYTES`, which the caller's client enforces too.
        headers: of the response.
        nonce: of the question; never used before.
        node: name of the node of the pod that was asked.
        pod_uid: of that pod.
        generation: of the list that the report has to be about.

    Raises:
        ReportRefusedError: signature, nonce, node, pod uid or form differ.
        StaleReportError: only the generation differs.
    """
    if len(body) > MAXIMUM_BYTES:
        raise ReportRefusedError("it is too large")
    signature = headers.get(SIGNATURE_HEADER) or ""
    if not signature.isascii() or not hmac.compare_digest(signature, _sign(key, "answer", nonce, body)):
        raise ReportRefusedError("its signature is wrong")
    try:
        report = Report.model_validate_json(body)
    except ValidationError as error:
        raise ReportRefusedError("it is not a report") from error
    for name, expected, found in (
        ("version", VERSION, report.version),
        ("nonce", nonce, report.nonce),
        ("node", node, report.node),
        ("pod uid", pod_uid, report.pod_uid),
    ):
        if expected != found:
            raise ReportRefusedError(f"its {name} is another")
    if report.generation != generation:
        raise StaleReportError(report.list_problem)
    return report


def _sign(key: bytes, direction: str, nonce: str, payload: bytes) -> str:
    message = f"regkeeper {direction} {VERSION}\n{nonce}\n".encode() + payload
    return hmac.new(key, message, hashlib.sha256).hexdigest()
