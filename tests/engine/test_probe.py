"""What a registry, or whoever answers in its place, says of whether it takes pushes."""

import base64
import json
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest

from regkeeper.retention.errors import (
    NotQuietError,
    UnansweredError,
)
from regkeeper.retention.runs.probe import probe
from regkeeper.retention.runs.quiet import Mode
from tests.gateway import serve_gateway
from tests.registry_process import registry_program, serve_registry

READ_ONLY = {"REGISTRY_STORAGE_MAINTENANCE_READONLY": "{enabled: true}"}


@pytest.mark.parametrize("version", ["2.8", "3.1"])
def test_a_real_registry_is_asked_whether_it_takes_pushes(version: Literal["2.8", "3.1"], tmp_path: Path) -> None:
    program = registry_program(version)
    with serve_registry(program, tmp_path, READ_ONLY) as url:
        probe(url, Mode.READ_ONLY)
        with pytest.raises(NotQuietError, match="a registry answers"):
            probe(url, Mode.OFFLINE)
    probe(url, Mode.OFFLINE)
    with pytest.raises(NotQuietError, match="does not answer"):
        probe(url, Mode.READ_ONLY)
    with serve_registry(program, tmp_path) as url, pytest.raises(NotQuietError, match="takes pushes"):
        probe(url, Mode.READ_ONLY)
    assert not (tmp_path / "volume").exists(), "the probe left something"


@pytest.mark.parametrize("version", ["2.8", "3.1"])
def test_a_registry_that_wants_credentials_gets_those_of_docker_login(
    version: Literal["2.8", "3.1"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `keeper:secret`, by bcrypt.
    (tmp_path / "htpasswd").write_text("keeper:$2y$05$mD2/iYY0pXCRP5DX1OvLs.QgOVsRKiBfZntUAX5Wa3SrQ.QWR6S5K\n")
    auth = {"REGISTRY_AUTH_HTPASSWD_REALM": "test", "REGISTRY_AUTH_HTPASSWD_PATH": str(tmp_path / "htpasswd")}
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with serve_registry(registry_program(version), tmp_path, {**READ_ONLY, **auth}) as url:
        with pytest.raises(NotQuietError, match=r"asks for credentials, and .* has none for it"):
            probe(url, Mode.READ_ONLY)
        log_in(tmp_path, url, b"keeper:wrong")
        with pytest.raises(NotQuietError, match="answered a probing push with 401"):
            probe(url, Mode.READ_ONLY)
        log_in(tmp_path, url, b"keeper:secret")
        probe(url, Mode.READ_ONLY)


def log_in(folder: Path, url: str, credentials: bytes) -> None:
    auths = {urlsplit(url).netloc: {"auth": base64.b64encode(credentials).decode()}}
    (folder / "config.json").write_text(json.dumps({"auths": auths}))


def test_nobody_knows_is_not_quiet() -> None:
    with pytest.raises(UnansweredError, match="can't be reached"):
        probe("http://registry.invalid:5000", Mode.OFFLINE)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("status", [404, 405, 401])
def test_the_word_of_a_gateway_is_not_the_registrys(
    mode: Mode, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that answers each connection that leaves the cluster, whoever it was meant for."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with serve_gateway(status) as gateway:
        log_in(tmp_path, gateway.url, b"keeper:secret")
        with pytest.raises(UnansweredError, match=f"is no registry .*: {status} "):
            probe(gateway.url, mode)
        assert gateway.credentials == [], "a stranger got the registry's password"


@pytest.mark.parametrize("mode", Mode)
def test_a_connection_that_is_taken_and_not_answered_says_nothing(mode: Mode) -> None:
    with serve_gateway(None) as gateway, pytest.raises(UnansweredError, match="so nobody knows whether it writes"):
        probe(gateway.url, mode)
