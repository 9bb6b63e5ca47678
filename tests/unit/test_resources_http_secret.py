"""The Secret with distribution's http.secret."""

import base64

from regkeeper.resources.http_secret import http_secret
from tests.registry_objects import UID, a_registry


def test_http_secret_is_made_once() -> None:
    built = http_secret(a_registry(), "s3cret")
    assert built["metadata"]["name"] == f"main-http-{UID[:8]}"
    assert built["immutable"] is True
    assert base64.b64decode(built["data"]["http-secret"]) == b"s3cret"
