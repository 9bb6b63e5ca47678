"""What the watches showed last: Registries whole, their objects trimmed to what a pass needs.

The newest resourceVersion wins, whether it came by watch, by listing or as the answer to our own write; so a pass
between a write and its watch event sees what it wrote, and does not write again.
"""

from collections import defaultdict
from collections.abc import Iterable, KeysView, Mapping
from typing import Any

from regkeeper import kube, naming
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.sharing import Parts

Identity = tuple[str, str, str]
"""Kind, namespace (empty for cluster-scoped objects) and name."""

_POD_STATUS = (
    "phase",
    "reason",
    "message",
    "conditions",
    "containerStatuses",
    "initContainerStatuses",
    "hostIP",
    "startTime",
)
_DEPLOYMENT_STATUS = (
    "observedGeneration",
    "replicas",
    "updatedReplicas",
    "readyReplicas",
    "availableReplicas",
    "unavailableReplicas",
    "conditions",
)


def identity(body: Mapping[str, Any]) -> Identity:
    """Under which name the store knows an object."""
    metadata = body["metadata"]
    return body["kind"], metadata.get("namespace", ""), metadata["name"]


def version(body: Mapping[str, Any]) -> int:
    """The resourceVersion as a number; Kubernetes 1.35 promises that those of one kind compare as numbers."""
    return int(body["metadata"].get("resourceVersion") or 0)


def owner_key(body: Mapping[str, Any]) -> Key | None:
    """The Registry to which an object belongs: by what an ImageRetention names, an owner reference, or our labels.

    Labels are changed by accident, and who then has to repair them is the owner. None: it belongs to none.
    """
    metadata = body["metadata"]
    if body["kind"] == kube.IMAGE_RETENTION.kind:
        return Key(metadata["namespace"], body["spec"]["registryRef"]["name"])
    labels = metadata.get("labels") or {}
    namespace = metadata.get("namespace") or labels.get(naming.REGISTRY_NAMESPACE_LABEL)
    name = labels.get(naming.REGISTRY_LABEL)
    for reference in metadata.get("ownerReferences") or ():
        if reference["kind"] == "Registry" and reference["apiVersion"].startswith(naming.GROUP + "/"):
            name = reference["name"]
    return Key(namespace, name) if name and namespace else None


def subject(body: Mapping[str, Any]) -> Key | None:
    """The Registry that an object is about: the one to which it belongs, or which it is."""
    if body["kind"] == kube.REGISTRY.kind:
        return Key(body["metadata"]["namespace"], body["metadata"]["name"])
    return owner_key(body)


