"""What deletion scripts do for each tag, and no more: read every manifest of the volume to see what is shared.

A program of its own, `python deletion_script.py ROOT REPOSITORY:TAG`, so that it imports as little as they do.
"""

import json
import sys
from pathlib import Path


def own_layers(root: Path, reference: str) -> set[str]:
    """The layers that the tag alone has."""
    name, _, tag = reference.partition(":")
    repositories = root / "docker/registry/v2/repositories"
    blobs = root / "docker/registry/v2/blobs/sha256"
    mine: set[str] = set()
    others: set[str] = set()
    target = (repositories / name / "_manifests/tags" / tag / "current/link").read_text().removeprefix("sha256:")
    for revision in repositories.glob("*/*/_manifests/revisions/sha256/*/link"):
        digest = revision.read_text().removeprefix("sha256:")
        manifest = json.loads((blobs / digest[:2] / digest / "data").read_bytes())
        named = {manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])}
        (mine if digest == target else others).update(named)
    return mine - others


if __name__ == "__main__":
    print("\n".join(own_layers(Path(sys.argv[1]), sys.argv[2])))
