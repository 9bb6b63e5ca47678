"""Directories of a node: taking over a registry that was made by hand, going and coming back, and what stays closed."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from regkeeper import kube, naming
from tests import docker
from tests.cluster import Cluster
from tests.cluster.images.archive import File, Image, Link, layer_tar, write_archive
from tests.cluster.images.system import OLD_REGISTRY_IMAGE, old_registry_image
from tests.e2e.installed.conftest import DIRECTORIES, GROUP, LOCAL_NAMESPACE, ROOT, WORKER
from tests.registry_content import pull, push, push_index, takes_pushes
from tests.registry_process import registry_program, serve_registry
from tests.retained_room import BY_HAND, RetainedRoom
from tests.room import SOON, Room, listed, on_node
from tests.waiting import wait_for

pytestmark = pytest.mark.nodes


def volume_on_worker(room: Room, name: str, content: Path | None = None) -> Path:
    """Make a directory of the worker, with what `content` holds, all of it root's: 0755 and 0644."""
    path = room.cluster.node(WORKER).root / DIRECTORIES.lstrip("/") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        path.mkdir()
    else:
        shutil.copytree(content, path)
    for folder, _, files in os.walk(path):
        os.chown(folder, 0, 0)
        os.chmod(folder, 0o755)
        for file in files:
            os.chown(Path(folder, file), 0, 0)
            os.chmod(Path(folder, file), 0o644)
    return path


def in_directory(name: str) -> dict[str, Any]:
    """A spec that keeps its images in a directory of the worker, and is reached by a port of the nodes."""
    storage = {"local": {"node": WORKER, "path": f"{DIRECTORIES}/{name}"}}
    return {"storage": storage, "access": {"nodePort": {}}, **on_node(WORKER)}


@contextmanager
def registry(room: Room, name: str, **spec: Any) -> Iterator[None]:
    room.registry(name, **spec)
    try:
        yield
    finally:
        room.delete("registry", name)


def written_by_hand(version: Literal["2.8", "3.1"], folder: Path) -> tuple[Path, dict[tuple[str, str], str]]:
    """Let a plain `registry serve` write a volume; return it, and its images' digests by repository and tag."""
    with serve_registry(registry_program(version), folder) as url:
        images = {
            ("boke/wordpress", "latest"): push(url, "boke/wordpress", "latest"),
            ("web/tomcat", "v1"): push_index(url, "web/tomcat", "v1"),
            ("web", "1"): push(url, "web", "1", seed=2),
        }
    return folder / "volume", images


def require_images(url: str, images: dict[tuple[str, str], str]) -> None:
    for (repository, tag), digest in images.items():
        assert pull(url, repository, tag) == digest
        assert pull(url, repository, digest) == digest


@pytest.mark.parametrize(
    ("version", "name", "image"),
    [
        ("2.8", "by-2.8", {"image": OLD_REGISTRY_IMAGE}),
        ("2.8", "by-2.8-on-3", {}),
        ("3.1", "by-3.1", {}),
    ],
)
def test_a_hand_made_registry_is_taken_over_and_comes_back(
    local_room: Room, tmp_path: Path, version: Literal["2.8", "3.1"], name: str, image: dict[str, str]
) -> None:
    """registry.md: "`local` … takes over a registry that was made by hand"; "kubelet applies fsGroup to `local` volumes
    too, as root and recursively"; "The PV … goes by our finalizer …, is bound again on adoption (stale `claimRef.uid`
    cleared). Its directory is never deleted".
    """
    written, images = written_by_hand(version, tmp_path)
    volume = volume_on_worker(local_room, name, written)
    registry_name = name.replace(".", "-")
    spec = {**in_directory(name), **image}

    local_room.registry(registry_name, **spec)
    local_room.await_serving(registry_name)
    require_images(local_room.url(registry_name), images)
    new = {("new/image", "1"): push(local_room.url(registry_name), "new/image", "1")}
    assert {volume.stat().st_gid, next(volume.rglob("link")).stat().st_gid} == {GROUP}
    claim, persistent_volume = storage_objects(local_room, registry_name)
    assert persistent_volume["spec"]["claimRef"]["uid"] == claim["metadata"]["uid"]
    assert persistent_volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    assert "ownerReferences" not in claim["metadata"]
    assert "ownerReferences" not in persistent_volume["metadata"]

    local_room.delete("registry", registry_name)
    local_room.registry(registry_name, **spec)
    local_room.await_serving(registry_name)
    require_images(local_room.url(registry_name), images | new)

    local_room.delete("registry", registry_name)
    gone = persistent_volume["metadata"]["name"]
    wait_for(lambda: local_room.get("persistentvolume", gone) is None, SOON, "the PersistentVolume to go")
    assert next(volume.rglob("link")).exists()


SAMPLE = str(ROOT / "deploy" / "samples" / "registry-takeover.yaml")
INHERITED = "k8sworker1:5000"


