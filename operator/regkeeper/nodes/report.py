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
from typing import Annotated

import msgspec

from regkeeper.nodes.desired import MAXIMUM_HOSTS
from regkeeper.nodes.reasons import Problem, Reason

VERSION = 1
MAXIMUM_BYTES = 2 << 20
"""Of a report's body, whose parts are bounded so that none is larger; one with ten hosts has 1 KiB."""
MAXIMUM_EXPLAINED = 64
"""Hosts of one runtime of which a report says why they are not trusted; further ones have their state alone."""
MAXIMUM_FACT = 200
"""Characters of one fact."""
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


Short = Annotated[str, msgspec.Meta(max_length=64)]
Name = Annotated[str, msgspec.Meta(max_length=260)]
Facts = Annotated[dict[str, Name], msgspec.Meta(max_length=8)]


class ReportedProblem(msgspec.Struct, frozen=True, rename="camel"):
    """A `Problem` on the wire."""

    reason: Short
    facts: Facts = {}

    def words(self) -> str:
        """A sentence for a person; the bare code if it is a newer agent's."""
        return Problem(Reason(self.reason), self.facts).words() if self.reason in set(Reason) else self.reason


class HostReport(msgspec.Struct, frozen=True, rename="camel"):
    """One host at one runtime."""

    host: Name
    state: HostState
    ours: bool
    """False where the administrator had it already, or it needs no entry."""
    problem: ReportedProblem | None = None


Problems = Annotated[tuple[ReportedProblem, ...], msgspec.Meta(max_length=16)]
Hosts = Annotated[tuple[HostReport, ...], msgspec.Meta(max_length=MAXIMUM_HOSTS)]


class RuntimeReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One runtime of the node."""

    runtime: Short
    version: Short = ""
    hosts: Hosts = ()
    problems: Problems = ()
    """What concerns the runtime as a whole."""
    reverted: bool
    """Nothing of ours is left at this runtime."""


Runtimes = Annotated[tuple[RuntimeReport, ...], msgspec.Meta(max_length=16)]


class Report(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What one agent did and saw. Unknown fields are a newer agent's and passed over."""

    version: int = VERSION
    node: Name
    pod_uid: Short
    nonce: Short = ""
    generation: int = 0
    """Of the list that this is about; 0 before the first."""
    mounted: int | None = None
    """Of the list that is there now, of which a pass may be making something; None: none that can be read.

    Older agents do not say it.
    """
    cluster: Short = ""
    list_problem: ReportedProblem | None = None
    """Why the list that is there now is not carried out."""
    problems: Problems = ()
    """What concerns the node as a whole."""
    runtimes: Runtimes = ()


class ReportRefusedError(Exception):
    """A reply that is not to be believed; the message says what differed."""


class StaleReportError(ReportRefusedError):
    """A genuine reply about another `generation`; `problem` says why the agent has not carried the asked one out.

    `mounted` is the generation that it has got, if it says so: it may be at work on that.
    """

    def __init__(self, generation: int, problem: "ReportedProblem | None", mounted: int | None) -> None:
        super().__init__("its generation is another")
        self.generation = generation
        self.problem = problem
        self.mounted = mounted


def reported(problem: Problem) -> ReportedProblem:
    """The wire form, each fact cut short, so that a report stays bounded whatever a node holds."""
    return ReportedProblem(
        reason=problem.reason, facts={key: value[:MAXIMUM_FACT] for key, value in problem.facts.items()}
    )


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
    body = msgspec.json.encode(msgspec.structs.replace(report, nonce=nonce))
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
        report = msgspec.json.decode(body, type=Report)
    except msgspec.DecodeError as error:
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
        problem = report.list_problem or next(iter(report.problems), None)
        raise StaleReportError(report.generation, problem, report.mounted)
    return report


def _sign(key: bytes, direction: str, nonce: str, payload: bytes) -> str:
    message = f"regkeeper {direction} {VERSION}\n{nonce}\n".encode() + payload
    return hmac.new(key, message, hashlib.sha256).hexdigest()
