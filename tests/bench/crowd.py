"""Objects that are none of the operator's business: many, and some of them always changing."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.bench.raw_api import Object, RawApi, all_of
from tests.waiting import wait_for_async

PODS = 20_000
CONFIG_MAPS = 5_000
NAMESPACE = "crowd"
CHANGES_A_SECOND = 20
"""At most: each takes its time too."""

_PODS_PATH = f"/api/v1/namespaces/{NAMESPACE}/pods"
_CONFIG_MAPS_PATH = f"/api/v1/namespaces/{NAMESPACE}/configmaps"


def _pod(number: int) -> Object:
    container = {
        "name": "main",
        "image": f"k8smaster:5000/crowd/application-{number % 100}:v{number % 7}",
        "env": [{"name": "NUMBER", "value": str(number)}],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    }
    return {
        "metadata": {"name": f"pod-{number}", "labels": {"app": f"application-{number % 100}"}},
        "spec": {"containers": [container]},
    }


def _config_map(number: int) -> Object:
    return {"metadata": {"name": f"config-{number}"}, "data": {"config": "key: value\n" * 50}}


class Crowd:
    """The foreign objects of one cluster."""

    def __init__(self, api: RawApi) -> None:
        self._api = api
        self.changes = 0
        """Made so far."""

    async def gather(self) -> None:
        """Create them all. No scheduler runs: the pods stay pending."""
        await self._api.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        await wait_for_async(self._has_account, 30, f"a service account in {NAMESPACE}, which pods must have")
        await all_of(self._api.create(_CONFIG_MAPS_PATH, _config_map(number)) for number in range(CONFIG_MAPS))
        await all_of(self._api.create(_PODS_PATH, _pod(number)) for number in range(PODS))

    async def _has_account(self) -> bool:
        return bool((await self._api.get(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts"))["items"])

    @asynccontextmanager
    async def churning(self) -> AsyncIterator[None]:
        """Change some of them all the time."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._churn())
            yield
            task.cancel()

    async def _churn(self) -> None:
        chance = random.Random(0)
        while True:
            await asyncio.sleep(1 / CHANGES_A_SECOND)
            number = str(self.changes)
            if self.changes % 2:
                pod = f"{_PODS_PATH}/pod-{chance.randrange(PODS)}"
                await self._api.merge(pod, {"metadata": {"labels": {"changed": number}}})
            else:
                config_map = f"{_CONFIG_MAPS_PATH}/config-{chance.randrange(CONFIG_MAPS)}"
                await self._api.merge(config_map, {"data": {"changed": number}})
            self.changes += 1
