"""Credentials for asking a registry, from where `docker login` leaves them: `$DOCKER_CONFIG/config.json`."""

import json
import os
from urllib.parse import urlsplit

from regkeeper.retention.errors import NotQuietError


def basic(registry: str, challenge: str) -> str:
    """The header `Authorization` for a registry that wants one.

    Args:
        registry: Its URL.
        challenge: Its header `WWW-Authenticate`.

    Raises:
        NotQuietError: it wants something else than a name and a password, or there are none for it.
    """
    if not challenge.lower().startswith("basic"):
        raise NotQuietError(
            f"{registry} wants a token ({challenge.partition(' ')[0] or 'no scheme is named'}), which regkeeper can't "
            "get: name an address that asks for none, or stop the registry and use --mode Offline"
        )
    file = os.path.join(os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker"), "config.json")
    try:
        with open(file, encoding="utf-8") as opened:
            entry = json.load(opened)["auths"][urlsplit(registry).netloc]["auth"]
    except (OSError, ValueError, KeyError, TypeError):
        entry = None
    if not isinstance(entry, str) or not entry:
        raise NotQuietError(
            f"{registry} asks for credentials, and {file} has none for it under `auths`: `docker login` writes them"
        )
    return f"Basic {entry}"
