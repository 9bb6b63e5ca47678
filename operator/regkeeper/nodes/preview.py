"""What the agent sees on a node and would do there, for the administrator who wants to look first."""

import difflib
import time
from collections.abc import Iterator, Sequence

from regkeeper.nodes.desired import TrustList, encode
from regkeeper.nodes.engine import Engine
from regkeeper.nodes.files import NodeFiles
from regkeeper.nodes.report import RuntimeReport
from regkeeper.nodes.runtime import Change
from regkeeper.nodes.runtimes import runtimes

_ASK_SECONDS = 25.0


def list_of(hosts: Sequence[str], node: str) -> bytes:
    """A list that makes one node trust these hosts.

    Raises:
        NodeProblemError: a host is none that may be trusted.
    """
    return encode(TrustList(generation=1, cluster="preview", sets=(tuple(hosts),), nodes={node: 0}))


def preview(document: bytes | None, *, node: str, root: str, diffs: bool) -> Iterator[str]:
    """Lines for a terminal. Nothing is changed; the runtimes are asked for the registries as they are now.

    Args:
        document: the list of registries.
        node: the name by which it names this node.
        root: where the node's `/` is seen.
        diffs: show each change of a file, too. Their lines may hold what the file holds (a proxy's password).
    """
    files = NodeFiles(root)
    engine = Engine(files, runtimes(files, settle_seconds=0), node=node)
    looks = engine.run(document, time.monotonic(), act=False)
    engine.verifier.wait(time.monotonic(), _ASK_SECONDS)
    engine.verifier.close()
    report = engine.report()
    for problem in (*report.problems, *([report.list_problem] if report.list_problem else [])):
        yield f"! {problem.words()}"
    for runtime in report.runtimes:
        yield from _runtime(runtime)
        changes = looks[runtime.runtime].changes
        yield from (f"  would {_verb(change)} {change.path}" for change in changes)
        if diffs:
            for change in changes:
                yield from _diff(change)
    if not report.runtimes and not report.problems:
        yield "no container runtime that regkeeper knows runs on this node"


def _runtime(runtime: RuntimeReport) -> Iterator[str]:
    yield f"{runtime.runtime} {runtime.version}".rstrip()
    said = set()
    for host in runtime.hosts:
        yield f"  {host.host}: {host.state}" + (f": {host.problem.words()}" if host.problem else "")
        if host.problem:
            said.add(host.problem.words())
    yield from (f"  ! {words}" for problem in runtime.problems if (words := problem.words()) not in said)


def _verb(change: Change) -> str:
    if change.before is None:
        return "create"
    return "remove" if change.after is None else "change"


def _diff(change: Change) -> Iterator[str]:
    before, after = ((data or b"").decode(errors="replace").splitlines() for data in (change.before, change.after))
    for line in difflib.unified_diff(before, after, change.path, change.path, lineterm="", n=1):
        yield f"    {line}"