@pytest.fixture
def hand_made(installed: Cluster) -> Iterator[str]:
    """A registry that somebody ran by hand on the worker, with an image; its digest."""
    installed.docker_load(WORKER, old_registry_image())
    run = ["docker", "run", "--detach", "--name=registry", "--publish=5000:5000"]
    image = f"{INHERITED}/boke/wordpress:latest"
    try:
        installed.node_exec(WORKER, [*run, "--volume=/srv/registry:/var/lib/registry", "registry:2"])
        docker.load(installed, WORKER, image)
        wait_for(lambda: takes_pushes(f"http://{installed.node_ip(WORKER)}:5000"), SOON, "the registry to listen")
        with docker.trusted(installed, WORKER, registry=INHERITED):
            yield docker.push(installed, WORKER, image)
    finally:
        installed.node_exec(WORKER, ["docker", "rm", "--force", "registry"])
        installed.node_exec(WORKER, ["docker", "image", "rm", "--force", image])
        installed.node_exec(WORKER, ["rm", "-rf", "/srv/registry"])


def test_the_sample_takes_over_a_container_that_still_runs(installed: Cluster, hand_made: str) -> None:
    """registry.md: "a hand-made `docker run -p 5000:5000` that still runs is not \"port taken\", it just answers. So …
    another answerer is `PortTaken` … Tested with the hand-made container still running".
    """
    room = Room(installed, "default")
    room.kubectl("apply", f"--filename={SAMPLE}")
    try:
        taken = room.await_condition("Ready", "PortTaken", "inherited")
        assert taken["status"] == "False"
        assert taken["message"] == f"another registry answers at {INHERITED}: docker stop it"
        installed.node_exec(WORKER, ["docker", "stop", "registry"])
        room.await_serving("inherited")
        docker.pull(installed, WORKER, f"{INHERITED}/boke/wordpress:latest")
        docker.pull(installed, WORKER, f"{INHERITED}/boke/wordpress@{hand_made}")
    finally:
        room.kubectl("delete", f"--filename={SAMPLE}", f"--timeout={SOON}s")


