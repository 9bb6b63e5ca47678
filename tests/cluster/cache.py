"""The cache outside the tree: what was compiled or built once, each thing published whole under a key of its inputs."""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.cluster.locks import locked

_IN_USE = 300
"""Seconds for which a published thing counts as in use after it was asked for."""


def cache_directory() -> Path:
    """`${XDG_CACHE_HOME:-~/.cache}/regkeeper`."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "regkeeper"


def key_of(*parts: bytes | str) -> str:
    """A short key of the given inputs, in order."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:16]


def published(path: Path, make: Callable[[Path], None]) -> Path:
    """Return `path`, made first if it is missing: a file or a directory that is either whole or absent.

    Args:
        path: where it stands; its name holds the key of its inputs.
        make: called with the path of a file or directory to create, beside `path`. Two processes never make the same
            thing at once.
    """
    if path.exists():
        os.utime(path)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(f".{path.name}.lock")):
        if not path.exists():
            workplace = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
            try:
                make(workplace / "made")
                (workplace / "made").rename(path)
            finally:
                shutil.rmtree(workplace, ignore_errors=True)
    return path


def forget_others(current: Path, pattern: str) -> None:
    """Remove what earlier inputs left: everything beside `current` that matches `pattern` and is not in use."""
    # Clusters that start side by side tidy up at the same time.
    with locked(current.parent / ".forgetting.lock"):
        for other in current.parent.glob(pattern):
            if other != current and time.time() - other.stat().st_mtime > _IN_USE:
                shutil.rmtree(other) if other.is_dir() else other.unlink()


def content_of(paths: Iterable[Path]) -> bytes:
    """The names, the content and the right to execute of files, as one input of `key_of`; directories are walked."""
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(path.parent)}\0{file.stat().st_mode & 0o111}\0".encode())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.digest()
