"""Which hosts each node is to trust: the Registries' wishes laid over the nodes' labels. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.trust.wishes import Wish, is_linux

Labels = Mapping[str, Mapping[str, str]]
"""Labels of every node by its name."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The wishes, and what follows for each node."""

    wishes: Mapping[Key, Wish] = field(default_factory=dict)
    hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Node → its hosts, for every Linux node; a node that no wish selects has none."""
    selected: Mapping[Key, tuple[str, ...]] = field(default_factory=dict)
    """Registry → nodes that are to trust it."""
    uncovered: Mapping[Key, tuple[str, ...]] = field(default_factory=dict)
    """Registry → nodes that its selector matches, but which run no Linux."""

    @property
    def all_hosts(self) -> frozenset[str]:
        """Hosts of all wishes."""
        return frozenset(host for wish in self.wishes.values() for host in wish.hosts)


def make_plan(wishes: Mapping[Key, Wish], nodes: Labels) -> Plan:
    """Lay wishes over nodes. `nodes` must be all of them: who is not named here is told nothing."""
    hosts: dict[str, set[str]] = {name: set() for name, labels in nodes.items() if is_linux(labels)}
    selected: dict[Key, tuple[str, ...]] = {}
    uncovered: dict[Key, tuple[str, ...]] = {}
    for key, wish in wishes.items():
        matching = [name for name, labels in nodes.items() if wish.matches(labels)]
        selected[key] = tuple(name for name in matching if name in hosts)
        uncovered[key] = tuple(name for name in matching if name not in hosts)
        for name in selected[key]:
            hosts[name].update(wish.hosts)
    return Plan(wishes, {name: tuple(sorted(wanted)) for name, wanted in hosts.items()}, selected, uncovered)
