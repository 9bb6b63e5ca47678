"""What a person would look at after a test on real nodes has failed: added to its report, as the cluster then goes."""

import json
from collections.abc import Callable, Iterator
from functools import partial

from regkeeper import kube, naming
from tests.cluster import Cluster
from tests.e2e.installed.files_of_nodes import RECORD
from tests.helm import NAMESPACE
from tests.room import listed

AGENTS = "regkeeper-nodes"
NODES = ("k8smaster", "k8sworker1")
ENDPOINT_SLICE = kube.Resource("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
_LINES = 60
_NO_MANIFESTS = "Unable to read config path"
"""Said every second: no node here has static pods."""


def story(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """Titles and texts. What can't be had any more is told in place of the text, as it may be why the test failed."""
    parts: dict[str, Callable[[], str]] = {
        "operator": lambda: cluster.kubectl(
            "logs", "deployment/regkeeper", f"--namespace={NAMESPACE}", f"--tail={_LINES}", "--timestamps"
        ),
        "agents": lambda: cluster.kubectl(
            "logs",
            f"--selector=app.kubernetes.io/name={naming.NODE_AGENT}",
            f"--namespace={AGENTS}",
            f"--tail={_LINES // 6}",
            "--timestamps",
            "--prefix",
        ),
        "what agents were told": lambda: _told(cluster),
        "what nodes recorded": lambda: "\n".join(_record(cluster, node) for node in NODES),
        "registries": lambda: _registries(cluster),
        "pods": lambda: cluster.kubectl("get", "pods", "--all-namespaces", "--output=wide"),
        "endpoints": lambda: "\n".join(json.dumps(body["endpoints"]) for body in listed(cluster, ENDPOINT_SLICE)),
        "network": lambda: "\n".join(f"{node}:\n{_network(cluster, node)}" for node in NODES),
        "events": lambda: _last(
            cluster.kubectl("get", "events", "--all-namespaces", "--sort-by=.metadata.creationTimestamp")
        ),
        **{f"kubelet of {node}": partial(_kubelet, cluster, node) for node in NODES},
    }
    for title, read in parts.items():
        try:
            yield title, read()
        except Exception as error:  # else there would be no report at all, and no worker any more
            yield title, f"can't be had: {error}"


def _told(cluster: Cluster) -> str:
    """What each agent's pod says, and what kubelet made of it in the file that the agent reads."""
    lines = []
    for pod in listed(cluster, kube.POD, AGENTS):
        metadata, node = pod["metadata"], pod["spec"].get("nodeName", "")
        file = f"/var/lib/kubelet/pods/{metadata['uid']}/volumes/kubernetes.io~downward-api/list/list.json"
        mounted = cluster.node_exec(node, ["cat", file], check=False).stdout if node in NODES else ""
        lines += [
            f"{node} {metadata['name']} resourceVersion {metadata['resourceVersion']}",
            f"  pod:  {metadata.get('annotations', {}).get(naming.TRUST_ANNOTATION)}",
            f"  file: {mounted}",
        ]
    return "\n".join(lines)


def _network(cluster: Cluster, node: str) -> str:
    """Where the node sends what comes to the ports of its own, and which of its neighbours it can't find."""
    rules = cluster.node_exec(node, ["iptables", "-t", "nat", "-S"]).stdout.splitlines()
    telling = [rule for rule in rules if "DNAT" in rule or "KUBE-NODEPORTS" in rule]
    return "\n".join([*telling, cluster.node_exec(node, ["ip", "neighbour"]).stdout])


def _record(cluster: Cluster, node: str) -> str:
    path = cluster.node(node).root / RECORD
    return f"{node}: {json.dumps(json.loads(path.read_text())) if path.exists() else 'nothing'}"


def _registries(cluster: Cluster) -> str:
    return "\n".join(
        json.dumps({"metadata": {**body["metadata"], "managedFields": None}, "status": body.get("status")})
        for body in listed(cluster, kube.REGISTRY)
    )


def _kubelet(cluster: Cluster, node: str) -> str:
    """What it said of agents' pods, or of trouble."""
    log = cluster.node(node).root / "var/log/kubelet.log"
    lines = log.read_text(errors="replace").splitlines()
    telling = (line for line in lines if _NO_MANIFESTS not in line)
    return _last("\n".join(line for line in telling if naming.NODE_AGENT in line or line.startswith("E")))


def _last(text: str) -> str:
    return "\n".join(text.splitlines()[-_LINES:])
