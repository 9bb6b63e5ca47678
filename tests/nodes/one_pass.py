"""Runs in a node, as the agent would: each line of stdin asks for one run of the agent, in a process of its own.

A line is a JSON object: `document` (the list or null), `passes`, `settle_seconds`, `kill_before` (SIGKILL ahead of the
n-th file operation, from 0), `fail_before` with `errno` (an OSError there), `rewrite` (what somebody else writes into
daemon.json between passes), `meanwhile` (what somebody else writes into it once, ahead of the agent's n-th file
operation, `write_before`, or of the first that would replace it). The answer is a line too: `{"report": …,
"operations": …}`, or `{"killed": true}`.
Forking spares each run the 0.3 s of Python's imports.
"""

import gc
import json
import os
import signal
import sys
import time
from typing import Any

import msgspec

from regkeeper.nodes.engine import Engine
from regkeeper.nodes.files import NodeFiles
from regkeeper.nodes.runtimes import runtimes

FILE = "/etc/docker/daemon.json"


def run(asked: dict[str, Any]) -> dict[str, Any]:
    operations: list[str] = []

    def before(operation: str, path: str) -> None:
        if len(operations) == asked.get("kill_before"):
            os.kill(os.getpid(), signal.SIGKILL)
        replaces = path == FILE and operation in ("rename", "remove")
        if len(operations) == asked["write_before"] if "write_before" in asked else replaces:
            write(asked.pop("meanwhile", None))
        operations.append(f"{operation} {path}")
        if len(operations) - 1 == asked.get("fail_before"):
            raise OSError(asked["errno"], os.strerror(asked["errno"]))

    files = NodeFiles("/", before)
    engine = Engine(files, runtimes(files, settle_seconds=asked["settle_seconds"]), node="node")
    document = asked["document"]
    for number in range(asked.get("passes", 1)):
        if number:
            write(asked.get("rewrite"))
        engine.run(None if document is None else document.encode(), time.monotonic(), act=asked.get("act", True))
    engine.verifier.wait(time.monotonic(), 25)
    return {"report": msgspec.to_builtins(engine.report()), "operations": operations}


def write(content: str | None) -> None:
    """As another program would, in place."""
    if content is not None:
        with open(FILE, "w") as file:
            file.write(content)


def main() -> None:
    # A run neither looks through what it shares with this process nor copies it by that.
    gc.disable()
    gc.freeze()
    for line in sys.stdin:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            with os.fdopen(writer, "w") as answer:
                json.dump(run(json.loads(line)), answer)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            answer_line = pipe.read()
        _, status = os.waitpid(child, 0)
        killed = os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        print('{"killed": true}' if killed else answer_line, flush=True)


if __name__ == "__main__":
    main()
