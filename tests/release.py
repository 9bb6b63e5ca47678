"""A release of the chart on a real cluster, with the image that the embedded cluster has."""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from tests.cluster import Cluster
from tests.helm import CHART, NAMESPACE, helm

IMAGE = {"repository": "regkeeper", "tag": "dev"}


class Release:
    """The chart as `regkeeper` in `regkeeper-system`, by helm 4 or helm 3."""

    def __init__(self, cluster: Cluster, *, version: Literal[3, 4] = 4, chart: Path = CHART) -> None:
        self._cluster = cluster
        self._version = version
        self.chart = chart

    def install(self, values: Mapping[str, Any] | None = None) -> None:
        """Install or upgrade, and wait until the operator is ready; the namespace enforces `restricted`.

        CRDs that a test applied by other means are taken over, as docs/install.md says.
        """
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
        self._cluster.kubectl("apply", "--server-side", "--filename=-", stdin=json.dumps(namespace))
        options = ["--install", "--wait", "--timeout=120s", "--take-ownership"]
        if self._version == 4:
            options.append("--force-conflicts")
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"image": IMAGE, **(values or {})}, file)
            file.flush()
            self._helm("upgrade", "regkeeper", self.chart, "--values", file.name, *options)

    def restart(self) -> None:
        """Have another operator take over, and wait until it is ready."""
        inside = ("deployment/regkeeper", "--namespace", NAMESPACE)
        self._cluster.kubectl("rollout", "restart", *inside)
        self._cluster.kubectl("rollout", "status", *inside, "--timeout=120s")

    def test(self) -> None:
        """Run the chart's own test."""
        self._helm("test", "regkeeper", "--timeout=60s")

    def uninstall(self) -> None:
        """Uninstall, hooks included; it may be gone already."""
        self._helm("uninstall", "regkeeper", "--wait", "--timeout=120s", "--ignore-not-found")

    def _helm(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        kubeconfig = self._cluster.kubeconfig
        return helm(*arguments, "--namespace", NAMESPACE, kubeconfig=kubeconfig, version=self._version)


@contextmanager
def released(cluster: Cluster, values: Mapping[str, Any] | None = None) -> Iterator[Release]:
    """The operator as the chart installs it, uninstalled at the end."""
    release = Release(cluster)
    try:
        release.install(values)
        yield release
    finally:
        release.uninstall()
