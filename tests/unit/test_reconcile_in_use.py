"""Which images are in use: from what kinds, in what words, and when nobody can say."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from regkeeper import kube
from regkeeper.reconcile.in_use import (
    LISTINGS,
    MOST_CHARACTERS_ELSEWHERE,
    SOURCES,
    InUseUnknownError,
    images_in_use,
    is_reference,
)
from regkeeper.settings import FurtherKind

DIGEST = f"sha256:{'0' * 64}"


class Listed:
    """A cluster of which only listings are asked."""

    def __init__(self, **objects: list[kube.Object]) -> None:
        self.objects = objects
        self.errors: dict[str, list[kube.ApiError]] = {}
        self.maps: dict[str, kube.Object] = {}

    async def list(self, resource: kube.Resource, namespace: str | None = None, **_: Any) -> AsyncIterator[kube.Object]:
        assert namespace is None, "images are in use in all namespaces"
        found = self.objects.get(resource.plural, [])
        for body in found[:1]:
            yield body
        if errors := self.errors.get(resource.plural):
            raise errors.pop(0)
        for body in found[1:]:
            yield body

    async def get(self, resource: kube.Resource, namespace: str | None, name: str) -> kube.Object:
        if name not in self.maps:
            raise kube.NotFoundError(f"{name} not found", code=404)
        return self.maps[name]


def spec_of(*images: str) -> dict[str, Any]:
    return {"containers": [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]}


def an_object(name: str, spec: dict[str, Any], **further: Any) -> kube.Object:
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": spec, **further}


def templated(name: str, *images: str, **further: Any) -> kube.Object:
    return an_object(name, {"replicas": 0, "template": {"spec": spec_of(*images)}}, **further)


async def uses(
    cluster: Any, maps: tuple[tuple[str, str], ...] = (), further: Sequence[FurtherKind] = ()
) -> dict[str, str]:
    return await images_in_use(cluster, maps, further)


@pytest.mark.parametrize(
    "plural", ["deployments", "statefulsets", "daemonsets", "jobs", "replicasets", "replicationcontrollers"]
)
async def test_what_could_start_pods_uses_its_images_scaled_to_zero_too(plural: str) -> None:
    found = await uses(Listed(**{plural: [templated("web", "host:5000/a:1")]}))
    assert list(found) == ["host:5000/a:1"]
    assert found["host:5000/a:1"].endswith(" shop/web")


async def test_a_suspended_cronjob_and_an_old_revision_use_theirs() -> None:
    template = {"template": {"spec": spec_of("a:1")}}
    cron = an_object("nightly", {"suspend": True, "jobTemplate": {"spec": template}})
    revision = {
        "metadata": {"name": "db-1", "namespace": "shop"},
        "data": {"spec": {"template": {"spec": spec_of("b:1")}}},
    }
    odd = {"metadata": {"name": "x", "namespace": "shop"}, "data": {"spec": "something else's"}}
    found = await uses(Listed(cronjobs=[cron], controllerrevisions=[revision, odd]))
    assert found == {"a:1": "CronJob shop/nightly", "b:1": "ControllerRevision shop/db-1"}


async def test_a_pod_uses_what_it_names_and_what_really_runs() -> None:
    spec = {
        **spec_of("a:1"),
        "initContainers": [{"name": "i", "image": "b:1"}],
        "ephemeralContainers": [{"name": "e", "image": "c:1"}],
        "volumes": [{"name": "v", "image": {"reference": "d:1"}}, {"name": "w", "emptyDir": {}}],
    }
    status = {
        "phase": "Running",
        "containerStatuses": [{"name": "c0", "image": "a:1", "imageID": f"host:5000/a@{DIGEST}"}],
        "initContainerStatuses": [{"name": "i", "image": "", "imageID": ""}],
    }
    found = await uses(Listed(pods=[an_object("web", spec, status=status)]))
    assert set(found) == {"a:1", "b:1", "c:1", "d:1", f"host:5000/a@{DIGEST}"}


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
async def test_what_has_ended_uses_nothing(phase: str) -> None:
    pod = an_object("done", spec_of("a:1"), status={"phase": phase})
    job = templated("done", "b:1", status={"conditions": [{"type": "Complete", "status": "True"}]})
    assert await uses(Listed(pods=[pod], jobs=[job])) == {}


async def test_a_static_pod_uses_its_images_while_its_node_is_down() -> None:
    pod = an_object("proxy-k8sworker1", spec_of("a:1"), status={"phase": "Failed", "reason": "Terminated"})
    pod["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "0f5e9a3c"}
    assert set(await uses(Listed(pods=[pod]))) == {"a:1"}


async def test_people_know_deployments_better_than_pods() -> None:
    found = await uses(Listed(pods=[an_object("web-1", spec_of("a:1"))], deployments=[templated("web", "a:1")]))
    assert found == {"a:1": "Deployment shop/web"}


async def test_a_listing_that_expired_is_begun_anew_and_not_for_ever() -> None:
    cluster = Listed(pods=[an_object("one", spec_of("a:1")), an_object("two", spec_of("b:1"))])
    cluster.errors["pods"] = [kube.ApiError("expired", code=410)]
    assert set(await uses(cluster)) == {"a:1", "b:1"}
    cluster.errors["pods"] = [kube.ApiError("expired", code=410)] * LISTINGS
    with pytest.raises(kube.TransientError):
        await uses(cluster)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.resource.plural)
@pytest.mark.parametrize("error", [kube.ForbiddenError("no", code=403), kube.NotFoundError("no such kind", code=404)])
async def test_a_kind_that_can_not_be_listed_stops_the_run(source: Any, error: kube.ApiError) -> None:
    cluster = Listed()
    cluster.errors[source.resource.plural] = [error]
    with pytest.raises(InUseUnknownError, match=source.resource.plural):
        await uses(cluster)


async def test_no_answer_is_asked_for_again() -> None:
    cluster = Listed()
    cluster.errors["pods"] = [kube.TransientError("busy", code=429)]
    with pytest.raises(kube.TransientError):
        await uses(cluster)


async def test_lists_from_elsewhere_take_the_operator_no_more_memory_than_it_has() -> None:
    """Eight of a megabyte in one namespace took it 250 MiB, and with them all Registries of the cluster."""
    cluster = Listed()
    lines = [f"a:{number} {'somebody ' * 99}" for number in range(MOST_CHARACTERS_ELSEWHERE // 2000)]
    text = "\n".join([*lines, f"# {len(lines)}"])
    for name in ("one", "two", "three"):
        cluster.maps[name] = {"metadata": {"name": name, "namespace": "images"}, "data": {"list": text}}
    one, two, three = (("images", name) for name in cluster.maps)
    assert len(await uses(cluster, (one, two, one, two))) == len(lines)
    with pytest.raises(InUseUnknownError, match="images/three and those before it have more than 4,194,304 characters"):
        await uses(cluster, (one, two, three))


async def test_a_list_from_elsewhere_counts_whole_or_not_at_all() -> None:
    cluster = Listed()
    cluster.maps["other"] = {
        "metadata": {"name": "other", "namespace": "images"},
        "data": {"one": "host/a:1 Deployment shop/web in Berlin\nhost/b:1\n# 2\n", "none": "# 0"},
    }
    found = await uses(cluster, (("images", "other"),))
    assert found == {"host/a:1": "Deployment shop/web in Berlin", "host/b:1": "ConfigMap other"}
    cluster.maps["other"]["data"]["one"] = "host/a:1\n"
    with pytest.raises(InUseUnknownError, match="truncated"):
        await uses(cluster, (("images", "other"),))
    for line in ("host//a:1", '"host/a:1"', "host/a:1,"):
        cluster.maps["other"]["data"]["one"] = f"{line}\n# 1\n"
        with pytest.raises(InUseUnknownError, match="no reference"):
            await uses(cluster, (("images", "other"),))
    with pytest.raises(InUseUnknownError, match="absent"):
        await uses(cluster, (("images", "absent"),))


@pytest.mark.parametrize(
    "text", ["", "a b", "a@sha256:nonsense", "a\n:1", f"a@{DIGEST}0", "a//b", "repo:", "sha256:" + "AB" * 32]
)
def test_nonsense_in_a_pod_stops_nobody(text: str) -> None:
    assert not is_reference(text)


@pytest.mark.parametrize("text", ["a", "host:5000/a/b:1", f"a@{DIGEST}", DIGEST, f"docker-pullable://a@{DIGEST}"])
def test_references(text: str) -> None:
    assert is_reference(text)


ROLLOUTS = FurtherKind(group="argoproj.io", version="v1alpha1", resource="rollouts", path="spec.template.spec")
TASKS = FurtherKind(group="tekton.dev", version="v1", resource="tasks", path="spec.steps[].image")


async def test_further_kinds_use_the_images_that_their_paths_lead_to() -> None:
    task = an_object("build", {"steps": [{"image": "b:1"}, {"script": "no image"}, {"image": "c:1"}]})
    cluster = Listed(rollouts=[templated("web", "a:1")], tasks=[an_object("empty", {}), task])
    assert await uses(cluster, further=[ROLLOUTS, TASKS]) == {
        "a:1": "rollouts.argoproj.io shop/web",
        "b:1": "tasks.tekton.dev shop/build",
        "c:1": "tasks.tekton.dev shop/build",
    }
    assert await uses(Listed(), further=[ROLLOUTS]) == {}, "a kind of which there is no object uses nothing"


async def test_a_path_that_leads_nowhere_is_a_stop_and_not_unused() -> None:
    mistyped = ROLLOUTS.model_copy(update={"path": "spec.templates.spec"})
    with pytest.raises(InUseUnknownError, match=r"none of 1 rollouts has .* at spec\.templates\.spec"):
        await uses(Listed(rollouts=[templated("web", "a:1")]), further=[mistyped])


async def test_a_further_kind_that_is_not_there_is_a_stop() -> None:
    cluster = Listed()
    cluster.errors["rollouts"] = [kube.NotFoundError("the server could not find the requested resource", code=404)]
    with pytest.raises(InUseUnknownError, match="rollouts of all namespaces can't be listed"):
        await uses(cluster, further=[ROLLOUTS])
