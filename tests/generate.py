"""`make generate`: the committed files that come out of the models; `--check` only says which are not up to date."""

import sys
from pathlib import Path
from typing import Any

from regkeeper.api.crd import KINDS, custom_resource_definition
from regkeeper.resources.config import dump_yaml
from tests.reference import reference

ROOT = Path(__file__).parent.parent
HEADER = "# Written by `make generate` from operator/regkeeper/api: change it there.\n"

MANIFEST = "deploy/install.yaml"

KEPT = {"helm.sh/resource-policy": "keep"}
"""`helm uninstall` would take every Registry with their definition."""


def generated() -> dict[str, str]:
    """Path below the root → content of every generated file."""
    files: dict[str, str] = {}
    for kind in KINDS:
        definition = custom_resource_definition(kind)
        plural = kind.definition.plural
        files[f"crds/{definition['metadata']['name']}.yaml"] = HEADER + dump_yaml(definition)
        files[f"charts/regkeeper/templates/crd-{plural}.yaml"] = _chart_template(definition)
        files[f"docs/reference/{definition['spec']['names']['singular']}.md"] = reference(definition)
    return files


def _definition_text(definition: dict[str, Any]) -> str:
    return dump_yaml({**definition, "metadata": {**definition["metadata"], "annotations": KEPT}})


def _chart_template(definition: dict[str, Any]) -> str:
    text = _definition_text(definition)
    if "{{" in text:
        raise ValueError("a description or rule that helm would take for a template")
    return f"{HEADER}{{{{- if .Values.crds.install }}}}\n{text}{{{{- end }}}}\n"


def rendered() -> dict[str, str]:
    """Path → content of what helm renders. `--check` leaves it to tests/chart, so that it needs no compiled helm."""
    from tests.install_manifest import install_manifest

    return {MANIFEST: install_manifest()}


def outdated() -> list[str]:
    """Paths of the files that differ from what would be generated.

    Of the manifest that helm renders, only the definitions of the kinds are looked at: they change with the models.
    """
    files = generated().items()
    differ = [path for path, text in files if not (ROOT / path).exists() or (ROOT / path).read_text() != text]
    manifest = (ROOT / MANIFEST).read_text()
    if any(_definition_text(custom_resource_definition(kind)) not in manifest for kind in KINDS):
        differ.append(MANIFEST)
    return differ


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        for path in outdated():
            print(f"{path} is not what the models say: run `make generate`")
        return 1 if outdated() else 0
    _write(generated())
    _write(rendered())  # the chart, with what has just been written into it
    return 0


def _write(files: dict[str, str]) -> None:
    for path, text in files.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
