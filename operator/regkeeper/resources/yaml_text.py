"""YAML text that means the same to PyYAML and to Go's yaml.v2, with which distribution reads its config.yml."""

import json
from functools import lru_cache
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        """Indent list items below their key, as people write them."""
        super().increase_indent(flow, indentless=False)


def _represent_string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # yaml.v2 reads 1e3, 0o7 and y as other types than PyYAML does: what might be one is quoted.
    ambiguous = text[:1] in tuple("0123456789+-.") or text in {"y", "Y", "n", "N"}
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if ambiguous else None)


_Dumper.add_representer(str, _represent_string)


def dump_yaml(value: Any) -> str:
    """Write `value` (of JSON's types) as block-style YAML, keys in their order."""
    return _dump_json(json.dumps(value))


# The same few values are written at each pass, and PyYAML takes milliseconds for one. (A text each, 2 KiB.)
@lru_cache(maxsize=2048)
def _dump_json(text: str) -> str:
    return yaml.dump(json.loads(text), Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=100)