def storage_objects(room: Room, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A Registry's claim and PersistentVolume."""
    volume = naming.persistent_volume_name(room.namespace, name)
    return room.need("persistentvolumeclaim", naming.claim_name(name)), room.need("persistentvolume", volume)


def test_a_volume_whose_claim_is_gone_is_bound_again(local_room: Room) -> None:
    """registry.md: "stale `claimRef.uid` cleared", where the claim went behind the operator's back."""
    volume_on_worker(local_room, "goes")
    with registry(local_room, "goes", **in_directory("goes")):
        local_room.await_serving("goes")
        digest = push(local_room.url("goes"), "kept", "1")
        before, _ = storage_objects(local_room, "goes")
        local_room.kubectl("delete", "persistentvolumeclaim", "goes-storage", "--wait=false")
        local_room.kubectl("delete", "pods", "--selector=regkeeper.dev/registry=goes")

        def bound_again() -> bool:
            claim = local_room.get("persistentvolumeclaim", "goes-storage") or before
            is_new: bool = claim["metadata"]["uid"] != before["metadata"]["uid"]
            return is_new and claim["status"].get("phase") == "Bound"

        wait_for(bound_again, SOON, lambda: f"the volume to be bound again: {storage_objects(local_room, 'goes')}")
        wait_for(lambda: any(is_ready(pod) for pod in local_room.pods("goes")), SOON, "a pod on the new claim")
        # Only now: before, it may be said of the pod that went. And nodes hear of a ready pod after the API server.
        local_room.await_serving("goes")
        assert pull(local_room.url("goes"), "kept", "1") == digest


def is_ready(pod: dict[str, Any]) -> bool:
    return any(
        condition["type"] == "Ready" and condition["status"] == "True" for condition in pod["status"]["conditions"]
    )


def test_a_subtree_of_roots_is_named_and_the_remedy_helps(local_room: Room, tmp_path: Path) -> None:
    """registry.md: "failure is `StorageReady` False with path, owner and the `chown`"; "A test's tree is owned by root,
    0755/0644, with one subtree of root's under a matching root".
    """
    written, images = written_by_hand("3.1", tmp_path)
    volume = volume_on_worker(local_room, "subtree", written)
    # The root matches, so that kubelet's OnRootMismatch leaves what is below as it is.
    os.chown(volume, 0, GROUP)
    os.chmod(volume, 0o2775)
    with registry(local_room, "subtree", **in_directory("subtree")):
        failed = local_room.await_condition("StorageReady", "VolumeNotWritable", "subtree")
        assert failed["status"] == "False"
        assert "/var/lib/registry/docker can't be used" in failed["message"]
        assert "owned by 0:0, mode 0755" in failed["message"]
        remedy = re.search(r"run: (chgrp .*)$", failed["message"])
        assert remedy, failed["message"]
        assert f"{DIRECTORIES}/subtree" in remedy[1]
        # retention.md: a run changes nothing there: "one refusal with the names and the `chown` that helps".
        retained = RetainedRoom(local_room, "subtree", node=WORKER, path=f"{DIRECTORIES}/subtree")
        retained.retain("subtree", delete=["web:1"], schedule=BY_HAND)
        retained.run_now("subtree", "subtree-1")
        assert failed["message"] in retained.await_outcome("subtree", "Refused")["message"]
        local_room.delete("imageretention", "subtree")
        local_room.cluster.node_exec(WORKER, ["sh", "-c", remedy[1]])
        local_room.await_serving("subtree")
        require_images(local_room.url("subtree"), images)
        assert local_room.condition("StorageReady", "subtree")["reason"] == "Bound"


PLANT = """
ln -s /etc /var/lib/registry/planted
ln -s /etc /var/lib/registry/docker
ln -s /etc/shadow /var/lib/registry/shadow
exec sleep 600
"""


def planting_image(name: str, folder: Path) -> Path:
    """The archive of a tenant's image: no registry at all, but something that plants symbolic links in its volume.

    It heeds no signal, as a registry in its first moments.
    """
    busybox = shutil.which("busybox", path="/usr/bin:/bin")
    assert busybox is not None
    files = {"bin/busybox": File(Path(busybox).read_bytes(), 0o755), "plant": File(PLANT.encode())}
    config = {"Entrypoint": ["/bin/busybox", "sh", "/plant"], "Env": ["PATH=/bin"]}
    image = Image(
        names=[name],
        layers=[layer_tar({**files, "bin/ln": Link("busybox"), "bin/sleep": Link("busybox")})],
        config=config,
    )
    write_archive(image, folder / "planting.tar")
    return folder / "planting.tar"


def is_told_to_end(pod: dict[str, Any]) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def owners(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Mode, owner and group of a directory and of everything in it, without following links."""
    entries = {path.name: path.lstat() for path in folder.iterdir()} | {".": folder.lstat()}
    return {name: (status.st_mode, status.st_uid, status.st_gid) for name, status in entries.items()}


def test_links_that_an_image_planted_open_nothing_of_the_node(local_room: Room, tmp_path: Path) -> None:
    """registry.md: "A tenant must not get at `/etc` through a symlink that an earlier image of theirs planted". Neither
    kubelet's pass over the volume as root nor a later pod follows one; the next test tries paths through one.
    """
    volume = volume_on_worker(local_room, "planted")
    etc = local_room.cluster.node(WORKER).root / "etc"
    before = owners(etc)
    planting = "docker.io/tenant/planting:1"
    local_room.cluster.load(planting_image(planting, tmp_path))
    with registry(local_room, "planted", **in_directory("planted"), image=planting, imagePullPolicy="Never"):
        wait_for((volume / "shadow").is_symlink, SOON, lambda: f"links: {local_room.status('planted')}")
    # The garbage collector of a new cluster hears of our kinds within half a minute.
    wait_for(lambda: all(map(is_told_to_end, local_room.pods("planted"))), SOON, "the pods to be told to end")
    # Process 1 would have gone on until its grace of 40 seconds was over.
    wait_for(lambda: not local_room.pods("planted"), 35, "a pod that heeds no signal to end all the same")
    # A root that does not match lets kubelet go through everything again.
    os.chown(volume, 0, 0)
    with registry(local_room, "planted", **in_directory("planted")):
        failed = local_room.await_condition("StorageReady", "VolumeNotWritable", "planted")
        assert "/var/lib/registry/docker can't be used" in failed["message"]
    assert volume.stat().st_gid == GROUP
    assert owners(etc) == before


def test_a_symbolic_link_planted_in_a_volume_opens_nothing(local_room: Room) -> None:
    """Who may write in an allowed directory gets no other one by a path through it."""
    allowed = f"{DIRECTORIES}/linked"
    local_room.cluster.node_exec(WORKER, ["mkdir", "--parents", allowed])
    local_room.cluster.node_exec(WORKER, ["ln", "--symbolic", "/etc", f"{allowed}/planted"])
    for path in (f"{allowed}/planted", "/etc"):
        with registry(local_room, "linked", storage={"local": {"node": WORKER, "path": path}}):
            refusal = f"spec.storage.local: {path} on node {WORKER} is not open to namespace {LOCAL_NAMESPACE}"

            def is_refused(refusal: str = refusal) -> bool:
                return refusal in local_room.condition("Ready", "linked").get("message", "")

            wait_for(is_refused, SOON, refusal)
            # Before the Registry goes, as its volume would go with it.
            volumes = listed(local_room.cluster, kube.VOLUME)
            assert path not in [volume["spec"].get("local", {}).get("path") for volume in volumes]
