"""CRI-O's registries.conf and drop-ins (containers-registries.conf(5)): who speaks for a host, and our own drop-in.

One bad drop-in fails every pull of the node (facts of node trust). So nothing is written where a file can't be read,
and ours is parsed before it is written.
"""

import os
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from regkeeper.nodes.files import NodeFiles
from regkeeper.nodes.owned_files import MARK
from regkeeper.nodes.reasons import NodeProblemError, Reason

MAIN_PATH = "/etc/containers/registries.conf"
DROP_INS = "/etc/containers/registries.conf.d"
OUR_PATH = f"{DROP_INS}/99-regkeeper.conf"


@dataclass(frozen=True, slots=True)
class Entry:
    """Somebody else's entry for a host."""

    path: str
    insecure: bool


def read_entries(files: NodeFiles, hosts: Sequence[str], *, without: str | None) -> dict[str, Entry]:
    """Entries of others for these hosts; the last one counts, as it does for CRI-O.

    Args:
        files: the node's tree.
        hosts: about which is asked.
        without: a file that is passed over, since it is ours.

    Raises:
        NodeProblemError: a file is broken, or the main one has the first version's format, beside which CRI-O takes no
            drop-in.
    """
    found: dict[str, Entry] = {}
    names = [name for name in files.list(DROP_INS) if name.endswith(".conf")]
    for path in (MAIN_PATH, *(os.path.join(DROP_INS, name) for name in names)):
        if path == without:
            continue
        document = _read(files, path)
        if isinstance(document.get("registries"), dict):
            raise NodeProblemError(
                Reason.UNSUPPORTED,
                detail=f"{path} has the old format of [registries.…], beside which CRI-O takes no drop-in: convert it",
            )
        for registry in _tables(document):
            host = str(registry.get("prefix") or registry.get("location") or "")
            if host in hosts:
                found[host] = Entry(path, registry.get("insecure") is True)
    return found


def drop_in(hosts: Sequence[str]) -> bytes:
    """Our file for these hosts."""
    lines = [f"{MARK} for the Registries of this cluster; edits are replaced."]
    for host in hosts:
        lines += ["", "[[registry]]", f'location = "{host}"', "insecure = true"]
    text = "\n".join(lines) + "\n"
    tomllib.loads(text)
    return text.encode()


def hosts_in(data: bytes) -> frozenset[str]:
    """Hosts of a drop-in that `drop_in` wrote; none if somebody edited it beyond recognition."""
    try:
        return frozenset(str(registry.get("location")) for registry in _tables(tomllib.loads(data.decode())))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return frozenset()


def _read(files: NodeFiles, path: str) -> dict[str, Any]:
    content = files.read(path)
    if content is None:
        return {}
    try:
        return tomllib.loads(content.data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NodeProblemError(Reason.FILE_BROKEN, path=path, detail=type(error).__name__) from error


def _tables(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    registries = document.get("registry")
    for registry in registries if isinstance(registries, list) else ():
        if isinstance(registry, dict):
            yield registry
