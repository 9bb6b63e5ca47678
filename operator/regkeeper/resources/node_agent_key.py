"""The Secret with the key by which the operator and its agents know each other."""

from base64 import b64encode
from typing import Any

from regkeeper.naming import MANAGED_BY, NODE_AGENT_KEY
from regkeeper.settings import Settings

KEY_FILE = "key"


def node_agent_key(settings: Settings, key: bytes) -> dict[str, Any]:
    """Build the Secret; `key` is random and made once.

    It is not immutable, as kubelet never looks again at an immutable one: were it deleted and made anew, agents that
    run, and even new ones, would know the old key for ever (kubernetes#131589).
    """
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": NODE_AGENT_KEY,
            "namespace": settings.trust.agents_namespace,
            "labels": dict(MANAGED_BY),
        },
        "type": "Opaque",
        "data": {KEY_FILE: b64encode(key).decode()},
    }
