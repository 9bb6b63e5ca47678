"""CustomResourceDefinitions out of the pydantic models: `make generate` writes them, a test compares.

The API server wants a structural schema: no references, no `anyOf` with null, no `additionalProperties: false`
(https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/).
"""

from typing import Any

from pydantic import BaseModel

from regkeeper.api.v1alpha1.base import Resource
from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.api.v1alpha1.retention import ImageRetention
from regkeeper.naming import GROUP, VERSION

Kind = Resource[Any, Any]

KINDS: tuple[type[Kind], ...] = (Registry, ImageRetention)

_INT32_MAX = 2**31 - 1


def custom_resource_definition(kind: type[Kind]) -> dict[str, Any]:
    """Build the CRD of one kind."""
    definition = kind.definition
    name = kind.__name__
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{definition.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": name,
                "listKind": f"{name}List",
                "plural": definition.plural,
                "singular": definition.singular,
                "shortNames": list(definition.short_names),
                "categories": ["regkeeper"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {
                            "name": column.name,
                            "type": column.type,
                            "jsonPath": column.json_path,
                            "description": column.description,
                            **({"priority": 1} if column.wide else {}),
                        }
                        for column in definition.columns
                    ],
                    "schema": {"openAPIV3Schema": _root_schema(kind)},
                }
            ],
        },
    }


def _root_schema(kind: type[Kind]) -> dict[str, Any]:
    schema = structural_schema(kind)
    properties = schema["properties"]
    status = properties["status"]
    # kstatus takes an object without observedGeneration for current. A default inside an object that is absent
    # is not applied, so the object has one of its own.
    status["default"] = {"observedGeneration": status["properties"]["observedGeneration"]["default"]}
    return {
        "type": "object",
        "description": schema["description"],
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of the schema of this object."},
            "kind": {"type": "string", "description": "Kind of this object."},
            "metadata": {"type": "object"},  # its description is Kubernetes' own: another one is refused
            "spec": properties["spec"],
            "status": status,
        },
        "x-kubernetes-validations": schema.get("x-kubernetes-validations", []),
    }


def structural_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Turn a model's JSON schema into a structural one."""
    schema = model.model_json_schema(by_alias=True, mode="validation")
    structural: dict[str, Any] = _structural(schema, schema.get("$defs", {}))
    return structural


def _structural(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_structural(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    node = _inlined(_without_null(_inlined(node, definitions)), definitions)
    result: dict[str, Any] = {}
    for key, value in sorted(node.items(), key=lambda item: _rank(item[0])):
        match key:
            case "title" | "$defs":
                continue
            case "additionalProperties" if value is False:
                continue
            case "default" if value is None:
                continue
            case "properties":
                result[key] = {name: _structural(below, definitions) for name, below in value.items()}
            case "items" | "additionalProperties":
                result[key] = _structural(value, definitions)
            case _:
                result[key] = value
    if result.get("type") == "integer" and "format" not in result:
        result["format"] = "int32" if result.get("maximum", _INT32_MAX + 1) <= _INT32_MAX else "int64"
    return result


def _rank(key: str) -> int:
    """Where `key` stands in a schema that a person reads: what it is first, what is below it last."""
    first, last = ("type", "description"), ("items", "additionalProperties", "properties", "required")
    if key in first:
        return first.index(key)
    return len(first) + (last.index(key) + 1 if key in last else 0)


def _inlined(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Replace a reference by what it means; what stands beside it (a description) wins."""
    reference = node.get("$ref")
    if reference is None:
        return node
    beside = {key: value for key, value in node.items() if key != "$ref"}
    return {**definitions[reference.removeprefix("#/$defs/")], **beside}


def _without_null(node: dict[str, Any]) -> dict[str, Any]:
    """Make `X | None` just X: a field is optional by not being required, and the API server drops nulls."""
    alternatives = [schema for schema in node.get("anyOf", []) if schema.get("type") != "null"]
    if "x-kubernetes-int-or-string" in node or len(alternatives) != 1:
        return node
    return {**alternatives[0], **{key: value for key, value in node.items() if key != "anyOf"}}
