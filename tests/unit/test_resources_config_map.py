"""The ConfigMap with config.yml."""

import pytest
import yaml

from regkeeper.resources.config import config_file
from regkeeper.resources.config_map import config_map
from tests.registry_objects import a_registry


@pytest.mark.parametrize(("read_only", "name"), [(False, "main-config"), (True, "main-config-read-only")])
def test_config_map_has_the_config(*, read_only: bool, name: str) -> None:
    """A pod that is to refuse pushes, and starts late, must not find by then what takes them."""
    registry = a_registry()
    built = config_map(registry, config_file(registry, read_only=read_only))
    assert built["metadata"]["name"] == name
    assert built["data"].keys() == {"config.yml"}
    assert yaml.safe_load(built["data"]["config.yml"])["storage"]["maintenance"]["readonly"]["enabled"] is read_only
