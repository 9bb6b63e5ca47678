"""Runs in a node, as the agent would: passes with one list, then prints the report. Not a test.

Reads one JSON object from stdin: `document` (the list, text or null), `passes`, `settle_seconds`, `kill_before` (stop
this process with SIGKILL ahead of the n-th file operation, from 0), `fail_before` with `errno` (an OSError in its place).
Prints `{"report": …, "operations": …}`.
"""

import json
import os
import signal
import sys
import time

from regkeeper.nodes.engine import Engine
from regkeeper.nodes.files import NodeFiles
from regkeeper.nodes.runtimes import runtimes


def main() -> None:
    asked = json.load(sys.stdin)
    operations: list[str] = []

    def before(operation: str, path: str) -> None:
        if len(operations) == asked.get("kill_before"):
            os.kill(os.getpid(), signal.SIGKILL)
        operations.append(f"{operation} {path}")
        if len(operations) - 1 == asked.get("fail_before"):
            raise OSError(asked["errno"], os.strerror(asked["errno"]))

    files = NodeFiles("/", before)
    engine = Engine(files, runtimes(files, settle_seconds=asked.get("settle_seconds", 0.3)), node="node")
    document = asked.get("document")
    for _ in range(asked.get("passes", 1)):
        engine.run(None if document is None else document.encode(), time.monotonic(), act=asked.get("act", True))
    engine.verifier.wait(time.monotonic(), 25)
    report = engine.report().model_dump(mode="json", by_alias=True)
    print(json.dumps({"report": report, "operations": operations}))
    engine.verifier.close()


if __name__ == "__main__":
    main()
