"""A real two-node Kubernetes on one Linux machine: `python -m tests.cluster up`, or `Cluster("name").up()`."""

from tests.cluster.cluster import Cluster
from tests.cluster.records import Extent

__all__ = ["Cluster", "Extent"]
