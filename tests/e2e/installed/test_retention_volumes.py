"""Volumes with which a run must take care: refused with the reason and the remedy, or right."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from regkeeper import kube, naming
from tests.cluster import Cluster
from tests.e2e.installed.conftest import DIRECTORIES, WORKER, MakeRoom, hand_made_volume, make_shared_claim
from tests.registry_content import pull, push
from tests.retained_room import BY_HAND, RUN, RetainedRoom
from tests.room import SOON, Room, on_node
from tests.waiting import wait_for

pytestmark = pytest.mark.nodes

MASTER = "k8smaster"
HOSTNAME = "kubernetes.io/hostname"


def delete(image: str, **spec: Any) -> dict[str, Any]:
    return {"schedule": BY_HAND, "delete": [image], **spec}


def writer(name: str, claim: str) -> dict[str, Any]:
    """A pod that mounts a claim for writing."""
    container = {
        "name": "main",
        "image": "busybox:1",
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", "sleep 3600 & wait"],
        "volumeMounts": [{"name": "images", "mountPath": "/images"}],
    }
    volume = {"name": "images", "persistentVolumeClaim": {"claimName": claim}}
    spec = {"containers": [container], "volumes": [volume], "terminationGracePeriodSeconds": 0, **on_node(WORKER)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def test_whoever_else_has_the_volume_is_named(retained: RetainedRoom, make_room: MakeRoom) -> None:
    """retention.md: "Any other pod that mounts the claim writable refuses the run, with its name"; issue 6: "Two
    Registries by mistake on one directory".
    """
    room = retained.room
    push(retained.url, "found/app", "old", seed=1)
    room.apply(writer("backup", naming.claim_name(retained.name)))
    retained.retain("found", **delete("found/app:old"))
    retained.run_now("found", "found-1")
    refused = retained.await_run("found", "Refused")
    assert "Pod backup mounts PersistentVolumeClaim retained-storage for writing" in refused["message"]
    assert "end it, or mount the claim read-only there" in refused["message"]
    wait_for(lambda: room.get("job", "found-1") is None, RUN, "the Job to go, which waits for nothing any more")
    room.kubectl("delete", "pod/backup")
    room.delete("imageretention", "found")

    other = make_room()
    hand_made_volume(other, "mistake", f"{DIRECTORIES}/retained")
    other.registry(storage={"existingClaim": "mistake"})
    other.await_condition("Stalled", "VolumeInUse")
    second = RetainedRoom(other, "main", node=WORKER, path=f"{DIRECTORIES}/retained")
    second.retain("mistaken", **delete("found/app:old"))
    second.run_now("mistaken", "mistaken-1")
    refused = second.await_outcome("mistaken", "Refused")
    assert f"Registry {room.namespace}/retained keeps its images on the same volume" in refused["message"]
    assert retained.tags("found/app") == ["old"]


@pytest.mark.rare
def test_a_pull_through_cache_is_cleaned_offline_only(retained: RetainedRoom, room: Room) -> None:
    """retention.md: "A pull-through cache writes even when read-only: Offline only"."""
    digests = {tag: push(retained.url, "cached/app", tag, seed=number) for number, tag in enumerate(("old", "new"))}
    claim_directory = f"{DIRECTORIES}/cache"
    room.cluster.node_exec(WORKER, ["mkdir", "--parents", claim_directory])
    hand_made_volume(room, "cache", claim_directory)
    room.registry(
        storage={"existingClaim": "cache"},
        access={"nodePort": {"nodes": [WORKER]}},
        config={"proxy": {"remoteurl": retained.url}},
        **on_node(WORKER),
    )
    room.await_serving()
    cache = RetainedRoom(room, "main", node=WORKER, path=claim_directory)
    for tag, digest in digests.items():
        assert pull(cache.url, "cached/app", tag) == digest
    wait_for((cache.directory / "scheduler-state.json").exists, SOON, "the cache's schedule")
    cache.retain("clean", **delete("cached/app:old"))
    cache.run_now("clean", "clean-1")
    refused = cache.await_outcome("clean", "Refused")
    assert "this is the volume of a pull-through cache" in refused["message"]
    cache.retain("clean", **delete("cached/app:old"), mode="Offline")
    cache.run_now("clean", "clean-2")
    cache.await_outcome("clean", "Done", after="clean-1")
    room.await_serving()
    assert not cache.has_blob(digests["old"])
    assert pull(cache.url, "cached/app", "new") == digests["new"]


PREFERRED = "regkeeper.dev/test-preferred"
"""A label of the node at which a registry's pods would like to be."""


@pytest.fixture
def preferred(installed: Cluster) -> Iterator[Callable[[str], None]]:
    """Makes one of the nodes the preferred one."""

    def label(node: str) -> None:
        installed.kubectl("label", "nodes", "--all", f"{PREFERRED}-")
        installed.kubectl("label", "node", node, f"{PREFERRED}=yes")

    yield label
    installed.kubectl("label", "nodes", "--all", f"{PREFERRED}-")


@pytest.mark.rare
def test_a_volume_that_could_follow_the_registry_stays_with_the_run(
    room: Room, shared_directory: Path, preferred: Callable[[str], None]
) -> None:
    """retention.md: "pins the Job to the registry's node where the volume is RWO": and the registry to the run's, as
    the pod that the switch makes anew could not have the volume at another node before the run has ended.
    """
    make_shared_claim(room, {"hostPath": {"path": str(shared_directory)}}, mode="ReadWriteOnce")
    expression = {"key": PREFERRED, "operator": "In", "values": ["yes"]}
    term = {"weight": 100, "preference": {"matchExpressions": [expression]}}
    preferred(WORKER)
    room.registry(
        storage={"existingClaim": "shared"},
        access={"nodePort": {"nodes": [WORKER]}},
        affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}},
        tolerations=on_node(WORKER)["tolerations"],
    )
    room.await_serving()
    assert nodes(room) == [WORKER]
    retained = RetainedRoom(room, "main", node=WORKER, path=str(shared_directory))
    push(retained.url, "app", "old", seed=1)
    preferred(MASTER)
    retained.retain("clean", **delete("app:old"))
    retained.run_now("clean", "clean-1")
    retained.await_run("clean", "Done")
    job = room.need("job", "clean-1")
    assert job["spec"]["template"]["spec"]["nodeSelector"] == {HOSTNAME: WORKER}
    revisions = room.listed(kube.REPLICA_SET)
    held = [each["spec"]["template"]["spec"].get("nodeSelector") for each in revisions]
    assert held.count({HOSTNAME: WORKER}) == 1, held
    wait_for(lambda: nodes(room) == [MASTER], SOON, lambda: f"the registry to be free again: {nodes(room)}")


def nodes(room: Room) -> list[str]:
    """Where the registry's pods are."""
    pods = room.listed(kube.POD, f"{naming.REGISTRY_LABEL}=main,!{naming.RETENTION_LABEL}")
    return [pod["spec"].get("nodeName", "") for pod in pods]
