"""A namespace of a cluster with an operator, and what tests do in it."""

from typing import Any
from urllib.parse import quote, urlsplit

from regkeeper import naming
from regkeeper.kube.resources import POD, RESOURCES, Resource
from tests.cluster import Cluster
from tests.registry_objects import registry_object
from tests.waiting import wait_for

SOON = 120  # seconds; a pod takes 2 on a quiet machine, and kubelet its time to give up on a mount

CONTROL_PLANE_TOLERATION = {
    "key": "node-role.kubernetes.io/control-plane",
    "operator": "Exists",
    "effect": "NoSchedule",
}


def on_node(name: str) -> dict[str, Any]:
    """Fields of a spec that put its pods on a node, the control plane's included."""
    return {"nodeSelector": {"kubernetes.io/hostname": name}, "tolerations": [CONTROL_PLANE_TOLERATION]}


AUTOSCALER = Resource("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
"""The one kind of these tests that regkeeper does not use."""

_RESOURCES = {resource.kind.lower(): resource for resource in (*RESOURCES.values(), AUTOSCALER)}


def listed(
    cluster: Cluster, resource: Resource, namespace: str | None = None, selector: str = ""
) -> list[dict[str, Any]]:
    """The objects of a kind that have such labels, in a namespace or everywhere."""
    found = cluster.read(f"{resource.path(namespace)}?labelSelector={quote(selector)}")
    assert found is not None, f"the API server knows no {resource.plural}"
    items: list[dict[str, Any]] = found["items"]
    return items


class Room:
    """One namespace. Registries are called `main` unless a test says otherwise."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """Run kubectl in this namespace and return what it printed."""
        return self.cluster.kubectl("--namespace", self.namespace, *arguments, stdin=stdin)

    def apply(self, *bodies: dict[str, Any]) -> None:
        """Apply objects, as their one author."""
        for body in bodies:
            here = {**body, "metadata": {"namespace": self.namespace, **body["metadata"]}}
            self.cluster.api().apply(here, manager="kubectl", force=True)

    def registry(self, name: str = "main", **spec: Any) -> None:
        """Apply a Registry; without a `storage` it is ephemeral."""
        self.apply(registry_object(name, namespace=self.namespace, **{"storage": {"ephemeral": {}}, **spec}))

    def remove(self, kind: str, name: str = "main") -> None:
        """Delete an object, which somebody may make anew at once."""
        self.cluster.api().delete(self._path(kind, name))

    def delete(self, kind: str, name: str = "main") -> None:
        """Delete an object and wait until it is gone."""
        self.remove(kind, name)
        wait_for(lambda: self.get(kind, name) is None, SOON, f"{kind} {name} to go")

    def clear(self, *resources: Resource, propagation: str = "Background") -> None:
        """Delete all objects of some kinds and wait until they are gone."""

        def there() -> set[str]:
            return {body["metadata"]["uid"] for resource in resources for body in self.listed(resource)}

        before = there()
        for resource in resources:
            self.cluster.api().delete(resource.path(self.namespace), propagation=propagation)
        wait_for(lambda: not before & there(), SOON, f"all to go that was in {self.namespace}")

    def change(self, kind: str, name: str, patch: dict[str, Any]) -> None:
        """Merge a patch into an object."""
        self.cluster.api().merge(self._path(kind, name), patch)

    def annotate(self, kind: str, name: str, **annotations: str | None) -> None:
        """Set annotations of an object, or take them off."""
        self.change(kind, name, {"metadata": {"annotations": annotations}})

    def label(self, kind: str, name: str, **labels: str | None) -> None:
        """The same of labels."""
        self.change(kind, name, {"metadata": {"labels": labels}})

    def get(self, kind: str, name: str = "main") -> dict[str, Any] | None:
        """An object with its managed fields, by its kind, one that regkeeper uses; None if it is not there."""
        return self.cluster.read(self._path(kind, name))

    def listed(self, resource: Resource, selector: str = "") -> list[dict[str, Any]]:
        """The objects of a kind that have such labels."""
        return listed(self.cluster, resource, self.namespace, selector)

    def need(self, kind: str, name: str = "main") -> dict[str, Any]:
        """An object that must be there."""
        body = self.get(kind, name)
        assert body is not None, f"{kind} {name} is not there"
        return body

    def status(self, name: str = "main") -> dict[str, Any]:
        """A Registry's status."""
        status: dict[str, Any] = self.need("registry", name)["status"]
        return status

    def condition(self, kind: str, name: str = "main") -> dict[str, Any]:
        """A Registry's condition of a type; empty if it has none."""
        listed = self.status(name).get("conditions", [])
        found: dict[str, Any] = next((condition for condition in listed if condition["type"] == kind), {})
        return found

    def await_condition(self, kind: str, reason: str, name: str = "main", *, saying: str = "") -> dict[str, Any]:
        """Wait until a Registry's condition has that reason and is about its present spec; return it.

        Args:
            kind: its type.
            reason: its reason.
            name: the Registry's.
            saying: what its message holds. A reason comes with one trouble after the other: kubelet can't mount a
                ConfigMap that it has not got yet, and a second later a directory that is not there.
        """

        def matches() -> dict[str, Any]:
            body = self.need("registry", name)
            for condition in body["status"].get("conditions", []):
                current = condition.get("observedGeneration") == body["metadata"]["generation"]
                right = condition["type"] == kind and condition["reason"] == reason and saying in condition["message"]
                if right and current:
                    return dict(condition)
            return {}

        return wait_for(matches, SOON, lambda: f"{kind} {reason} {saying} of {name}: {self.status(name)}")

    def await_serving(self, name: str = "main") -> None:
        """Wait until a Registry is Ready with its present spec."""
        self.await_condition("Ready", "Serving", name)

    def pods(self, name: str = "main") -> list[dict[str, Any]]:
        """A Registry's pods."""
        return self.listed(POD, f"{naming.REGISTRY_LABEL}={name}")

    def _path(self, kind: str, name: str) -> str:
        return _RESOURCES[kind.lower()].path(self.namespace, name)

    def url(self, name: str = "main") -> str:
        """Where this machine reaches a Registry: its first address that is a node's, by the node's IP address."""
        addresses = self.status(name)["addresses"]
        host = next(entry["host"] for entry in addresses if entry["type"] in ("HostPort", "NodePort"))
        parts = urlsplit(f"http://{host}")
        assert parts.hostname is not None
        return f"http://{self.cluster.node_ip(parts.hostname)}:{parts.port}"
