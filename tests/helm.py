"""Helm, and the chart as it renders."""

import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from tests.cluster.programs import HELM, HELM3

CHART = Path(__file__).parent.parent / "charts" / "regkeeper"
NAMESPACE = "regkeeper-system"
KUBE_VERSION = "1.36.3"

Object = dict[str, Any]


def helm(
    *arguments: str | Path, kubeconfig: Path | None = None, version: Literal[3, 4] = 4, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run helm with nothing of this user's configuration, and collect its output.

    Raises:
        subprocess.CalledProcessError: it failed; its output is in the error's notes.
    """
    program = (HELM if version == 4 else HELM3).program("helm")
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "HELM_CACHE_HOME": home, "HELM_CONFIG_HOME": home, "HELM_DATA_HOME": home}
        environment["KUBECONFIG"] = str(kubeconfig or os.devnull)
        done = subprocess.run(
            [program, *arguments], check=False, capture_output=True, text=True, env=environment, cwd=CHART.parent
        )
    if check and done.returncode:
        error = subprocess.CalledProcessError(done.returncode, done.args)
        error.add_note(done.stdout + done.stderr)
        raise error
    return done


def render_text(
    values: Mapping[str, Any] | None = None,
    *options: str,
    release: str = "regkeeper",
    namespace: str = NAMESPACE,
    version: Literal[3, 4] = 4,
) -> str:
    """The chart's manifests as text, hooks and tests included unless the options of `helm template` say otherwise."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(dict(values or {}), file)
        file.flush()
        return helm(
            "template",
            release,
            CHART,
            "--namespace",
            namespace,
            "--kube-version",
            KUBE_VERSION,
            "--values",
            file.name,
            *options,
            version=version,
        ).stdout


def render(
    values: Mapping[str, Any] | None = None, *options: str, release: str = "regkeeper", version: Literal[3, 4] = 4
) -> list[Object]:
    """The chart's objects, like `render_text`."""
    text = render_text(values, *options, release=release, version=version)
    # libyaml's parser: in Python, what a chart renders to took longer to read than helm took to render it.
    return [body for body in yaml.load_all(text, yaml.CSafeLoader) if body]


def only(objects: list[Object], kind: str, name: str) -> Object:
    """The one object of that kind and name."""
    (found,) = [body for body in objects if body["kind"] == kind and body["metadata"]["name"] == name]
    return found
