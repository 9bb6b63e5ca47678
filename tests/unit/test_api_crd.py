"""The CRD that comes out of the models."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from regkeeper.api.crd import KINDS, custom_resource_definition
from regkeeper.api.v1alpha1.registry import Registry
from tests import generate
from tests.generate import generated, outdated

CRD = custom_resource_definition(Registry)
(VERSION,) = CRD["spec"]["versions"]
SCHEMA: dict[str, Any] = VERSION["schema"]["openAPIV3Schema"]
SCHEMAS: dict[str, dict[str, Any]] = {
    kind.definition.singular: custom_resource_definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for kind in KINDS
}
every_kind = pytest.mark.parametrize("kind", SCHEMAS)


def nodes(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema below `schema` with its path."""
    yield path, schema
    for name, below in schema.get("properties", {}).items():
        yield from nodes(below, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from nodes(schema[key], f"{path}[]")


def fields(path: str) -> dict[str, Any]:
    node = SCHEMA
    for name in path.split("."):
        node = node["properties"][name]
    return node


def test_committed_files_are_up_to_date() -> None:
    assert outdated() == [], "run `make generate`"


def test_one_run_writes_all_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest comes out of the chart's copies, which are to be there by then."""

    def manifest() -> str:
        return "".join(path.read_text() for path in (tmp_path / "charts/regkeeper/templates").glob("crd-*.yaml"))

    monkeypatch.setattr("tests.install_manifest.install_manifest", manifest)
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    assert generate.main([]) == 0
    assert outdated() == []


def test_the_chart_keeps_the_definition_when_it_goes() -> None:
    template = generated()["charts/regkeeper/templates/crd-registries.yaml"]
    assert "{{- if .Values.crds.install }}\n" in template
    assert "    helm.sh/resource-policy: keep\n" in template
    assert template.endswith("{{- end }}\n")


def test_names() -> None:
    assert CRD["metadata"]["name"] == "registries.regkeeper.dev"
    assert CRD["spec"]["names"]["shortNames"] == ["regs"]


def test_columns_say_what_matters() -> None:
    columns = VERSION["additionalPrinterColumns"]
    assert [column["name"] for column in columns if not column.get("priority")] == [
        "Ready",
        "Address",
        "Nodes",
        "Repositories",
        "Tags",
        "Age",
    ]
    assert [column["name"] for column in columns if column.get("priority")] == ["Used", "Reason"]


@every_kind
def test_every_field_is_described(kind: str) -> None:
    # metadata's description is Kubernetes' own, elements are described with their list or map.
    bare = [
        path
        for path, node in nodes(SCHEMAS[kind], kind)
        if "description" not in node and path != f"{kind}.metadata" and not path.endswith("[]")
    ]
    assert bare == []


@every_kind
def test_the_schema_is_structural(kind: str) -> None:
    for path, node in nodes(SCHEMAS[kind], kind):
        assert not {"$ref", "$defs", "title", "oneOf", "const"} & node.keys(), path
        assert node.get("additionalProperties", {}) is not False, path
        assert "type" in node or node.get("x-kubernetes-int-or-string"), path
        assert node.get("default", "") is not None, path


OPEN = {
    "registry": ("affinity", "config", "extraEnv", "resources", "tolerations", "topologySpreadConstraints"),
    "imageretention": ("job.affinity", "job.resources", "job.tolerations"),
}


@every_kind
def test_only_fragments_that_others_validate_are_open(kind: str) -> None:
    openings = {path for path, node in nodes(SCHEMAS[kind], kind) if "x-kubernetes-preserve-unknown-fields" in node}
    allowed = tuple(f"{kind}.spec.{name}" for name in OPEN[kind])
    assert {path for path in openings if not path.startswith(allowed)} == set()


@every_kind
def test_every_rule_says_what_to_do(kind: str) -> None:
    rules = [rule for _, node in nodes(SCHEMAS[kind], kind) for rule in node.get("x-kubernetes-validations", ())]
    assert len(rules) > 10
    assert all(":" in rule["message"] or "set " in rule["message"] for rule in rules)


def test_status_starts_unobserved() -> None:
    """Flux' convention: kstatus then says InProgress before the operator has seen the object."""
    assert fields("status")["default"] == {"observedGeneration": -1}
    assert fields("status.observedGeneration")["default"] == -1


@pytest.mark.parametrize("name", ["replicas", "image", "storage", "access", "config"])
def test_what_others_may_set_has_no_default(name: str) -> None:
    assert "default" not in fields(f"spec.{name}")


def test_server_side_apply_merges_lists_by_their_keys() -> None:
    assert fields("spec.extraEnv")["x-kubernetes-list-map-keys"] == ["name"]
    assert fields("status.conditions")["x-kubernetes-list-map-keys"] == ["type"]
