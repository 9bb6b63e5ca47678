"""A real two-node Kubernetes on one Linux machine: `python -m tests.cluster up`, or `Cluster("name").up()`."""

from tests.cluster.cluster import Cluster

__all__ = ["Cluster"]
