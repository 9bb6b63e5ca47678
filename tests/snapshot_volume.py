"""The parts of a snapshot as kubelet brings them into a pod."""

from collections.abc import Sequence
from pathlib import Path

from regkeeper.snapshot import Part


def mount(directory: Path, parts: Sequence[Part]) -> None:
    """Every part in the directory of its number."""
    for number, part in enumerate(parts):
        mount_part(directory / str(number), part)


def mount_part(volume: Path, part: Part) -> None:
    """As kubelet's atomic writer does: the files appear at once, by the rename of `..data`."""
    volume.mkdir(exist_ok=True)
    moment = volume / f"..{len(list(volume.iterdir()))}"
    moment.mkdir()
    if part.content:
        (moment / "header").write_text(part.header)
        (moment / "part").write_bytes(part.content)
    (volume / "..data_tmp").symlink_to(moment.name)
    (volume / "..data_tmp").rename(volume / "..data")
