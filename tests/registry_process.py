"""A real registry as a child process on loopback."""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from tests.cluster.programs import REGISTRY
from tests.waiting import wait_for

CONFIG = """\
version: 0.1
log: {accesslog: {disabled: true}, level: info, formatter: text}
storage: {filesystem: {}, delete: {enabled: true}}
http: {headers: {X-Regkeeper-Registry: [uid-of-the-registry]}}
"""

DEBIAN_PROGRAM = "/usr/bin/docker-registry"

_LISTENING = re.compile(r"listening on (127\.0\.0\.1:[0-9]+)")


@contextmanager
def serve_registry(
    program: str, folder: Path, settings: Mapping[str, str] | None = None, *, config: str | None = None
) -> Iterator[str]:
    """Run a registry on a port that the kernel chooses, and give its URL.

    Args:
        program: path of distribution's `registry`, 2.8 or 3.x.
        folder: an existing directory; the volume is its `volume`.
        settings: further environment, `REGISTRY_*`.
        config: text of a config.yml of the test's own; address and volume are set over it.
    """
    file, log, volume = folder / "config.yml", folder / "log", folder / "volume"
    file.write_text(CONFIG if config is None else config)
    environment = {
        "PATH": os.environ["PATH"],
        "OTEL_TRACES_EXPORTER": "none",
        "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(volume),
        "REGISTRY_HTTP_ADDR": "127.0.0.1:0",
        **(settings or {}),
    }
    with log.open("w") as output:
        process = subprocess.Popen(
            [program, "serve", str(file)], stdout=output, stderr=subprocess.STDOUT, env=environment
        )
    try:

        def address() -> str | None:
            assert process.poll() is None, log.read_text()
            match = _LISTENING.search(log.read_text())
            return match[1] if match else None

        yield f"http://{wait_for(address, 10, log.read_text)}"
    finally:
        process.terminate()
        process.wait(10)


def registry_program(version: Literal["2.8", "3.1"]) -> str:
    """Path of distribution's program: "2.8" is Debian's package, "3.1" is compiled once, from its Go module."""
    return DEBIAN_PROGRAM if version == "2.8" else str(REGISTRY.program("registry"))
