"""A small volume with everything that makes deletion hard, a policy for it, and which of its images are whole."""

import json
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
    v2 = root / "docker/registry/v2"
    found = set()
    for link in v2.glob("repositories/**/_manifests/tags/*/current/link"):
        repository = link.parents[4]
        if _is_whole(v2, repository, link.read_text()):
            found.add(f"{repository.relative_to(v2 / 'repositories')}:{link.parents[1].name}")
    return found


def _is_whole(v2: Path, repository: Path, digest: str) -> bool:
    algorithm, _, name = digest.partition(":")
    data = v2 / "blobs" / algorithm / name[:2] / name / "data"
    if not data.is_file() or not (repository / "_manifests/revisions" / algorithm / name / "link").is_file():
        return False
    document = json.loads(data.read_bytes())
    blobs = [document["config"], *document["layers"]] if "config" in document else []
    return all(_is_whole(v2, repository, child["digest"]) for child in document.get("manifests", ())) and all(
        (
            v2 / "blobs" / algorithm / (hexadecimal := blob["digest"].partition(":")[2])[:2] / hexadecimal / "data"
        ).is_file()
        and (repository / "_layers" / algorithm / hexadecimal / "link").is_file()
        for blob in blobs
    )
