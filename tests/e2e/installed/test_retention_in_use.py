"""Images that the cluster uses stay, each with its reason in the plan, and go once nothing uses them any more.

Also what becomes of a policy that is deleted: what its runs deleted is freed in time, after which no undo helps.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from regkeeper import kube
from tests.cluster.images.archive import File, Image, layer_tar, write_archive
from tests.cluster.images.system import SEARCH_PATH, shell_layer
from tests.e2e.installed.conftest import WORKER
from tests.registry_content import manifest_of, pull, push, push_index
from tests.retained_room import BY_HAND, RUN, RetainedRoom
from tests.room import SOON, on_node
from tests.waiting import wait_for

pytestmark = pytest.mark.nodes

REPOSITORY = "used/app"
USED = ("multi", "nightly", "rolled", "scaled")
"""Tags that stay only because something names them; the newest one is named too."""


@contextmanager
def trusted_by_containerd(retained: RetainedRoom, host: str) -> Iterator[None]:
    """Let the worker's containerd pull from the registry by plain HTTP."""
    folder = retained.room.cluster.node(WORKER).root / "etc/containerd/certs.d" / host
    folder.mkdir(parents=True)
    file = folder / "hosts.toml"
    file.write_text(f'server = "http://{host}"\n[host."http://{host}"]\n  capabilities = ["pull", "resolve"]\n')
    try:
        yield
    finally:
        file.unlink()
        folder.rmdir()


def push_from_containerd(retained: RetainedRoom, image: str, folder: Path) -> None:
    """Push an image that can be run, under that name, and leave none of it on the node.

    One of its own: where two names of one image come and go, containerd's CRI forgets the others.
    """
    layer = layer_tar({**shell_layer(), "of-this-test": File(b"")})
    write_archive(Image(names=[image], layers=[layer], config={"Env": [SEARCH_PATH]}), folder / "image.tar")
    retained.room.cluster.load(folder / "image.tar")
    for command in (["push", "--plain-http", image], ["rm", image]):
        retained.room.cluster.node_exec(WORKER, ["ctr", "--namespace", "k8s.io", "images", *command])


def pod_spec(image: str) -> dict[str, Any]:
    container = {"name": "main", "image": image, "command": ["sh", "-c", "sleep 3600 & wait"]}
    return {"containers": [container], "terminationGracePeriodSeconds": 0, **on_node(WORKER)}


def deployment(name: str, image: str) -> dict[str, Any]:
    """A Deployment that is scaled to zero."""
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod_spec(image)},
        },
    }


def cron_job(name: str, image: str) -> dict[str, Any]:
    """A CronJob that is suspended."""
    template = {"spec": {"template": {"spec": {**pod_spec(image), "restartPolicy": "Never"}}}}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name},
        "spec": {"schedule": BY_HAND, "suspend": True, "jobTemplate": template},
    }


def replica_sets(retained: RetainedRoom, deployment_name: str) -> list[str]:
    found = retained.room.listed(kube.REPLICA_SET, f"app={deployment_name}")
    return [body["metadata"]["name"] for body in found]


def roll(retained: RetainedRoom, name: str, before: str, after: str) -> None:
    """A Deployment whose image was changed; the ReplicaSet of before is within its history."""
    for count, image in enumerate((before, after), 1):
        retained.room.apply(deployment(name, image))
        wait_for(lambda count=count: len(replica_sets(retained, name)) == count, SOON, "a ReplicaSet")  # type: ignore[misc]


def run_pod(retained: RetainedRoom, name: str, image: str) -> None:
    """Run a pod, with an image that its node has to pull."""
    spec = pod_spec(image)
    retained.room.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
    retained.room.kubectl("wait", "--for=condition=Ready", f"pod/{name}", f"--timeout={SOON}s")


def kept_for(plan: str, what: str) -> str:
    """Why something stays."""
    found = re.search(rf"^  \+ {re.escape(what)}  kept: (.*?)(?: · pushed .*)?$", plan, re.MULTILINE)
    assert found, f"{what} does not stay: {plan}"
    return found[1]


