"""Bring a Registry's storage about: permission for local directories, the volume, the claim, who else is on it."""

from contextlib import suppress
from dataclasses import dataclass, field, replace

from regkeeper import kube, naming
from regkeeper.api.v1alpha1.base import Metadata
from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.errors import BlockedError, InvalidSpecError, WaitingError
from regkeeper.reconcile.nodes import Nodes
from regkeeper.reconcile.objects import Objects
from regkeeper.reconcile.ownership import Owner, owner_of, require_ours
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.registry import claims
from regkeeper.reconcile.registry.conflicts import (
    Claimant,
    Directory,
    Place,
    directory_of,
    holder_of_place,
    place_of,
    same_place,
)
from regkeeper.reconcile.store import Store, version
from regkeeper.resources.storage import HOSTNAME_LABEL, persistent_volume
from regkeeper.resources.storage import claim as build_claim
from regkeeper.settings import Settings


@dataclass(slots=True)
class Storage:
    """A Registry's storage as a pass found or made it."""

    claim: kube.Object | None = None
    """The live claim; None for ephemeral storage, or where the existing claim is not there."""
    notes: list[str] = field(default_factory=list)
    """How the claim differs from the spec."""

    @property
    def access_modes(self) -> list[str] | None:
        """Access modes of the live claim."""
        return None if self.claim is None else list(self.claim["spec"]["accessModes"])


