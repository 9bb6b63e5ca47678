"""What users notice of a run: registries that stop, or are replaced pod after pod, while images are pulled."""

from pathlib import Path
from typing import Any

import pytest

from regkeeper import kube, naming
from tests.e2e.installed.conftest import DIRECTORIES, WORKER, MakeRoom, hand_made_volume, make_shared_claim
from tests.pulls import Pulls
from tests.registry_content import pull, push
from tests.retained_room import BY_HAND, RUN, RetainedRoom
from tests.room import SOON, Room, on_node
from tests.waiting import wait_for

pytestmark = pytest.mark.nodes


PATIENCE = 15.0  # seconds
"""For an answer that must come: a machine that is busy is no registry that is gone."""


def keep_one(repository: str) -> dict[str, Any]:
    return {"schedule": BY_HAND, "rules": [{"name": "newest", "repositories": [repository], "keep": {"last": 1}}]}


def test_a_volume_for_one_pod_alone_is_cleaned_offline(room: Room) -> None:
    """retention.md: "`ReadWriteOncePod` wants Offline"; "read-only (or scaled to zero, the count remembered and given
    back)"; "pulls fail …, measured and shown"; "Offline pins by the volume's node affinity", here by that alone: no pod
    of the registry is left by which a run could find the volume, and both may go to either node.
    """
    path = f"{DIRECTORIES}/one"
    room.cluster.node_exec(WORKER, ["mkdir", "--parents", path])
    hand_made_volume(room, "one", path, "ReadWriteOncePod")
    room.registry(
        storage={"existingClaim": "one"},
        access={"nodePort": {"nodes": [WORKER]}},
        tolerations=on_node(WORKER)["tolerations"],
    )
    room.await_serving()
    retained = RetainedRoom(room, "main", node=WORKER, path=path)
    gone, stays = (push(retained.url, "app", tag, seed=number) for number, tag in enumerate(("old", "new")))

    retained.retain("clean", **keep_one("app"))
    retained.run_now("clean", "clean-1")
    refused = retained.await_run("clean", "Refused")
    assert "is for the registry's pod alone (ReadWriteOncePod): set mode to Offline" in refused["message"]

    retained.retain("clean", **keep_one("app"), mode="Offline")
    with Pulls([retained.url], "app", "new").going_on() as pulls:
        retained.run_now("clean", "clean-2")
        done = retained.await_run("clean", "Done", after="clean-1")
        # A pull that was begun to the pod that went may fail for a while after the new one takes pushes.
        wait_for(lambda: pulls.outages, RUN, lambda: f"pulls to fail and succeed again: {pulls.failures}")
    assert done["tagsDeleted"] == 1
    (pod,) = room.listed(kube.POD, "job-name=clean-2")
    assert pod["spec"]["nodeName"] == WORKER
    assert not {"nodeSelector", "affinity"} & pod["spec"].keys(), "it was pinned otherwise"
    assert not retained.has_blob(gone)
    assert pull(retained.url, "app", "new") == stays
    assert done["pullsWaited"] == done["pushesWaited"]


def test_pulls_never_fail_where_there_are_two_replicas(make_room: MakeRoom, shared_directory: Path) -> None:
    """retention.md: "With more replicas pulls never fail". Each node has a pod that writes, as on an NFS export."""
    room = make_room()
    make_shared_claim(room, {"hostPath": {"path": str(shared_directory)}})
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
    selector = {"matchLabels": naming.selector_labels("main")}
    tolerations = on_node(WORKER)["tolerations"]
    room.registry(
        storage={"existingClaim": "shared"},
        replicas=2,
        access={"nodePort": {}},
        tolerations=tolerations,
        topologySpreadConstraints=[{**spread, "labelSelector": selector, "matchLabelKeys": ["pod-template-hash"]}],
    )
    room.await_serving()
    retained = RetainedRoom(room, "main", node=WORKER, path=str(shared_directory))
    assert len({pod["spec"]["nodeName"] for pod in room.pods()}) == 2
    gone, stays = (push(retained.url, "app", tag, seed=number) for number, tag in enumerate(("old", "new")))

    port = retained.url.rpartition(":")[2]
    urls = [f"http://{room.cluster.node_ip(node)}:{port}" for node in ("k8smaster", WORKER)]
    retained.retain("clean", **keep_one("app"))
    with Pulls(urls, "app", "new", patience=PATIENCE).going_on() as pulls:
        retained.run_now("clean", "clean-1")
        done = retained.await_run("clean", "Done")
        room.kubectl("rollout", "status", "deployment/main", f"--timeout={SOON}s")
    assert pulls.failures == []
    assert pulls.count > 100
    assert done["tagsDeleted"] == 1
    assert not retained.has_blob(gone)
    assert pull(retained.url, "app", "new") == stays
