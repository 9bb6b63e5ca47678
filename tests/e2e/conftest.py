"""What tests of passes on a real API server share."""

from collections.abc import AsyncIterator

import pytest

from regkeeper import kube
from regkeeper.distribution import open_session
from regkeeper.reconcile.addresses import Prober
from tests.cluster import Cluster


@pytest.fixture
async def cluster(control_plane: Cluster, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[kube.ApiCluster]:
    """The API server as the operator has it."""
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
    async with kube.connect() as connected:
        yield connected


@pytest.fixture
async def prober() -> AsyncIterator[Prober]:
    async with open_session() as session:
        yield Prober(session, session)