class StorageKeeper:
    """Brings storage about, and remembers which directory is behind which claim."""

    def __init__(self, cluster: kube.Cluster, store: Store, objects: Objects, nodes: Nodes, settings: Settings) -> None:
        self._cluster = cluster
        self._store = store
        self._objects = objects
        self._nodes = nodes
        self._settings = settings
        self._places: dict[Key, Place] = {}
        """Where each Registry keeps its images, as far as it is known."""
        self._arrivals = 0
        """Of the store, when the place of each Registry was known last."""
        self._directories: dict[Key, tuple[int, Directory | None]] = {}
        """By Registry, the directory behind its claim, and the claim's version when that was read: a volume's source
        never changes, but another volume may come under its name, and that the claim's status shows."""

    def forget(self, key: Key) -> None:
        """The Registry is gone."""
        self._places.pop(key, None)
        self._directories.pop(key, None)

    def check_permission(self, registry: Registry) -> None:
        """Check that a `local` directory is one that the chart's values open to this namespace.

        Raises:
            InvalidSpecError: it is not.
        """
        local = registry.spec.storage.local
        if local is None:
            return
        namespace = registry.metadata.namespace
        if not self._is_open(namespace, local.node, local.path):
            raise InvalidSpecError(
                f"spec.storage.local: {local.path} on node {local.node} is not open to namespace {namespace}: an "
                "administrator adds it to the chart's value localStorage"
            )
        if registry.spec.storage.deletion_policy == "Delete":
            raise InvalidSpecError(
                "spec.storage.deletionPolicy: a local directory is never deleted: set it to Retain, or leave it out"
            )

    async def check_exclusive(self, body: kube.Object) -> None:
        """Check that no other Registry has the place where this one would keep its images.

        If one has, this one's pods, which may have run before that could be seen, are stopped: two registries that
        write to the same files lose images.

        Raises:
            BlockedError: one has.
        """
        key = Key(body["metadata"]["namespace"], body["metadata"]["name"])
        place = await self._with_all_names(await self._resolve(key, place_of(body)))
        self._places[key] = place
        await self._find_places(resolve=place.directory is not None)
        others = [
            claimant
            for other_key, other_place in self._places.items()
            if other_key != key
            and same_place(place, other_place)
            and (other := self._store.registry(other_key)) is not None
            # Who may not have a directory takes it from nobody.
            and ((claimant := Claimant(other, self._holds(other))).holds or self._may_have(other))
        ]
        holder = holder_of_place(Claimant(body, self._holds(body)), others)
        if holder is not None:
            await self._stop(body)
            metadata = holder["metadata"]
            raise BlockedError(
                f"Registry {metadata['namespace']}/{metadata['name']} keeps its images on the same volume"
                f"{_where(place)}: delete one of the two, or give this one storage of its own",
                reason="VolumeInUse",
            )

    async def _find_places(self, *, resolve: bool) -> None:
        """Learn where the other Registries are: by their specs, with `resolve` by the directories behind their claims.

        All that are not known yet: after a start the first one to be looked at knows of nobody.
        """
        if self._arrivals != self._store.arrivals:
            self._arrivals = self._store.arrivals
            for key in self._store.registry_keys() - self._places.keys():
                if (other := self._store.registry(key)) is not None:
                    self._places[key] = place_of(other)
        if resolve:
            unresolved = [key for key, place in self._places.items() if place.claim and not place.volume]
            for key in unresolved:
                if (other := self._store.registry(key)) is not None:
                    self._places[key] = await self._resolve(key, place_of(other))

    def _holds(self, body: kube.Object) -> bool:
        deployment = self._deployment(body)
        if deployment is None:
            return False
        # One that a retention run stopped has its volume all the same.
        annotations = deployment["metadata"].get("annotations") or {}
        return naming.REPLICAS_ANNOTATION in annotations or not is_stopped(deployment)

    def _deployment(self, body: kube.Object) -> kube.Object | None:
        metadata = Metadata.model_validate(body["metadata"])
        live = self._store.get(kube.DEPLOYMENT, metadata.namespace, metadata.name)
        return live if live is not None and owner_of(live, metadata) is Owner.OURS else None

    async def _stop(self, body: kube.Object) -> None:
        deployment = self._deployment(body)
        if deployment is not None and deployment["spec"].get("replicas") != 0:
            await self._objects.merge(deployment, {"spec": {"replicas": 0}})

    def _may_have(self, body: kube.Object) -> bool:
        local = body["spec"]["storage"].get("local")
        return local is None or self._is_open(body["metadata"]["namespace"], local["node"], local["path"])

    def _is_open(self, namespace: str, node: str, path: str) -> bool:
        return any(
            namespace in rule.namespaces and node in rule.nodes and path == rule.path
            for rule in self._settings.local_storage
        )

    async def _resolve(self, key: Key, place: Place) -> Place:
        """Find the volume and, if that is a directory of a node, the directory behind a claim."""
        if place.claim is None or place.directory is not None:
            return place
        claim = await self._objects.find(kube.CLAIM, *place.claim)
        volume = (claim or {}).get("spec", {}).get("volumeName")
        if claim is None or not volume:
            return place
        read, directory = self._directories.get(key, (0, None))
        if read != version(claim):
            with suppress(kube.NotFoundError):
                directory = directory_of(await self._cluster.get(kube.VOLUME, None, volume))
            self._directories[key] = version(claim), directory
        return Place(claim=place.claim, volume=volume, directory=directory)

    async def _with_all_names(self, place: Place) -> Place:
        """The same place, findable under each name of its nodes."""
        if place.directory is None or not place.directory.nodes:
            return place
        nodes = await self._nodes.all_names(place.directory.nodes)
        return replace(place, directory=replace(place.directory, nodes=nodes))

    async def ensure(self, body: kube.Object, registry: Registry) -> tuple[kube.Object, Storage]:
        """Make volume and claim; return the Registry as it is now (it may have got a finalizer) and its storage."""
        storage = registry.spec.storage
        if storage.ephemeral is not None:
            return body, Storage()
        namespace = registry.metadata.namespace
        if storage.existing_claim is not None:
            return body, Storage(await self._objects.find(kube.CLAIM, namespace, storage.existing_claim))
        if storage.local is not None:
            if naming.FINALIZER not in registry.metadata.finalizers:
                finalizers = [*registry.metadata.finalizers, naming.FINALIZER]
                body = await self._objects.merge(body, {"metadata": {"finalizers": finalizers}})
            await self._ensure_volume(registry)
        desired = build_claim(registry)
        if desired is None:
            raise AssertionError("a claim is built for every storage of ours")
        return body, await self._ensure_claim(registry, desired)

    async def keep_promise(self, registry: Registry) -> None:
        """Bring about, for a Registry that may not go on, what its spec says of the images that it has already.

        A claim that is to be kept must not go with its Registry because that one waits for a port.
        """
        desired = build_claim(registry)
        if desired is None or registry.spec.storage.local is not None:
            return
        live = self._store.get(kube.CLAIM, registry.metadata.namespace, desired["metadata"]["name"])
        if live is not None and owner_of(live, registry.metadata) is Owner.OURS:
            await self._ensure_claim(registry, desired)

    async def _ensure_volume(self, registry: Registry) -> None:
        local = registry.spec.storage.local
        if local is None:
            return
        labels = (await self._nodes.labels()).get(local.node)
        if labels is None:
            raise WaitingError(
                f"spec.storage.local.node: there is no node {local.node}", reason="NodeNotFound", delay=30
            )
        desired = persistent_volume(registry, hostname=labels.get(HOSTNAME_LABEL))
        if desired is None:
            return
        live = await self._objects.ensure(registry, desired)
        if "deletionTimestamp" in live["metadata"]:
            raise WaitingError("its PersistentVolume is being deleted", reason="FormerObject", delay=1)
        await self._ensure_claim_reference(live, registry.metadata.namespace, desired["spec"]["claimRef"]["name"])

    async def _ensure_claim_reference(self, volume: kube.Object, namespace: str, name: str) -> None:
        """Let go of a claim that is gone, so that the next of its name may be bound; take back one that is Lost."""
        bound_to = volume["spec"]["claimRef"].get("uid")
        claim = await self._objects.find(kube.CLAIM, namespace, name)
        uid = None
        if bound_to:
            if claim is None or claim["metadata"]["uid"] != bound_to:
                # The store may show a former one, as that of an operator which is told to stop beside the next.
                claim = await self._objects.ask(kube.CLAIM, namespace, name)
            if claim is not None and claim["metadata"]["uid"] == bound_to:
                return
        else:
            if claim is None or (claim.get("status") or {}).get("phase") != "Lost":
                return
            if claim["spec"].get("volumeName") != volume["metadata"]["name"]:
                return
            # Kubernetes binds a claim once, and one that was bound to this volume waits for it for ever.
            uid = claim["metadata"]["uid"]
        await self._objects.merge(volume, {"spec": {"claimRef": {"uid": uid, "resourceVersion": None}}})

    async def _ensure_claim(self, registry: Registry, desired: kube.Object) -> Storage:
        metadata = desired["metadata"]
        live = await self._objects.find_of(registry, kube.CLAIM, metadata["namespace"], metadata["name"])
        if live is None:
            return Storage(await self._objects.ensure(registry, desired))
        require_ours(live, registry.metadata)
        if "deletionTimestamp" in live["metadata"]:
            raise WaitingError(
                f"PersistentVolumeClaim {metadata['name']} is being deleted", reason="FormerObject", delay=1
            )
        may_grow = claims.wants_growth(desired, live) and await self._may_grow(live)
        fitted = claims.fit(desired, live, may_grow=may_grow)
        return Storage(await self._objects.ensure(registry, fitted.claim), fitted.notes)

    async def _may_grow(self, claim: kube.Object) -> bool:
        name = claim["spec"].get("storageClassName")
        if not name or (claim.get("status") or {}).get("phase") != "Bound":
            return False
        try:
            return bool((await self._cluster.get(kube.STORAGE_CLASS, None, name)).get("allowVolumeExpansion"))
        except kube.NotFoundError:
            return False

    async def release(self, body: kube.Object) -> None:
        """Before a Registry goes: take its local volume's objects away, never the directory, and our finalizer.

        The spec isn't asked: one that this version can't read, as a later one may have written it, must not hold up
        the deletion of its Registry and its namespace.
        """
        registry = Metadata.model_validate(body["metadata"])
        if naming.FINALIZER not in registry.finalizers:
            return
        volume_name = naming.persistent_volume_name(registry.namespace, registry.name)
        # The claim first: nothing else could bind it to the directory again.
        for resource, of, wanted in (
            (kube.CLAIM, registry.namespace, naming.claim_name(registry.name)),
            (kube.VOLUME, None, volume_name),
        ):
            live = await self._objects.find(resource, of, wanted)
            if live is None or "deletionTimestamp" in live["metadata"] or owner_of(live, registry) != Owner.OURS:
                continue
            if resource is kube.CLAIM and live["spec"].get("volumeName") != volume_name:
                continue
            await self._objects.remove(live)
        finalizers = [entry for entry in registry.finalizers if entry != naming.FINALIZER]
        with suppress(kube.NotFoundError):
            await self._objects.merge(body, {"metadata": {"finalizers": finalizers}})


def is_stopped(deployment: kube.Object) -> bool:
    """Whether it has no pods because its place is another Registry's, and not because anybody asked for none."""
    return deployment["spec"].get("replicas") == 0 and any(
        entry["operation"] == "Update" and "f:replicas" in (entry.get("fieldsV1") or {}).get("f:spec", {})
        for entry in deployment["metadata"].get("managedFields") or ()
        if entry["manager"] == naming.FIELD_MANAGER
    )


def _where(place: Place) -> str:
    """The directory that two Registries share, for people: their claims and volumes may well be two."""
    if place.directory is None:
        return ""
    path = place.directory.path
    if place.directory.nodes:
        return f", in {path} of node {min(place.directory.nodes)}"
    return f", in {path} of any node, as PersistentVolume {place.volume} has no nodeAffinity that names one"
