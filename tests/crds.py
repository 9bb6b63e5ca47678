"""Our CRDs on a cluster of tests."""

from pathlib import Path

import yaml

from regkeeper.naming import API_VERSION
from tests.cluster.cluster import Cluster
from tests.waiting import wait_for

_FOLDER = Path(__file__).parent.parent / "crds"


def install_crds(cluster: Cluster) -> None:
    """Apply the CRDs and wait until the API server serves them."""
    api = cluster.api()
    bodies = [yaml.safe_load(file.read_text()) for file in sorted(_FOLDER.glob("*.yaml"))]
    for body in bodies:
        api.apply(body, manager="kubectl", force=True)

    def are_served() -> bool:
        served = api.get(f"/apis/{API_VERSION}") or {"resources": []}
        return {body["spec"]["names"]["plural"] for body in bodies} <= {each["name"] for each in served["resources"]}

    wait_for(are_served, 30, f"{API_VERSION} in the discovery")
