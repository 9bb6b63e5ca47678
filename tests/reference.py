"""The reference of a kind as Markdown, out of its CustomResourceDefinition: `make generate` writes docs/reference/."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

HEADER = "<!-- Written by `make generate` from operator/regkeeper/api: change it there. -->\n"
BELOW = {"spec": "What a user asks for.", "status": "What the operator saw."}


def reference(definition: Mapping[str, Any]) -> str:
    """One page: names, columns of `kubectl get`, and a row for each field with its type, default and meaning."""
    names, version = definition["spec"]["names"], definition["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    called = ", ".join(f"`{name}`" for name in (names["plural"], names["singular"], *names["shortNames"]))
    lines = [
        HEADER,
        f"# {names['kind']} (`{definition['spec']['group']}/{version['name']}`)\n",
        f"{schema['description']}\n",
        f"`kubectl get` knows it as {called}. `kubectl explain {names['singular']}.spec` says the same as this page.\n",
        *_table(
            ("Column", "Shows"), ((column["name"], _column(column)) for column in version["additionalPrinterColumns"])
        ),
    ]
    for part, what in BELOW.items():
        below = schema["properties"][part]
        lines += [f"## {part}\n", f"{what}\n"]
        lines += _table(("Field", "Type", "Default", "Meaning"), _rows(below, ""))
        if rules := list(_rules(below, part)):
            lines += ["Refused unless:\n", *(f"- `{path}`: {message}" for path, message in rules), ""]
    return "\n".join(lines).rstrip() + "\n"


def _column(column: Mapping[str, Any]) -> str:
    return f"{column['description']} Only with `-o wide`." if column.get("priority") else str(column["description"])


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> list[str]:
    body = [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *body, ""]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _rows(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, str, str, str]]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        here = f"{path}.{name}".lstrip(".")
        default = "required" if name in required else _default(field)
        yield f"`{here}`", _type(field), default, field.get("description", "")
        inside = field.get("items", field)
        yield from _rows(inside, here + ("[]" if "items" in field else ""))


def _default(field: Mapping[str, Any]) -> str:
    return f"`{json.dumps(field['default'])}`" if "default" in field else ""


def _type(field: Mapping[str, Any]) -> str:
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if field.get("x-kubernetes-int-or-string"):
        return "integer or string"
    if "items" in field:
        return f"list of {_type(field['items'])}"
    if "additionalProperties" in field:
        return f"map of {_type(field['additionalProperties'])}"
    bounds = [f"{sign} {field[key]}" for sign, key in (("≥", "minimum"), ("≤", "maximum")) if key in field]
    return " ".join([field.get("type", "any"), *bounds])


def _rules(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield path, rule["message"]
    for name, field in schema.get("properties", {}).items():
        yield from _rules(field, f"{path}.{name}")
    if "items" in schema:
        yield from _rules(schema["items"], f"{path}[]")
