"""Real filesystems for tests: made in a file, and mounted."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def mounted(folder: Path, *mount: str) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", *mount, str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def formatted(image: Path, mebibytes: int, program: str, *options: str) -> Path:
    """A file with an empty filesystem, made by `mkfs.…`."""
    with image.open("wb") as file:
        file.truncate(mebibytes << 20)
    subprocess.run([program, "-q", *options, str(image)], check=True)
    return image
