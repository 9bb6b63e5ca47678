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
        # Lazily: the traceback of a test that failed holds directories open, and what stayed mounted
        # would break the next test run, whose pytest can't remove the folder.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def formatted(image: Path, mebibytes: int, program: str, *options: str) -> Path:
    """A file with an empty filesystem, made by `mkfs.…`."""
    with image.open("wb") as file:
        file.truncate(mebibytes << 20)
    subprocess.run([program, "-q", *options, str(image)], check=True)
    return image
