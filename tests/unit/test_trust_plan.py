"""Wishes laid over nodes."""

from regkeeper.nodes.desired import MAXIMUM_HOSTS
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.trust.plan import make_plan
from regkeeper.reconcile.trust.wishes import Wish

ONE, TWO = Key("images", "one"), Key("images", "two")
NODES = {
    "builder": {"role": "build", "kubernetes.io/os": "linux"},
    "worker": {"kubernetes.io/os": "linux"},
    "windows": {"role": "build", "kubernetes.io/os": "windows"},
}


def test_each_linux_node_has_the_hosts_of_all_that_select_it() -> None:
    plan = make_plan({ONE: Wish(("one:5000",), ()), TWO: Wish(("a:5000", "two:5000"), (("role", "build"),))}, NODES)
    assert plan.hosts == {"builder": ("a:5000", "one:5000", "two:5000"), "worker": ("one:5000",)}
    assert plan.selected == {ONE: ("builder", "worker"), TWO: ("builder",)}
    assert plan.uncovered == {ONE: ("windows",), TWO: ("windows",)}
    assert plan.all_hosts == {"one:5000", "a:5000", "two:5000"}


def test_a_node_that_nobody_selects_is_told_to_trust_nothing() -> None:
    assert make_plan({}, NODES).hosts == {"builder": (), "worker": ()}


def test_who_comes_first_has_the_places_of_a_node() -> None:
    """The others are told so; a list that no agent takes would hold up all."""
    many = tuple(f"many-{number}:5000" for number in range(MAXIMUM_HOSTS - 1))
    plan = make_plan({ONE: Wish(many, ()), TWO: Wish(("a:5000", "b:5000"), (("role", "build"),))}, NODES)
    assert plan.crowded_out == {TWO}
    assert set(plan.hosts["builder"]) == set(many)
    plan = make_plan({ONE: Wish(many, ()), TWO: Wish(("a:5000", many[0]), (("role", "build"),))}, NODES)
    assert not plan.crowded_out


def test_in_doubt_a_node_forgets_only_what_is_known_to_go() -> None:
    plan = make_plan({ONE: Wish(("one:5000",), ())}, NODES, given_up=["gone:5000"], in_doubt=True)
    assert plan.hosts_of("worker", ["lost:5000", "gone:5000"]) == ("lost:5000", "one:5000")
    assert plan.hosts_of("worker", []) == ("one:5000",)
    assert plan.hosts_of("worker", None) is None, "what an earlier pod was told is not known"
    certain = make_plan({ONE: Wish(("one:5000",), ())}, NODES)
    assert certain.hosts_of("worker", ["lost:5000", "gone:5000"]) == ("one:5000",)
    assert certain.hosts_of("worker", None) == ("one:5000",)