def test_what_is_in_use_stays_until_nothing_uses_it(retained: RetainedRoom, tmp_path: Path) -> None:
    """retention.md: "Pods (reference and the digest in status; index and platform child both ways), and what could
    start pods: ReplicaSets within the history limit, … CronJobs, scaled to zero and suspended too"; "Purge and undo are
    Jobs through the same gate; the operator starts a purge when a window ends, also for a deleted policy".
    """
    room, url = retained.room, retained.url
    host = f"{WORKER}:{url.rpartition(':')[2]}"
    for number, tag in enumerate(("nightly", "rolled", "scaled", "unused")):
        push(url, REPOSITORY, tag, seed=number)
    push_index(url, REPOSITORY, "multi", seed=7)
    child = json.loads(manifest_of(url, REPOSITORY, "multi"))["manifests"][1]["digest"]
    push_from_containerd(retained, f"{host}/{REPOSITORY}:moving", tmp_path)
    running = pull(url, REPOSITORY, "moving")
    with trusted_by_containerd(retained, host):
        run_pod(retained, "running", f"{host}/{REPOSITORY}@{running}")
    push(url, REPOSITORY, "moving", seed=8)
    push(url, REPOSITORY, "newest", seed=9)
    room.apply(
        deployment("scaled", f"{host}/{REPOSITORY}:scaled"),
        deployment("platform", f"{host}/{REPOSITORY}@{child}"),
        cron_job("nightly", f"another.name:5000/{REPOSITORY}:nightly"),
    )
    roll(retained, "rolled", f"{host}/{REPOSITORY}:rolled", f"{host}/{REPOSITORY}:newest")

    policy: dict[str, Any] = {
        "schedule": BY_HAND,
        "rules": [{"name": "newest", "repositories": [REPOSITORY], "keep": {"last": 1}}],
        "untagged": {"deleteAfter": "0s"},
    }
    retained.retain("used", **policy)
    retained.run_now("used", "used-1")
    first = retained.await_run("used", "Done")
    assert first["tagsDeleted"] == 2, retained.story("used")
    assert retained.tags(REPOSITORY) == sorted((*USED, "newest"))
    assert {"reason": "in use", "tags": len(USED) + 1} in first["keptByReason"]
    plan = retained.plan("used-1")
    where = room.namespace
    assert kept_for(plan, "scaled") == f"in use by Deployment {where}/scaled"
    assert kept_for(plan, "multi") == f"in use by Deployment {where}/platform"
    assert kept_for(plan, "nightly") == f"in use by CronJob {where}/nightly"
    assert kept_for(plan, "rolled").startswith(f"in use by ReplicaSet {where}/rolled-")
    assert kept_for(plan, running) == f"in use by Pod {where}/running"
    assert pull(url, REPOSITORY, running) == running
    assert pull(url, REPOSITORY, child) == child

    room.kubectl("delete", "deployments/scaled", "deployments/platform", "deployments/rolled", "--cascade=foreground")
    room.kubectl("delete", "cronjob/nightly", "pod/running")
    retained.retain("used", **policy, undoWindow="1s")
    retained.run_now("used", "used-2")
    second = retained.await_run("used", "Done", after="used-1")
    assert second["tagsDeleted"] == len(USED), retained.story("used")
    assert retained.tags(REPOSITORY) == ["newest"]
    assert not retained.has_blob(running)
    assert not retained.has_blob(child)

    room.delete("imageretention", "used")
    wait_for(lambda: not retained.quarantined(second["run"]), RUN, lambda: f"the purge: {retained.story_of_jobs()}")
    retained.await_pushes()
    assert retained.quarantined(first["run"])
    retained.retain("late", schedule=BY_HAND, undo={"run": second["run"]})
    late = retained.await_undo("late", "Refused")
    assert f"run {second['run']} can't be undone: it was purged at" in late["message"]
    assert pull(url, REPOSITORY, "newest")
    room.delete("imageretention", "late")
