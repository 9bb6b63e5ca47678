"""Count the writes of one client in an API server's audit log."""

import json
from pathlib import Path

_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


class AuditLog:
    """The part of an audit log that was written after this object was made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size

    def writes(self, user_agents: tuple[str, ...], namespace: str | None = None) -> list[str]:
        """Writes since then by clients whose user agent begins so: verb, kind and name of each, refused ones too.

        With `namespace` only those to its objects, the others of clients that serve several.
        """
        found: list[str] = []
        with self._path.open("rb") as log:
            log.seek(self._offset)
            for line in log:
                if not line.endswith(b"\n"):
                    break  # still being written
                entry = json.loads(line)
                reference = entry.get("objectRef", {})
                if namespace is not None and reference.get("namespace") != namespace:
                    continue
                if entry["verb"] in _WRITES and entry["userAgent"].startswith(user_agents):
                    found.append(f"{entry['verb']} {reference.get('resource')} {reference.get('name')}")
        return found
