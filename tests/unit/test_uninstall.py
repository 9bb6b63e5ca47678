"""What is released as regkeeper goes, where the API server refuses some of it."""

from collections.abc import AsyncIterator
from typing import cast

import pytest

from regkeeper import kube
from regkeeper.naming import FINALIZER, RUN_FINALIZER
from regkeeper.uninstall import release_finalizers


class Refusing:
    """A cluster with three Registries and a run, in which a webhook or RBAC refuses to change some."""

    def __init__(self, **refused: kube.ApiError) -> None:
        self.refused = refused
        self.has_our_kinds = True
        self.held = {"one": FINALIZER, "three": FINALIZER, "two": FINALIZER, "run": RUN_FINALIZER}

    async def list(
        self, resource: kube.Resource, namespace: str | None, *, label_selector: str, metadata_only: bool
    ) -> AsyncIterator[kube.Object]:
        if resource is kube.REGISTRY and not self.has_our_kinds:
            raise kube.NotFoundError("404 page not found", code=404)
        for name, finalizer in list(self.held.items()):
            if (name == "run") == (resource is kube.JOB):
                metadata = {"namespace": "images", "name": name, "resourceVersion": "1", "finalizers": [finalizer]}
                yield {"metadata": metadata}

    async def patch(self, resource: kube.Resource, namespace: str, name: str, body: kube.Object) -> kube.Object:
        if name in self.refused:
            raise self.refused[name]
        del self.held[name]
        return body


async def release(cluster: Refusing) -> None:
    async for _ in release_finalizers(cast(kube.Cluster, cluster), ["images"]):
        pass


async def test_what_is_refused_holds_up_nothing_else_and_is_named_in_the_end() -> None:
    cluster = Refusing(
        one=kube.ForbiddenError("a policy says no", code=403), two=kube.InvalidError("it is invalid", code=422)
    )
    with pytest.raises(kube.ApiError) as caught:
        await release(cluster)
    assert set(cluster.held) == {"one", "two"}
    assert str(caught.value) == "Registry images/one: a policy says no; Registry images/two: it is invalid"


async def test_an_api_server_that_is_away_ends_it() -> None:
    cluster = Refusing(one=kube.TransientError("no answer", code=0))
    with pytest.raises(kube.TransientError):
        await release(cluster)


async def test_where_our_kinds_were_deleted_first_runs_are_released_all_the_same() -> None:
    cluster = Refusing()
    cluster.has_our_kinds = False
    await release(cluster)
    assert "run" not in cluster.held
