"""The ConfigMap with config.yml."""

import yaml

from regkeeper.resources.config import config_file
from regkeeper.resources.config_map import config_map
from tests.registry_objects import a_registry


def test_config_map_has_the_config() -> None:
    registry = a_registry()
    built = config_map(registry, config_file(registry, read_only=True))
    assert built["metadata"]["name"] == "main-config"
    assert built["data"].keys() == {"config.yml"}
    assert yaml.safe_load(built["data"]["config.yml"])["storage"]["maintenance"]["readonly"]["enabled"] is True
