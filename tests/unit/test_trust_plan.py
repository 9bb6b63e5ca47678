"""Wishes laid over nodes."""

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
