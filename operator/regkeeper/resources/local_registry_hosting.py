"""The ConfigMap by which tools find the cluster's own registry (KEP-1755)."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from regkeeper.naming import MANAGED_BY

NAME = "local-registry-hosting"
NAMESPACE = "kube-public"
KEY = "localRegistryHosting.v1"


def local_registry_hosting(addresses: Sequence[Mapping[str, str]]) -> dict[str, Any] | None:
    """Build it from a Registry's `status.addresses`; None if the Registry answers at no node, which tools could reach.

    `hostFromContainerRuntime` is left out where it would say what `host` says, as KEP-1755 has it.
    """
    on_nodes = [address["host"] for address in addresses if address["type"] in ("HostPort", "NodePort")]
    in_cluster = [address["host"] for address in addresses if address["type"] == "ClusterIP"]
    if not on_nodes:
        return None
    hosting = {"host": on_nodes[0], **({"hostFromClusterNetwork": in_cluster[0]} if in_cluster else {})}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": dict(MANAGED_BY)},
        "data": {KEY: yaml.safe_dump(hosting)},
    }
