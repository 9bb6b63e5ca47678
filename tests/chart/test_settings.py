"""What the chart tells the operator is what its settings understand."""

import pytest

from regkeeper.settings import Settings
from tests.chart.values import DIGEST, EVERYTHING, RULE, environment, operator_container
from tests.helm import render


def test_the_operator_can_parse_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(render(EVERYTHING)).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.watch_namespaces == ("one", "two")
    assert [rule.model_dump(mode="json") for rule in settings.local_storage] == [RULE]
    assert (settings.registry_image, settings.image) == ("registry:2.8", f"registry.example.com/regkeeper@{DIGEST}")
    assert (settings.resync_seconds, settings.concurrency) == (60, 4)
    assert (settings.log_format, settings.log_level) == ("text", "debug")
    trust = settings.trust
    assert (trust.namespaces, trust.hosts) == (("one",), ("registry.example:5000",))
    assert (trust.apply_pending_edits, trust.local_registry_hosting) == (True, "one/main")
    assert trust.image_pull_secrets == ({"name": "pull"},)


def test_the_default_environment_is_the_default_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = Settings()
    for name, value in environment(render()).items():
        monkeypatch.setenv(name, value)
    assert Settings() == defaults.model_copy(update={"image": "regkeeper:0.1.0"})


def test_every_setting_is_set_by_the_chart() -> None:
    names = {entry["name"] for entry in operator_container(render())["env"]}
    assert names == {f"REGKEEPER_{field.upper()}" for field in Settings.model_fields}


def test_probes_and_ports_are_the_settings() -> None:
    container = operator_container(render())
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    defaults = Settings()
    assert ports == {"probes": defaults.probe_port, "metrics": defaults.metrics_port}
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "probes"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "probes"}
