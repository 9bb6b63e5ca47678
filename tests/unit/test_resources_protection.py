"""Which settings a user may not change, whichever way, and what the refusal says."""

from typing import Any

import pytest

from regkeeper.errors import InvalidSpecError
from regkeeper.resources.config import checked_config
from tests.registry_objects import UID, a_registry

FROM_SECRET = {"secretKeyRef": {"name": "mine", "key": "value"}}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"storage": {"cache": {"blobdescriptor": "inmemory"}}}, "would change storage.cache of config.yml: the cache"),
        ({"storage": {"cache": {"layerinfo": "inmemory"}}}, "would change storage.cache"),
        ({"storage": {"cache": "inmemory"}}, "would change storage.cache"),
        ({"storage": {"delete": {"enabled": False}}}, "would change storage.delete"),
        ({"storage": {"delete": None}}, "would change storage.delete"),
        ({"storage": {"maintenance": {"readonly": {"enabled": False}}}}, "would change storage.maintenance"),
        ({"storage": {"maintenance": {"uploadpurging": {"enabled": False}}}}, "would change storage.maintenance"),
        ({"storage": {"s3": {"bucket": "mine"}}}, "would change storage of config.yml: regkeeper's registries keep"),
        ({"storage": {"Delete": {"enabled": False}}}, "would change storage of config.yml"),
        ({"storage": "inmemory"}, "would change storage of config.yml"),
        ({"storage": None}, "would change storage of config.yml"),
        ({"storage": {"filesystem": {"rootdirectory": "/srv"}}}, "spec.storage.local.path"),
        ({"storage": {"filesystem": None}}, "would change storage.filesystem.rootdirectory"),
        ({"http": {"addr": ":80"}}, "would change http.addr of config.yml: .* choose the port in spec.access"),
        ({"http": None}, "would change http.addr"),
        ({"http": {"net": "unix"}}, "would change http.net"),
        ({"http": {"prefix": "/images/"}}, "would change http.prefix"),
        ({"http": {"tls": {"certificate": "/crt"}}}, "would change http.tls"),
        ({"http": {"headers": {"x-regkeeper-registry": ["other"]}}}, "would change http.headers.X-Regkeeper-Registry"),
        ({"http": {"headers": None}}, "would change http.headers.X-Regkeeper-Registry"),
    ],
)
def test_config_that_would_break_a_promise_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpecError, match=f"^spec.config .*{message}"):
        checked_config(a_registry(config=config), read_only=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REGISTRY_STORAGE", "inmemory"),
        ("REGISTRY_STORAGE", "{filesystem: {rootdirectory: /srv}}"),
        ("REGISTRY_STORAGE_S3_BUCKET", "mine"),
        ("REGISTRY_STORAGE_CACHE", "{blobdescriptor: inmemory}"),
        ("REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR", "redis"),
        ("REGISTRY_STORAGE_DELETE_ENABLED", "false"),
        ("REGISTRY_STORAGE_DELETE_ENABLED", "$(SOMETHING)"),
        ("REGISTRY_STORAGE_DELETE_ENABLED", "{"),
        ("REGISTRY_STORAGE_delete_ENABLED", "false"),
        ("REGISTRY_STORAGE_DELETE", "{}"),
        ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/srv"),
        ("REGISTRY_STORAGE_MAINTENANCE_READONLY", "{enabled: true}"),
        # False is what it would be anyway, until a retention run asks for read-only.
        ("REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED", "false"),
        ("REGISTRY_HTTP_ADDR", "127.0.0.1:5000"),
        ("REGISTRY_HTTP", "{addr: ':5000'}"),
        ("REGISTRY_HTTP_HEADERS", "{}"),
        ("REGISTRY_HTTP_HEADERS_X-Regkeeper-Registry", "[other]"),
        ("REGISTRY_HTTP_HEADERS_X-Regkeeper-Registry_0", "other"),
        ("REGISTRY_HTTP_TLS_CERTIFICATE", "/crt"),
        ("REGISTRY_STORAGE", "{1: a, b: c}"),
        ("REGISTRY_HTTP_HEADERS", "{1: [a]}"),
        ("REGISTRY_STORAGE_DELETE", "[" * 2000),
        ("REGISTRY_STORAGE_DELETE", "2026-13-45"),
        ("REGISTRY_STORAGE_DELETE", "!!bool x"),
        ("REGISTRY_STORAGE_DELETE", "!!timestamp x"),
        ("REGISTRY_STORAGE_DELETE", "{enabled: true, x: &a [*a]}"),
        ("REGISTRY_STORAGE_DELETE", "{enabled: true}" + " " * 4096),
    ],
    ids=lambda text: text[:40],
)
def test_environment_that_would_break_a_promise_is_refused(name: str, value: str) -> None:
    with pytest.raises(InvalidSpecError, match=f"^spec.extraEnv {name} .*: "):
        checked_config(a_registry(extraEnv=[{"name": name, "value": value}]), read_only=False)


