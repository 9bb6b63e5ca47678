"""Count the writes of one user in an API server's audit log."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


class AuditLog:
    """The part of an audit log that was written after this object was made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size

    def writes_of(self, users: str) -> list[str]:
        """Writes since then by users whose name begins so, as `system:serviceaccount:NAMESPACE:` does.

        Verb, kind and name of each, of whatever object, refused ones too.
        """
        return [_sentence(entry) for entry in self._entries() if entry["user"]["username"].startswith(users)]

    def _entries(self) -> Iterator[dict[str, Any]]:
        with self._path.open("rb") as log:
            log.seek(self._offset)
            for line in log:
                if not line.endswith(b"\n"):
                    break  # still being written
                entry: dict[str, Any] = json.loads(line)
                if entry["verb"] in _WRITES:
                    yield entry


def _sentence(entry: dict[str, Any]) -> str:
    reference = entry.get("objectRef", {})
    return f"{entry['verb']} {reference.get('resource')} {reference.get('name')}"
