"""A small volume with everything that makes deletion hard, a policy for it, and which of its images are whole."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from tests.engine.volumes import DAY, Volume

KEEP_LAST = {"rules": [{"repositories": ["team/**"], "keep": {"last": 1}}], "delete": ["old/**"]}


def team_volume(root: Path) -> Volume:
    """Two tags that share a layer, an index, a signature, a nested repository, and one that goes as a whole."""
    volume = Volume(root)
    team = volume.repository("team/app")
    old = team.push_image("v1", layers=[b"base", b"one"], age=30 * DAY)
    team.push_signature(old, age=29 * DAY)
    team.push_image("v2", layers=[b"base", b"two"], age=10 * DAY)
    multi = volume.repository("team/app/multi")
    multi.push_index("v1", children=[multi.push_image(layers=[b"a"], age=20 * DAY)], age=20 * DAY)
    multi.push_image("v2", layers=[b"a"], age=5 * DAY)
    volume.repository("old/thing").push_image("latest", layers=[b"base"], age=90 * DAY)
    return volume


def whole_tags(root: Path) -> set[str]:
    """`repository:tag` of each image that can be pulled in full, found out without the engine."""
    v2 = f"{root}/docker/registry/v2"
    found = set()
    for folder, names, _ in os.walk(f"{v2}/repositories"):
        if "_manifests" in names:
            repository = os.path.relpath(folder, f"{v2}/repositories")
            found |= {f"{repository}:{tag}" for tag in _whole_tags_of(v2, folder)}
        names[:] = [name for name in names if not name.startswith("_")]
    return found


def _whole_tags_of(v2: str, repository: str) -> Iterator[str]:
    tags = f"{repository}/_manifests/tags"
    for tag in os.listdir(tags) if os.path.isdir(tags) else ():
        link = Path(f"{tags}/{tag}/current/link")
        if link.exists() and _is_whole(v2, repository, link.read_text()):
            yield tag


def _is_whole(v2: str, repository: str, digest: str) -> bool:
    algorithm, _, name = digest.partition(":")
    revision = f"{repository}/_manifests/revisions/{algorithm}/{name}/link"
    if not os.path.isfile(_data(v2, digest)) or not os.path.isfile(revision):
        return False
    with open(_data(v2, digest), "rb") as data:
        document = json.load(data)
    blobs = [document["config"], *document["layers"]] if "config" in document else []
    return all(_is_whole(v2, repository, child["digest"]) for child in document.get("manifests", ())) and all(
        os.path.isfile(_data(v2, blob["digest"]))
        and os.path.isfile(f"{repository}/_layers/{blob['digest'].replace(':', '/')}/link")
        for blob in blobs
    )


def _data(v2: str, digest: str) -> str:
    algorithm, _, name = digest.partition(":")
    return f"{v2}/blobs/{algorithm}/{name[:2]}/{name}/data"
