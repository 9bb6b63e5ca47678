"""The node agent on a node with a real dockerd: memory, what it costs idle, and how soon a changed list is trusted."""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.bench.process_cost import cpu_seconds, peak_memory_mib
from tests.bench.table import Section
from tests.nodes.agent import trust_list
from tests.nodes.docker_states import FILE, HOST
from tests.nodes.namespaces import Daemon
from tests.nodes.node import Node, docker_node
from tests.nodes.running_agent import RunningAgent, mounted, start_agent
from tests.waiting import wait_for

ROUNDS = 15
SECONDS = 180
"""Three of the agent's looks at an undisturbed node."""
MEMORY_MIB = 40.0
IDLE_SHARE = 0.002
"""Of a core (issue 4, like the memory)."""
HOSTS = tuple(f"registry-{number}.example:5000" for number in range(50))


def run() -> Iterator[Section]:
    with (
        tempfile.TemporaryDirectory(prefix="regkeeper-bench-") as folder,
        docker_node() as node,
        docker_node() as by_hand,
    ):
        dockerd = node.start_dockerd()
        agent = start_agent(node, mounted(Path(folder)))
        generation = iter(range(1, 1000))
        # Only a dockerd of some age is signalled; the first trust waits for that.
        _deliver(agent, next(generation), HOST)
        yield _latency(agent, generation, by_hand)
        yield _cost(agent, generation, dockerd)


def _latency(agent: RunningAgent, generation: Iterator[int], other: Node) -> Section:
    """In turn, so that a machine that slows down slows both."""
    dockerd = other.start_dockerd()
    ours, by_hand = [], []
    for _ in range(ROUNDS):
        _deliver(agent, next(generation))
        ours.append(_timed(lambda: _deliver(agent, next(generation), HOST)))
        by_hand.append(_timed(lambda: _trust_by_hand(other, dockerd)))
        _forget_by_hand(other, dockerd)
    section = Section(
        "A changed list at the agent",
        f"From the list in the agent's directory to what dockerd says of the registry, {ROUNDS} rounds in turn. The "
        "agent: kubelet's rename until its log says Trusted (record, backup, file, reload, verification at /info and "
        "through dockerd at the registry). By hand, on a second node: daemon.json written in place, `kill -HUP`, and "
        "dockerd asked until it reaches the registry.",
        ("", "median", "fastest", "slowest"),
    )
    for name, measured in (("agent", ours), ("by hand", by_hand)):
        figures = (statistics.median(measured), min(measured), max(measured))
        section.rows.append((name, *(f"{figure * 1000:.0f} ms" for figure in figures)))
    section.expect(statistics.median(ours) <= 1.0, "a changed list is trusted within 1 s in the median")
    return section


def _cost(agent: RunningAgent, generation: Iterator[int], dockerd: Daemon) -> Section:
    bare = agent.node.start("bare", *agent.node.python, "-c", "import signal; signal.pause()")
    processes = {"agent": agent.daemon, "dockerd": dockerd, "bare Python": bare}
    idle = _shares(processes)
    _deliver(agent, next(generation), HOST, *HOSTS)
    asking = _shares(processes)
    section = Section(
        "The agent's cost",
        f"Memory is the peak (VmHWM). Idle: {SECONDS} s in which nothing on the node changes, with one registry that "
        f"answers; asking: the {SECONDS} s after {len(HOSTS)} more were listed of which none can be reached, so that "
        "each is asked for again and again with growing pauses. CPU is on the processes' own clocks, in shares of a "
        "core; dockerd beside it has no containers.",
        ("", "peak memory", "idle", "asking"),
    )
    for name, daemon in processes.items():
        memory = f"{peak_memory_mib(daemon.host_pid):.0f} MiB"
        section.rows.append((name, memory, f"{idle[name]:.3%}", f"{asking[name]:.3%}"))
    section.expect(peak_memory_mib(agent.daemon.host_pid) <= MEMORY_MIB, f"at most {MEMORY_MIB:.0f} MiB")
    section.expect(idle["agent"] <= IDLE_SHARE, f"idle at most {IDLE_SHARE:.1%} of a core")
    return section


def _shares(processes: Mapping[str, Daemon]) -> dict[str, float]:
    before = {name: cpu_seconds(daemon.host_pid) for name, daemon in processes.items()}
    time.sleep(SECONDS)  # nothing is awaited: what is measured is that nothing happens
    return {name: (cpu_seconds(daemon.host_pid) - before[name]) / SECONDS for name, daemon in processes.items()}


def _deliver(agent: RunningAgent, generation: int, *hosts: str) -> None:
    """Deliver a list and wait until the agent's log tells of it, and of HOST as trusted if that is in it."""
    agent.deliver(trust_list(*hosts, generation=generation))
    log = agent.daemon.log

    def told() -> bool:
        last = json.loads((log.read_text().splitlines() or ["{}"])[-1])
        states = {
            host["host"]: host["state"] for runtime in last.get("runtimes", ()) for host in runtime.get("hosts", ())
        }
        settled = states.get(HOST) == "Trusted" if hosts else all(r["reverted"] for r in last.get("runtimes", ()))
        return last.get("generation") == generation and settled

    wait_for(told, 30, log.read_text)


def _timed(act: Callable[[], None]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


def _trust_by_hand(node: Node, dockerd: Daemon) -> None:
    _write(node, dockerd, [HOST])
    wait_for(
        lambda: "manifest unknown" in str(node.docker_get(f"/distribution/{HOST}/none/none:1/json")), 10, "the reload"
    )


def _forget_by_hand(node: Node, dockerd: Daemon) -> None:
    _write(node, dockerd, [])
    wait_for(lambda: node.docker_get("/info")["RegistryConfig"]["IndexConfigs"].keys() == {"docker.io"}, 10, "[]")
    node.path(FILE).unlink()


def _write(node: Node, dockerd: Daemon, hosts: list[str]) -> None:
    node.path(FILE).write_text(json.dumps({"insecure-registries": hosts}))
    node.run("kill", "-HUP", str(dockerd.pid))
