"""A node for the tests of one file: it is quick to start, but its runtimes are quicker to start again."""

from collections.abc import Iterator

import pytest

from tests.nodes.docker_states import MIRRORS, State, in_state
from tests.nodes.namespaces import Daemon
from tests.nodes.node import Node, docker_node


@pytest.fixture(scope="module")
def bare() -> Iterator[Node]:
    """In which nothing runs but a registry."""
    with Node() as node:
        node.start_registry()
        yield node


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with docker_node() as node:
        yield node


@pytest.fixture
def dockerd(node: Node) -> Iterator[Daemon]:
    """A test's own, with mirrors in its daemon.json."""
    with in_state(node, State("mirrors", MIRRORS)) as daemon:
        assert daemon
        yield daemon
