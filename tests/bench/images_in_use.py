"""Asking which images 50,000 pods use: the operator's memory, against reading the listing whole."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.bench.process_cost import peak_memory_mib
from tests.bench.table import Section

PODS = 50_000
IMAGES = 5_000
"""Different references among them."""
BOUND_MIB = 150


def a_pod(number: int) -> dict[str, Any]:
    """A pod with as much in it as a controller, an admission webhook and kubelet leave there: some 6 KiB."""
    image = f"registry.example.com:5000/team-{number % 50}/service-{number % IMAGES}:v1.{number % 7}"
    environment = [{"name": f"SETTING_{index}", "value": "x" * 60} for index in range(20)]
    mounts = [{"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True}] * 4
    containers = [
        {"name": name, "image": image, "env": environment, "volumeMounts": mounts} for name in ("main", "sidecar")
    ]
    statuses = [
        {"name": name, "image": image, "imageID": f"{image.rpartition(':')[0]}@sha256:{number % IMAGES:064x}"}
        for name in ("main", "sidecar")
    ]
    return {
        "metadata": {"name": f"service-{number}-abcde", "namespace": f"team-{number % 50}", "uid": str(number)},
        "spec": {"containers": containers, "nodeName": "node"},
        "status": {"phase": "Running", "containerStatuses": statuses},
    }


class ApiServer(BaseHTTPRequestHandler):
    """Answers listings: of pods in pages, as the real one does, of everything else with nothing."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer one page."""
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        page: dict[str, Any] = {"metadata": {}, "items": []}
        if url.path == "/api/v1/pods":
            begin = int(query.get("continue", "0"))
            end = min(PODS, begin + int(query.get("limit", PODS)))
            page["items"] = [a_pod(number) for number in range(begin, end)]
            if end < PODS:
                page["metadata"]["continue"] = str(end)
        content = json.dumps(page).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[Path]:
    """A server, as a kubeconfig names it."""
    with tempfile.TemporaryDirectory() as directory, ThreadingHTTPServer(("127.0.0.1", 0), ApiServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        file = Path(directory) / "kubeconfig"
        named = {"name": "bench"}
        url = f"http://127.0.0.1:{server.server_address[1]}"
        clusters = [{**named, "cluster": {"server": url}}]
        contexts = [{**named, "context": {"cluster": "bench", "user": "bench"}}]
        body = {
            "clusters": clusters,
            "contexts": contexts,
            "users": [{**named, "user": {}}],
            "current-context": "bench",
        }
        file.write_text(yaml.safe_dump(body))
        yield file
        server.shutdown()


def measured(kubeconfig: Path, how: str) -> tuple[float, float, float]:
    """Peak before and after in MiB, and seconds, of a process that asks in one of the ways below."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.images_in_use", how],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "KUBECONFIG": str(kubeconfig)},
    )
    before, after, seconds = map(float, done.stdout.split())
    return before, after, seconds


def run() -> Iterator[Section]:
    """Measure both ways."""
    with serving() as kubeconfig:
        found = {how: measured(kubeconfig, how) for how in ("paged", "whole")}
    section = Section(
        f"Images in use of {PODS:,} pods",
        f"What a run asks before it deletes: every image of {PODS:,} pods with two containers each, {IMAGES:,} "
        "different ones, from a server on this machine that makes them up. A process with all that the operator "
        "imports; the peer reads the same listing as one answer.",
        ("way", "resident before", "at its peak", "seconds"),
        [
            (how, f"{before:.0f} MiB", f"{after:.0f} MiB", f"{seconds:.1f}")
            for how, (before, after, seconds) in found.items()
        ],
    )
    section.expect(found["paged"][1] <= BOUND_MIB, f"the operator within {BOUND_MIB} MiB")
    section.expect(found["paged"][1] * 4 <= found["whole"][1], "a quarter of the memory of reading it whole")
    yield section


async def ask(how: str) -> None:
    """Be the process that is measured."""
    from regkeeper import kube
    from regkeeper.handlers import operator  # noqa: F401  (its memory counts)
    from regkeeper.kube import client
    from regkeeper.reconcile.in_use import images_in_use

    if how == "whole":
        client.PAGE_SIZE = PODS
        client.REQUEST_SECONDS = 600
    before, began = peak_memory_mib(os.getpid()), time.monotonic()
    async with kube.connect() as cluster:
        uses = await images_in_use(cluster)
    assert len(uses) > IMAGES
    print(before, peak_memory_mib(os.getpid()), time.monotonic() - began)


if __name__ == "__main__":
    asyncio.run(ask(sys.argv[1]))
