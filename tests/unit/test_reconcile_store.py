"""What the store remembers of what the watches showed."""

from typing import Any

from regkeeper import kube, naming
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.store import Store, owner_key

MAIN = Key("images", "main")


def config_map(version: int, name: str = "main-config", **metadata: Any) -> kube.Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": "images",
            "resourceVersion": str(version),
            "labels": naming.object_labels("main"),
            **metadata,
        },
        "data": {"version": str(version)},
    }


def stored_version(store: Store) -> str | None:
    body = store.get(kube.CONFIG_MAP, "images", "main-config")
    return None if body is None else str(body["data"]["version"])


def test_the_newest_version_wins_whatever_the_order() -> None:
    store = Store()
    assert store.put(config_map(9))
    assert store.put(config_map(10))
    assert not store.put(config_map(9)), "9 is older than 10, though not as text"
    assert not store.put(config_map(10)), "the watch event of our own write is no news"
    assert stored_version(store) == "10"


def test_the_answer_to_a_write_does_not_bring_a_deleted_object_back() -> None:
    store = Store()
    store.put(config_map(1))
    assert store.remove(config_map(5))
    assert not store.put(config_map(4))
    assert stored_version(store) is None
    assert store.put(config_map(6)), "made again under its name"


def test_what_went_is_forgotten_once_no_answer_to_an_earlier_write_can_come() -> None:
    store = Store()
    store.put(config_map(1))
    store.remove(config_map(5))
    store.forget_gone()
    assert not store.put(config_map(4)), "it went just before the listing ended"
    store.forget_gone()
    assert store.put(config_map(4)), "of a backup"


def test_a_late_deletion_does_not_remove_what_was_made_since() -> None:
    store = Store()
    store.put(config_map(7))
    assert not store.remove(config_map(5))
    assert stored_version(store) == "7"


def test_an_object_is_found_by_its_registry_and_moves_with_its_label() -> None:
    store = Store()
    store.put(config_map(1))
    assert [child["metadata"]["name"] for child in store.children(MAIN, kube.CONFIG_MAP)] == ["main-config"]
    store.put(config_map(2, labels=naming.object_labels("other")))
    assert store.children(MAIN, kube.CONFIG_MAP) == []
    assert len(store.children(Key("images", "other"), kube.CONFIG_MAP)) == 1


def test_an_object_without_our_label_is_known_by_its_owner_reference() -> None:
    reference = {"apiVersion": naming.API_VERSION, "kind": "Registry", "name": "main", "uid": "u"}
    assert owner_key(config_map(1, labels={}, ownerReferences=[reference])) == MAIN
    relabelled = config_map(1, labels=naming.object_labels("other"), ownerReferences=[reference])
    assert owner_key(relabelled) == MAIN, "who has to repair the label"
    assert owner_key(config_map(1, labels={})) is None


def test_a_volume_is_known_by_its_namespace_label() -> None:
    labels = {**naming.object_labels("main"), naming.REGISTRY_NAMESPACE_LABEL: "images"}
    body = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "x", "labels": labels}}
    assert owner_key(body) == MAIN


def test_of_a_pod_the_node_and_its_ports_are_kept() -> None:
    store = Store()
    ports = [{"containerPort": 5000, "hostPort": 5000}, {"containerPort": 1}]
    spec = {"nodeName": "k8smaster", "containers": [{"name": "registry", "image": "x", "ports": ports}]}
    store.put({**config_map(1), "kind": "Pod", "spec": spec})
    body = store.get(kube.POD, "images", "main-config")
    assert body is not None
    assert body["spec"] == {"nodeName": "k8smaster", "containers": [{"ports": ports[:1]}]}


def test_only_our_managed_fields_are_kept() -> None:
    store = Store()
    ours = {"manager": naming.FIELD_MANAGER, "operation": "Apply", "fieldsV1": {}}
    store.put(config_map(1, managedFields=[ours, {**ours, "manager": "kubectl"}, {**ours, "subresource": "status"}]))
    body = store.get(kube.CONFIG_MAP, "images", "main-config")
    assert body is not None
    assert body["metadata"]["managedFields"] == [ours]


def test_who_has_seen_all_registries_sees_that_there_is_another() -> None:
    def registry(name: str, version: int) -> kube.Object:
        metadata = {"name": name, "namespace": "images", "resourceVersion": str(version)}
        return {"apiVersion": naming.API_VERSION, "kind": "Registry", "metadata": metadata}

    store = Store()
    store.put(registry("first", 1))
    seen = store.arrivals
    store.put(registry("first", 2))
    store.put(config_map(3))
    assert store.arrivals == seen, "the same Registry, and an object of it"
    store.remove(registry("first", 4))
    store.put(registry("second", 5))
    assert store.arrivals > seen, "as many as before, and not the same"
