"""Two nodes of the benchmarks' own, with the operator."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster import Cluster
from tests.demo import Demo, install


@contextmanager
def operated_cluster() -> Iterator[Cluster]:
    """Both as `make demo` has them, for as long as the block takes."""
    cluster = Cluster("bench")
    cluster.up()
    try:
        install(Demo(cluster.kubeconfig))
        yield cluster
    finally:
        cluster.down()