def trim(body: Mapping[str, Any]) -> kube.Object:
    """Keep what passes read: no foreign managed fields, no status that nobody looks at, of a pod hardly any spec."""
    metadata: dict[str, Any] = dict(body["metadata"])
    metadata["managedFields"] = [
        entry
        for entry in metadata.get("managedFields") or ()
        if entry.get("manager") == naming.FIELD_MANAGER and not entry.get("subresource")
    ]
    trimmed: kube.Object = {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": metadata}
    status = body.get("status") or {}
    match body["kind"]:
        case "Registry":
            del metadata["managedFields"]
            trimmed |= {"spec": body.get("spec") or {}, "status": status}
        case "Pod":
            del metadata["managedFields"]
            metadata.pop("annotations", None)
            trimmed["spec"] = _pod_spec(body.get("spec") or {})
            trimmed["status"] = {key: status[key] for key in _POD_STATUS if key in status}
        case "Deployment":
            trimmed["spec"] = body["spec"]
            trimmed["status"] = {key: status[key] for key in _DEPLOYMENT_STATUS if key in status}
        case _:
            trimmed |= {key: value for key, value in body.items() if key not in trimmed}
    return trimmed


def _pod_spec(spec: Mapping[str, Any]) -> kube.Object:
    """Where a pod runs, and which ports of that node it has."""
    ports = [
        port
        for container in spec.get("containers") or ()
        for port in container.get("ports") or ()
        if "hostPort" in port
    ]
    return {"nodeName": spec.get("nodeName"), **({"containers": [{"ports": ports}]} if ports else {})}


class Store:
    """The objects that were seen. Nothing in here may be changed by a reader."""

    def __init__(self) -> None:
        self._parts = Parts()
        self._objects: dict[Identity, kube.Object] = {}
        self._registries: dict[Key, kube.Object] = {}
        """Those of `_objects` that are Registries."""
        self.arrivals = 0
        """How many Registries have come so far: who has seen them all sees by it that there are new ones."""
        self._by_owner: defaultdict[Key, set[Identity]] = defaultdict(set)
        self._gone: dict[Identity, int] = {}
        """Version at which an object went, so that a late answer to an earlier write does not bring it back."""
        self._long_gone: dict[Identity, int] = {}
        """The same of those that were in `_gone` at the last listing."""

    def put(self, body: Mapping[str, Any]) -> bool:
        """Remember an object; False if what is known is as new or newer."""
        key = identity(body)
        known = self._objects.get(key)
        gone = max(self._gone.get(key, 0), self._long_gone.get(key, 0))
        if version(body) <= max(version(known) if known else 0, gone):
            return False
        if known is not None:
            self._drop(key, known)
        self._gone.pop(key, None)
        self._long_gone.pop(key, None)
        self._objects[key] = trimmed = self._parts.shared(trim(body))
        if body["kind"] == kube.REGISTRY.kind:
            self._registries[Key(key[1], key[2])] = trimmed
            self.arrivals += known is None
        if (owner := owner_key(body)) is not None:
            self._by_owner[owner].add(key)
        return True

    def remove(self, body: Mapping[str, Any]) -> bool:
        """Forget an object that was deleted; False if a newer one of its name is known."""
        key = identity(body)
        known = self._objects.get(key)
        if known is not None and version(known) > version(body):
            return False
        # Names of pods are never used twice, and nothing that we write brings one back.
        if body["kind"] != "Pod":
            self._gone[key] = version(body)
        if known is None:
            return False
        self._drop(key, known)
        return True

    def _drop(self, key: Identity, known: Mapping[str, Any]) -> None:
        del self._objects[key]
        if key[0] == kube.REGISTRY.kind:
            del self._registries[Key(key[1], key[2])]
        if (owner := owner_key(known)) is not None:
            siblings = self._by_owner[owner]
            siblings.discard(key)
            if not siblings:
                del self._by_owner[owner]

    def get(self, resource: kube.Resource, namespace: str | None, name: str) -> kube.Object | None:
        """The object as it was seen last."""
        return self._objects.get((resource.kind, namespace or "", name))

    def registry(self, key: Key) -> kube.Object | None:
        """The Registry as it was seen last."""
        return self._registries.get(key)

    def registries(self) -> list[kube.Object]:
        """Every Registry."""
        return list(self._registries.values())

    def registry_keys(self) -> KeysView[Key]:
        """Names of all Registries."""
        return self._registries.keys()

    def owners(self) -> set[Key]:
        """Names of all Registries, and of those that some object belongs to."""
        return {*self._registries, *self._by_owner}

    def children(self, owner: Key, resource: kube.Resource) -> list[kube.Object]:
        """Objects of one kind that belong to a Registry, in the order of their names."""
        found = sorted(key for key in self._by_owner.get(owner, ()) if key[0] == resource.kind)
        return [self._objects[key] for key in found]

    def identities(self, resource: kube.Resource) -> Iterable[tuple[Identity, int, Key | None]]:
        """Every object of a kind: its name, its version and its Registry. For the comparison with a listing."""
        return [(key, version(body), subject(body)) for key, body in self._objects.items() if key[0] == resource.kind]

    def discard(self, entry: Identity, at: int | None = None) -> None:
        """Forget an object of which the API server says that it is not there.

        With `at`, the version that was known when it was asked: unless another has come since, as of one made anew.
        """
        known = self._objects.get(entry)
        if known is not None and at in (None, version(known)):
            self._drop(entry, known)

    def forget_gone(self) -> None:
        """Forget what had gone before the last call of this: no answer is under way for that long."""
        self._long_gone, self._gone = self._gone, {}
