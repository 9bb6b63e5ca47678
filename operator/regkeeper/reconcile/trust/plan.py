"""Which hosts each node is to trust: the Registries' wishes laid over the nodes' labels. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from regkeeper.nodes.desired import MAXIMUM_HOSTS
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
    crowded_out: frozenset[Key] = frozenset()
    """Registries of whose nodes one has no place left for their hosts."""
    given_up: frozenset[str] = frozenset()
    """Hosts of Registries that are known to go."""
    in_doubt: bool = False
    """Whether something could not be known that may have been a reason to trust more."""

    @property
    def all_hosts(self) -> frozenset[str]:
        """Hosts of all wishes."""
        return frozenset(host for wish in self.wishes.values() for host in wish.hosts)

    def hosts_of(self, node: str, told: Iterable[str] | None) -> tuple[str, ...] | None:
        """What a node is to be told, which in doubt is to forget nothing but what is given up.

        Args:
            node: its name.
            told: what its pod says now; None: nothing, and what an earlier pod said is not known.

        Returns:
            The hosts; None: it is to be told nothing for now, as that could be to forget.
        """
        hosts = self.hosts.get(node, ())
        if not self.in_doubt:
            return hosts
        return None if told is None else tuple(sorted({*hosts, *(set(told) - self.given_up)}))


def make_plan(
    wishes: Mapping[Key, Wish], nodes: Labels, *, given_up: Iterable[str] = (), in_doubt: bool = False
) -> Plan:
    """Lay wishes over nodes.

    Args:
        wishes: Where places are scarce (`MAXIMUM_HOSTS` a node), the first have them.
        nodes: All of them: who is not named here is told nothing.
        given_up: as in the plan.
        in_doubt: as in the plan.
    """
    hosts: dict[str, set[str]] = {name: set() for name, labels in nodes.items() if is_linux(labels)}
    selected: dict[Key, tuple[str, ...]] = {}
    uncovered: dict[Key, tuple[str, ...]] = {}
    crowded_out: set[Key] = set()
    for key, wish in wishes.items():
        matching = [name for name, labels in nodes.items() if wish.matches(labels)]
        selected[key] = tuple(name for name in matching if name in hosts)
        uncovered[key] = tuple(name for name in matching if name not in hosts)
        if any(len(hosts[name].union(wish.hosts)) > MAXIMUM_HOSTS for name in selected[key]):
            crowded_out.add(key)
            continue
        for name in selected[key]:
            hosts[name].update(wish.hosts)
    return Plan(
        wishes=wishes,
        hosts={name: tuple(sorted(wanted)) for name, wanted in hosts.items()},
        selected=selected,
        uncovered=uncovered,
        crowded_out=frozenset(crowded_out),
        given_up=frozenset(given_up),
        in_doubt=in_doubt,
    )
