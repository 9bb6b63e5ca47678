"""The machine's side of the network: a bridge, a network namespace and a cable for each node, routes, masquerading.

The only settings of the machine that change are its forwarding switch and a handful of iptables rules that carry the
cluster's mark; both are put back.
"""

import json
import shlex
from ipaddress import IPv4Network
from pathlib import Path

from tests.cluster.commands import run
from tests.cluster.plan import NodePlan, Plan

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def outward_mtu() -> int:
    """The MTU of the machine's way out, in bytes: packets of the cluster must fit it. 1500 if there is none."""
    routes = json.loads(run("ip", "-json", "route", "show", "default"))
    if not routes:
        return 1500
    [link] = json.loads(run("ip", "-json", "link", "show", "dev", routes[0]["dev"]))
    return int(link["mtu"])


def routed_networks() -> list[IPv4Network]:
    """Every network that the machine has a route to, its default route aside."""
    routes = json.loads(run("ip", "-json", "-4", "route", "show"))
    return [IPv4Network(route["dst"]) for route in routes if route["dst"] != "default"]


def link_exists(name: str) -> bool:
    """Whether the machine has a network link of that name."""
    return Path("/sys/class/net", name).exists()


def create(plan: Plan) -> None:
    """Make the bridge and let the machine forward and masquerade what comes from it."""
    run("ip", "link", "add", plan.bridge, "mtu", str(plan.mtu), "type", "bridge")
    run("ip", "address", "add", f"{plan.address}/{plan.network.prefixlen}", "dev", plan.bridge)
    run("ip", "link", "set", plan.bridge, "up")
    FORWARDING.write_text("1")
    for table, rule in _rules(plan):
        run("iptables", "-w", "-t", table, "-I", *rule)


def create_node(plan: Plan, node: NodePlan) -> None:
    """Make a node's namespace, cable and routes."""
    run("ip", "netns", "add", node.namespace)
    mtu = str(plan.mtu)
    peer = ("peer", "name", "eth0", "mtu", mtu, "netns", node.namespace)
    run("ip", "link", "add", node.link, "mtu", mtu, "type", "veth", *peer)
    run("ip", "link", "set", node.link, "master", plan.bridge, "up")
    inside = ("ip", "-netns", node.namespace)
    run(*inside, "address", "add", f"{node.address}/{plan.network.prefixlen}", "dev", "eth0")
    run(*inside, "link", "set", "lo", "up")
    run(*inside, "link", "set", "eth0", "up")
    run(*inside, "route", "add", "default", "via", str(plan.address))
    for other in plan.nodes:
        if other != node:
            run(*inside, "route", "add", str(other.pods), "via", str(other.address))
    # From the machine to pods too: the API server reaches admission webhooks there.
    run("ip", "route", "replace", str(node.pods), "via", str(node.address))


def remove(plan: Plan) -> None:
    """Remove what `create` and `create_node` made, whole or half."""
    for node in plan.nodes:
        remove_node(node)
    if link_exists(plan.bridge):
        run("ip", "link", "delete", plan.bridge)
    for table in ("nat", "filter"):
        for line in run("iptables", "-w", "-t", table, "-S").splitlines():
            rule = shlex.split(line)
            if _mark(plan) in rule:
                run("iptables", "-w", "-t", table, "-D", *rule[1:])


def remove_node(node: NodePlan) -> None:
    """Remove what `create_node` made, whole or half. A cable goes with either end; routes go when it does."""
    if link_exists(node.link):
        run("ip", "link", "delete", node.link)
    if Path("/run/netns", node.namespace).exists():
        run("ip", "netns", "delete", node.namespace)


def _mark(plan: Plan) -> str:
    return f"regkeeper cluster {plan.name}"


def _rules(plan: Plan) -> list[tuple[str, tuple[str, ...]]]:
    mark = ("-m", "comment", "--comment", _mark(plan))
    inner = str(plan.network)
    return [
        ("nat", ("POSTROUTING", "-s", inner, "!", "-d", inner, "!", "-o", plan.bridge, *mark, "-j", "MASQUERADE")),
        ("filter", ("FORWARD", "-i", plan.bridge, *mark, "-j", "ACCEPT")),
        ("filter", ("FORWARD", "-o", plan.bridge, *mark, "-j", "ACCEPT")),
    ]
