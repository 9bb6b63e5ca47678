"""`regkeeper operator` as a process of a test, and what a test needs around it."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from uuid import uuid4

from regkeeper.kube.resources import (
    CLAIM,
    CRON_JOB,
    DEPLOYMENT,
    IMAGE_RETENTION,
    JOB,
    POD,
    REGISTRY,
    SERVICE,
    VOLUME,
)
from regkeeper.naming import REGISTRY_NAMESPACE_LABEL
from tests.cluster import Cluster
from tests.room import listed
from tests.waiting import wait_for

_MADE = (IMAGE_RETENTION, REGISTRY, CRON_JOB, JOB, DEPLOYMENT, POD, SERVICE, CLAIM)
"""What controllers are busy with as long as it is there, or others would take for in use."""

_START_TIMEOUT = 30  # seconds; takes 1
_STOP_TIMEOUT = 15  # seconds; takes a fraction of one on a quiet machine (tests/unit/test_handlers_watches.py)


@contextmanager
def a_namespace(
    cluster: Cluster, prefix: str = "test", labels: Mapping[str, str] | None = None, *, name: str | None = None
) -> Iterator[str]:
    """A namespace of a test's own. At the end all in it goes, with its Registries, which need no operator for that.

    Args:
        cluster: where.
        prefix: of its name, whose rest is new each time.
        labels: of it.
        name: its whole name instead.
    """
    name = name or f"{prefix}-{uuid4().hex[:8]}"
    api = cluster.api()
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels or {})}})
    try:
        yield name
    finally:
        for registry in listed(cluster, REGISTRY, name):
            if "finalizers" in registry["metadata"]:
                path = REGISTRY.path(name, registry["metadata"]["name"])
                api.merge(path, {"metadata": {"finalizers": None}})
        api.delete(f"{VOLUME.path(None)}?{urlencode({'labelSelector': f'{REGISTRY_NAMESPACE_LABEL}={name}'})}")
        for resource in _MADE:
            api.delete(resource.path(name))
        cluster.drop_namespace(name)


@dataclass
class OperatorProcess:
    """A running operator."""

    process: subprocess.Popen[bytes]
    log: Path
    probe_port: int
    metrics_port: int
    host: str = "127.0.0.1"
    """Where it serves them."""

    def probe(self, path: str) -> tuple[int, str]:
        """Status and text of `/livez` or `/readyz`; status 0 while nobody answers."""
        return _get(f"http://{self.host}:{self.probe_port}{path}")

    def metrics(self) -> str:
        """All metrics, as text."""
        return _get(f"http://{self.host}:{self.metrics_port}/metrics")[1]

    def log_lines(self) -> list[dict[str, Any]]:
        """What it logged so far."""
        # Not splitlines(): a message may quote U+0085 or U+2028. What follows the last newline is still being written.
        return [json.loads(line) for line in self.log.read_text().split("\n")[:-1]]


@contextmanager
def operator_process(
    kubeconfig: Path,
    directory: Path,
    environment: Mapping[str, str] | None = None,
    *,
    launcher: Sequence[str] = (),
    host: str = "127.0.0.1",
) -> Iterator[OperatorProcess]:
    """Run an operator until it is ready, and stop it as kubelet would; its log stays in `directory`.

    Args:
        kubeconfig: of its account.
        directory: for its log.
        environment: its settings.
        launcher: words before its command, of a program that becomes the command (`ip netns exec NAME`).
        host: where its ports are then reached.
    """
    probe_port, metrics_port = _free_port(), _free_port()
    log = directory / "operator.log"
    settings = {
        "KUBECONFIG": str(kubeconfig),
        "REGKEEPER_PROBE_PORT": str(probe_port),
        "REGKEEPER_METRICS_PORT": str(metrics_port),
        **(environment or {}),
    }
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*launcher, sys.executable, "-W", "error", "-m", "regkeeper", "operator"],
            env={**os.environ, **settings},
            stderr=output,
            stdout=output,
            start_new_session=True,
        )
    running = OperatorProcess(process, log, probe_port, metrics_port, host)
    try:
        wait_for(lambda: running.probe("/readyz")[0] == 200, _START_TIMEOUT, lambda: f"an operator: {log.read_text()}")
        yield running
        assert process.poll() is None, f"the operator ended by itself: {log.read_text()}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
    assert process.returncode == 0, f"the operator failed when it was told to end: {log.read_text()}"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status, response.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except (URLError, OSError):
        return 0, ""
