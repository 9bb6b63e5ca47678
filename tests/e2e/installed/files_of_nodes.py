"""What agents may change on nodes, and what of it is not as it was."""

from contextlib import suppress

from tests.cluster import Cluster

RECORDS = "var/lib/regkeeper"
RECORD = f"{RECORDS}/node.json"
PLACES = ("etc/docker", "etc/containerd", "etc/containers", RECORDS)


def files(cluster: Cluster, node: str) -> dict[str, bytes]:
    """Everything that an agent might touch on a node, but what goes while this looks."""
    root = cluster.node(node).root
    found: dict[str, bytes] = {}
    for path in [path for place in PLACES for path in (root / place).rglob("*")]:
        with suppress(FileNotFoundError):
            found[str(path.relative_to(root))] = path.read_bytes() if path.is_file() else b""
    return found


def changed(cluster: Cluster, before: dict[str, dict[str, bytes]]) -> dict[str, tuple[bytes | None, bytes | None]]:
    """What is not as it was before on the nodes: each file by its path, then and now."""
    found = {}
    for node, then in before.items():
        now = files(cluster, node)
        for path in then.keys() | now.keys():
            if then.get(path) != now.get(path):
                found[f"{node}:/{path}"] = then.get(path), now.get(path)
    return found


def files_of_runtimes(cluster: Cluster, node: str) -> dict[str, bytes]:
    """The same without the agents' record: it names the last list, which is another as soon as a new agent is told."""
    return {path: content for path, content in files(cluster, node).items() if not path.startswith(RECORDS)}
