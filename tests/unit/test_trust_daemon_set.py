"""The agents' DaemonSet is compared with what is wanted whenever it was read, whoever read it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, cast

import pytest

from regkeeper import kube, naming
from regkeeper.errors import BlockedError
from regkeeper.reconcile.trust.daemon_set import FRESH_SECONDS, AgentDaemonSet
from regkeeper.resources.node_agent import node_agent, node_agent_key
from regkeeper.settings import Settings

SETTINGS = Settings(image="regkeeper:new")


class OldDaemonSet:
    """A cluster with the DaemonSet of an operator before this one, and a key."""

    def __init__(self, key: bytes = b"k" * 32) -> None:
        self.key = key
        self.live = node_agent(Settings(image="regkeeper:old"))
        self.applied: list[kube.Object] = []

    async def get(self, resource: kube.Resource, namespace: str | None, name: str) -> kube.Object:
        assert namespace == SETTINGS.trust.agents_namespace
        if resource is kube.SECRET:
            assert name == naming.NODE_AGENT_KEY
            return node_agent_key(SETTINGS, self.key)
        return self.live

    async def list(self, *_: Any, **__: Any) -> AsyncIterator[kube.Object]:
        yield self.live

    async def watch(self, *_: Any, **__: Any) -> AsyncGenerator[tuple[str, kube.Object], None]:
        await asyncio.Event().wait()
        yield "ADDED", self.live

    async def apply(self, body: kube.Object, **_: Any) -> kube.Object:
        self.applied.append(body)
        self.live = body
        return body


async def test_a_new_operator_brings_its_image_to_the_agents_although_a_pass_looks_for_them_first() -> None:
    cluster, now = OldDaemonSet(), 0.0
    daemon_set = AgentDaemonSet(cast(kube.Cluster, cluster), SETTINGS, lambda: now, lambda: None)
    for _ in range(3):
        await daemon_set.find()
        await daemon_set.ensure()
        now += FRESH_SECONDS
    await daemon_set.close()
    assert cluster.applied
    container = cluster.live["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "regkeeper:new"


async def test_a_key_that_is_none_is_named_with_what_to_do() -> None:
    """Agents refuse one that is too short, and would have no answer for ever."""
    cluster = OldDaemonSet(key=b"short")
    with pytest.raises(BlockedError, match=f"{naming.NODE_AGENT_KEY} .* delete it"):
        await AgentDaemonSet(cast(kube.Cluster, cluster), SETTINGS, lambda: 0.0, lambda: None).ensure()
    assert not cluster.applied
