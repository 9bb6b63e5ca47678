"""Claims on a real cluster: kept and adopted, grown, deleted with the Registry or the namespace, used by one only."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from regkeeper import kube
from tests.cluster import Cluster
from tests.e2e.installed.conftest import (
    DIRECTORIES,
    GOING_NAMESPACE,
    LOCAL_NAMESPACE,
    WORKER,
    MakeRoom,
    hand_made_volume,
    share_directory,
)
from tests.registry_content import pull, push, push_index
from tests.room import SOON, Room, listed, on_node
from tests.waiting import wait_for

pytestmark = pytest.mark.nodes

NODE_PORT: dict[str, Any] = {"access": {"nodePort": {}}}


def test_images_on_a_kept_claim_come_back_by_tag_and_digest(room: Room) -> None:
    """registry.md: "A kept claim has no owner reference. One that doesn't fit is adopted as it is, with a condition".

    Issue 3: "a condition says why not where it doesn't" grow.
    """
    room.registry(storage={"size": "1Gi"}, **NODE_PORT)
    room.await_serving()
    images = {
        ("boke/wordpress", "latest"): push(room.url(), "boke/wordpress", "latest"),
        ("web/tomcat", "v1"): push_index(room.url(), "web/tomcat", "v1"),
    }
    kept = room.need("persistentvolumeclaim", "main-storage")
    assert "ownerReferences" not in kept["metadata"]
    room.delete("registry")

    room.registry(storage={"size": "2Gi"}, **NODE_PORT)
    room.await_serving()
    for (repository, tag), digest in images.items():
        assert pull(room.url(), repository, tag) == digest
        assert pull(room.url(), repository, digest) == digest
    adopted = room.need("persistentvolumeclaim", "main-storage")
    assert adopted["metadata"]["uid"] == kept["metadata"]["uid"]
    assert adopted["spec"] == kept["spec"]
    differs = room.await_condition("StorageReady", "ClaimDiffers")
    assert differs["status"] == "True"
    assert "can't grow to 2Gi: its storage class local-path does not allow expansion" in differs["message"]


def test_storage_that_kubelet_gives_to_no_group_is_named_and_the_remedy_helps(room: Room) -> None:
    """registry.md: "On NFS it often does nothing. So an init container with the pod's own ids proves write"."""
    path = "/srv/of-root"
    room.cluster.node_exec(WORKER, ["mkdir", "--mode=0755", "--parents", path])
    share_directory(room, path)
    room.registry(storage={"existingClaim": "shared"}, **on_node(WORKER))
    failed = room.await_condition("StorageReady", "VolumeNotWritable")
    assert failed["status"] == "False"
    assert "/var/lib/registry can't be used" in failed["message"]
    assert "owned by 0:0, mode 0755" in failed["message"]
    remedy = re.search(r"run: (chgrp .*)$", failed["message"])
    assert remedy, failed["message"]
    room.cluster.node_exec(WORKER, ["sh", "-c", remedy[1].replace("/var/lib/registry", path)])
    room.await_serving()


@contextmanager
def expandable_class(cluster: Cluster) -> Iterator[str]:
    """A class of the cluster's provisioner that allows expansion; nobody carries one out."""
    body = json.loads(cluster.kubectl("get", "storageclass", "local-path", "--output=json"))
    body["metadata"] = {"name": "expandable"}
    body["allowVolumeExpansion"] = True
    cluster.kubectl("apply", "--filename=-", stdin=json.dumps(body))
    yield "expandable"
    cluster.kubectl("delete", "storageclass", "expandable")


def test_a_claim_grows_where_its_class_allows_it_and_goes_if_it_shall(room: Room) -> None:
    """Issue 3: "Size may grow (the claim is expanded where its class allows it …)"; `deletionPolicy: Delete`."""
    with expandable_class(room.cluster) as name:
        storage = {"size": "1Gi", "storageClassName": name, "deletionPolicy": "Delete"}
        room.registry(storage=storage)
        room.await_serving()
        room.registry(storage={**storage, "size": "2Gi"})
        growing = room.await_condition("StorageReady", "Resizing")
        assert growing["status"] == "True"
        assert "it grows from 1Gi to 2Gi" in growing["message"]
        claim = room.need("persistentvolumeclaim", "main-storage")
        assert claim["spec"]["resources"]["requests"]["storage"] == "2Gi"
        room.delete("registry")
        wait_for(lambda: room.get("persistentvolumeclaim", "main-storage") is None, SOON, "the claim to go")


def volumes_of(cluster: Cluster, namespace: str) -> list[str]:
    """Names of the PersistentVolumes that claims of a namespace have."""
    return [
        volume["metadata"]["name"]
        for volume in listed(cluster, kube.VOLUME)
        if volume["spec"].get("claimRef", {}).get("namespace") == namespace
    ]


def test_deleting_the_namespace_deletes_the_claim_and_keeps_the_directory(installed: Cluster) -> None:
    """registry.md: "Deleting the namespace deletes the claim: docs and NOTES say so". Our finalizer holds nothing."""
    path = f"{DIRECTORIES}/left"
    installed.node_exec(WORKER, ["mkdir", "--parents", path])
    installed.kubectl("create", "namespace", GOING_NAMESPACE)
    room = Room(installed, GOING_NAMESPACE)
    room.registry("claimed", storage={"size": "1Gi"}, **NODE_PORT)
    room.registry("local", storage={"local": {"node": WORKER, "path": path}}, **NODE_PORT)
    for name in ("claimed", "local"):
        room.await_serving(name)
        push(room.url(name), "kept", "1")
    assert len(volumes_of(installed, GOING_NAMESPACE)) == 2

    installed.kubectl("delete", "namespace", GOING_NAMESPACE, f"--timeout={SOON}s")

    def volumes() -> list[str]:
        return volumes_of(installed, GOING_NAMESPACE)

    wait_for(lambda: not volumes(), SOON, lambda: f"the volumes to go: {volumes()}")
    installed.node_exec(WORKER, ["test", "-d", f"{path}/docker/registry/v2/repositories/kept"])


def test_a_directory_has_one_registry_whatever_leads_to_it(local_room: Room, make_room: MakeRoom) -> None:
    """registry.md: "a second one on the same claim, PV or node path (equal, inside or above) is `Stalled`,
    `VolumeInUse`, naming the first". The same claim: test_operator_ownership.py.
    """
    path = f"{DIRECTORIES}/exclusive"
    local_room.cluster.node_exec(WORKER, ["mkdir", "--parents", path])
    local_room.registry("first", storage={"local": {"node": WORKER, "path": path}}, **on_node(WORKER))
    local_room.await_serving("first")
    room = make_room()
    # In the order of their names, which decides between those made in the same second.
    for name, place in {"equal": path, "inside": f"{path}/docker", "outer": DIRECTORIES}.items():
        hand_made_volume(room, name, place)
        room.kubectl("wait", "--for=jsonpath={.status.phase}=Bound", f"pvc/{name}", f"--timeout={SOON}s")
        room.registry(name, storage={"existingClaim": name})
        stalled = room.await_condition("Stalled", "VolumeInUse", name)
        # In the outer one are the directories of other tests too.
        holder = LOCAL_NAMESPACE if name == "outer" else f"{LOCAL_NAMESPACE}/first keeps its images on the same volume"
        assert f"Registry {holder}" in stalled["message"]
        assert room.get("deployment", name) is None
    local_room.delete("registry", "first")
    room.await_serving("equal")
