"""What the chart renders whatever it is told, and for which clusters."""

import re
import tomllib
from typing import Any

import pytest
import yaml

from tests.chart.values import EVERYTHING
from tests.helm import CHART, helm, only, render
from tests.install_manifest import install_manifest

ROOT = CHART.parent.parent


@pytest.mark.parametrize("version", [3, 4])
def test_lints(version: Any) -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", CHART, version=version).stdout


def test_helm_3_and_4_render_the_same() -> None:
    assert render(EVERYTHING, version=3) == render(EVERYTHING)


def test_an_older_cluster_is_refused() -> None:
    refused = helm("template", CHART, "--kube-version", "1.35.0", check=False)
    assert refused.returncode != 0
    assert "kubeVersion: >=1.36.0-0" in refused.stderr


def test_a_vendors_version_is_not_refused() -> None:
    assert helm("template", CHART, "--kube-version", "v1.36.3-gke.1").returncode == 0


def test_the_version_is_the_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == project["version"]


def test_crds_are_kept_and_optional() -> None:
    definitions = [body for body in render() if body["kind"] == "CustomResourceDefinition"]
    assert "registries.regkeeper.dev" in [body["metadata"]["name"] for body in definitions]
    assert all(body["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for body in definitions)
    assert not [body for body in render({"crds": {"install": False}}) if body["kind"] == "CustomResourceDefinition"]


def test_a_service_monitor_only_if_asked_for() -> None:
    monitor = only(render(EVERYTHING), "ServiceMonitor", "regkeeper")
    service = only(render(EVERYTHING), "Service", "regkeeper-metrics")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert not [body for body in render() if body["kind"] == "ServiceMonitor"]


def test_names_follow_the_release() -> None:
    names = {body["metadata"]["name"] for body in render(release="mine") if body["kind"] == "Deployment"}
    assert names == {"mine-regkeeper"}
    policy = only(render(release="mine"), "ValidatingAdmissionPolicy", "mine-regkeeper-workloads")
    assert policy["spec"]["matchConditions"][0]["expression"].endswith(
        "'system:serviceaccount:regkeeper-system:mine-regkeeper'"
    )


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("mine", "mine-regkeeper"),
        ("my-regkeeper", "my-regkeeper"),
        ("v1.2", "v1-2-regkeeper"),
        ("2nd", "regkeeper-2nd"),
        ("r" * 53, "r" * 50),
    ],
)
def test_every_name_is_one_that_a_service_may_have(release: str, name: str) -> None:
    objects = render(release=release)
    assert only(objects, "Deployment", name)
    service = only(objects, "Service", f"{name}-metrics")
    assert re.fullmatch("[a-z]([-a-z0-9]{0,61}[a-z0-9])?", service["metadata"]["name"])


def test_install_yaml_is_what_the_chart_renders() -> None:
    assert (ROOT / "deploy" / "install.yaml").read_text() == install_manifest(), "run `make generate`"