@pytest.mark.parametrize(
    "name",
    [
        "REGISTRY_STORAGE",
        "REGISTRY_STORAGE_AZURE_ACCOUNTKEY",
        "REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR",
        "REGISTRY_STORAGE_DELETE_ENABLED",
        "REGISTRY_STORAGE_FILESYSTEM",
        "REGISTRY_STORAGE_MAINTENANCE",
        "REGISTRY_HTTP",
        "REGISTRY_HTTP_ADDR",
        "REGISTRY_HTTP_HEADERS",
    ],
)
def test_protected_settings_from_elsewhere_are_refused(name: str) -> None:
    variable = {"name": name, "valueFrom": FROM_SECRET}
    with pytest.raises(InvalidSpecError, match=f"^spec.extraEnv {name} sets .* to a value that regkeeper can't see"):
        checked_config(a_registry(extraEnv=[variable]), read_only=False)


def test_what_keeps_the_promises_is_accepted() -> None:
    registry = a_registry(
        config={
            "storage": {"delete": {"enabled": True}, "redirect": {"disable": True}, "filesystem": {"maxthreads": 50}},
            "http": {"headers": {"Strict-Transport-Security": ["max-age=1"]}, "http2": {"disabled": True}},
            "proxy": {"remoteurl": "https://registry.example"},
        },
        extraEnv=[
            {"name": "REGISTRY_STORAGE_DELETE_ENABLED", "value": "true"},
            {"name": "REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR", "value": ""},
            {"name": "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "value": "/var/lib/registry"},
            {"name": "REGISTRY_STORAGE_REDIRECT_DISABLE", "valueFrom": FROM_SECRET},
            {"name": "REGISTRY_HTTP_ADDR", "value": ":5000"},
            {"name": "REGISTRY_HTTP_SECRET", "valueFrom": FROM_SECRET},
            {"name": "REGISTRY_HTTP_HEADERS_X-Frame-Options", "value": "[deny]"},
            {"name": "REGISTRY_PROXY_PASSWORD", "valueFrom": FROM_SECRET},
            {"name": "REGISTRY_LOG_FIELDS", "value": "{1: a}"},
            {"name": "REGISTRY_LOG_FIELDS_SERVICE", "value": "2026-13-45"},
            {"name": "REGISTRY_LOG_FIELDS_ZONE", "value": "a"},
            {"name": "REGISTRY_LOG_LEVEL", "value": "debug"},
            {"name": "STORAGE_DELETE_ENABLED", "value": "false"},
        ],
    )
    config = checked_config(registry, read_only=False)
    assert config["http"]["headers"]["X-Regkeeper-Registry"] == [UID]
    assert config["storage"]["filesystem"] == {"rootdirectory": "/var/lib/registry", "maxthreads": 50}


@pytest.mark.parametrize(
    ("config", "field", "variable"),
    [
        ({"http": {"secret": "abc"}}, "http.secret", "REGISTRY_HTTP_SECRET"),
        ({"redis": {"password": "abc"}}, "redis.password", "REGISTRY_REDIS_PASSWORD"),
        ({"proxy": {"remoteurl": "https://x", "password": "abc"}}, "proxy.password", "REGISTRY_PROXY_PASSWORD"),
        (
            {"reporting": {"bugsnag": {"apikey": "abc"}}},
            "reporting.bugsnag.apikey",
            "REGISTRY_REPORTING_BUGSNAG_APIKEY",
        ),
        (
            {"notifications": {"endpoints": [{"headers": {"Authorization": ["abc"]}}]}},
            "notifications.endpoints.0.headers.Authorization",
            "REGISTRY_NOTIFICATIONS_ENDPOINTS",
        ),
    ],
)
def test_secrets_in_config_are_refused_without_showing_them(config: dict[str, Any], field: str, variable: str) -> None:
    with pytest.raises(InvalidSpecError) as refusal:
        checked_config(a_registry(config=config), read_only=False)
    message = str(refusal.value)
    assert message.startswith(f"spec.config.{field} is a secret")
    assert f"set {variable} in spec.extraEnv with valueFrom.secretKeyRef" in message
    assert "abc" not in message
