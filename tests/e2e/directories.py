"""Directories of a node that nobody runs: where Registries of `storage.local` keep their images in passes of tests."""

import os
from pathlib import Path
from typing import Any
from uuid import uuid4

from regkeeper.settings import LocalStorageRule, Settings

RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid4().hex)[:4]
"""What all workers of one run of pytest-xdist, and no other run, put into their names."""
NODE = f"node-{RUN}-{os.environ.get('PYTEST_XDIST_WORKER', 'gw0')}"
"""Each worker of pytest-xdist has its own."""
HOSTNAME = "ip-10-0-0-1"
"""Its label kubernetes.io/hostname, which is not its name on EC2 and elsewhere."""
MOST_NAMESPACES = 80
"""Of the tests that use these directories: 61, and 69 with REGKEEPER_CASES; two more on each of three workers."""
# Short names: the policy on volumes repeats them for each directory, and the API server bounds its length.
NAMESPACES = tuple(f"p{RUN}-{number}" for number in range(MOST_NAMESPACES))
"""Those that may have the directories, each for one test."""
REGISTRIES = (
    "main",
    "undisturbed",
    "later",
    *(
        f"{kind}-{number}"
        for kind, most in (("write", 60), ("gone", 12), ("kept", 8), ("random", 12))
        for number in range(most)
    ),
)
"""Names of Registries that may have one, each its own: the chart's value `localStorage` lists exact directories."""


def local(registry: str) -> dict[str, Any]:
    """`storage` of the Registry of that name."""
    assert registry in REGISTRIES, f"the operator's account may not have a directory for {registry}"
    return {"local": {"node": NODE, "path": _path(registry)}}


def settings(namespace: str, registry: str) -> Settings:
    """Of an operator that lets that Registry have its directory."""
    rule = LocalStorageRule(namespaces=(namespace,), nodes=(NODE,), path=_path(registry))
    return Settings(local_storage=(rule,))


def take_namespace(folder: Path) -> str:
    """The name of a namespace that nobody has taken yet.

    Args:
        folder: where all workers of the run note which they took.

    Raises:
        RuntimeError: all are taken.
    """
    for name in NAMESPACES:
        try:
            (folder / f"{name}.taken").touch(exist_ok=False)
        except FileExistsError:
            continue
        return name
    raise RuntimeError(
        f"all {MOST_NAMESPACES} namespaces that may have directories are taken: raise MOST_NAMESPACES in {__file__}"
    )


def local_storage() -> list[dict[str, Any]]:
    """The chart's value `localStorage` that opens all of them to `NAMESPACES`, on every worker's node.

    The policies see a volume, which has the label of its node and not its name; `settings` are about the name.
    """
    return [{"namespaces": list(NAMESPACES), "nodes": [HOSTNAME], "path": _path(registry)} for registry in REGISTRIES]


def node() -> dict[str, Any]:
    """The node."""
    metadata = {"name": NODE, "labels": {"kubernetes.io/hostname": HOSTNAME}}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata}


def _path(registry: str) -> str:
    return f"/srv/{registry}"
