"""Who is on the volume of a Registry: whether a run may have it, whether it is quiet, on which node it is."""

from collections.abc import Sequence
from typing import Any

from regkeeper import kube, naming
from regkeeper.errors import WaitingError
from regkeeper.reconcile.in_use import InUseUnknownError
from regkeeper.reconcile.registry.status import rollout_progress
from regkeeper.reconcile.retention import pods
from regkeeper.reconcile.retention.own_names import own_names
from regkeeper.reconcile.retention.requests import Action, claim_of, read_request, retention_of
from regkeeper.reconcile.retention.scene import RunRefusedError, Scene
from regkeeper.reconcile.store import Store
from regkeeper.resources.config import config_file
from regkeeper.resources.lease import Holder, Quiet
from regkeeper.resources.storage import HOSTNAME_LABEL, is_shared
from regkeeper.retention.policies.in_use import is_one_of

NO_PLACE_FOR_A_RUN = ("VolumeInUse", "VolumeNotWritable")
"""Reasons of a Registry's conditions: another Registry has the volume, or its files can't be changed by our user."""


class Volume:
    """The volumes of Registries, seen by runs. `store` has the Jobs, `registries` the Registries' objects."""

    def __init__(self, cluster: kube.Cluster, store: Store, registries: Store) -> None:
        self._cluster = cluster
        self._store = store
        self._registries = registries

    def check_policies(self, scene: Scene, job: kube.Object) -> None:
        """Check that what a run is to carry out still holds.

        Raises:
            RunRefusedError: it does not; says why, and what helps.
        """
        name = scene.registry.metadata.name
        if (mounted := claim_of(job)) != scene.claim:
            # A policy and its Jobs outlive a Registry. What the lock keeps quiet is this one's volume, and no other.
            raise RunRefusedError(
                f"its pod would mount PersistentVolumeClaim {mounted or '(none)'}, and Registry {name} is on "
                f"{scene.claim}: make a new Job"
            )
        if trouble := self.refusal_of_all(scene):
            raise RunRefusedError(trouble)
        request = read_request(job)
        needs_none = request.action is Action.PURGE or (request.action is Action.RESCUE and not retention_of(job))
        if not needs_none and retention_of(job) not in scene.policies.valid:
            raise RunRefusedError(f"there is no ImageRetention {retention_of(job)}")

    def refusal_of_all(self, scene: Scene) -> str:
        """Why no run of a Registry may begin at present, whatever it is for; empty if one may.

        A pass hears of it when that changes.
        """
        if _is_paused(scene):
            return _paused(scene)
        body = self._registries.registry(scene.key) or {}
        said = (body.get("status") or {}).get("conditions") or ()
        for each in said:
            if each["reason"] in NO_PLACE_FOR_A_RUN:
                return f"Registry {scene.registry.metadata.name}: {each['message']}"
        for other, trouble in scene.policies.invalid.items():
            return f"ImageRetention {other} of the same Registry is invalid: {trouble}"
        return ""

    async def check(self, scene: Scene, job: kube.Object) -> None:
        """Check that a Job may take the lock.

        Raises:
            RunRefusedError: it may not; says who is in the way, and what helps.
            WaitingError: its time has not come.
        """
        self.check_policies(scene, job)
        name = scene.registry.metadata.name
        claim = await self.claim(scene)
        if claim is None or (claim.get("status") or {}).get("phase") != "Bound":
            raise WaitingError(f"PersistentVolumeClaim {scene.claim} is not bound", reason="ClaimPending", delay=10)
        if self._registries.get(kube.DEPLOYMENT, *scene.key) is None:
            raise WaitingError(f"Registry {name} has no Deployment yet", reason="RegistryNotReady", delay=10)
        try:
            status = (self._registries.registry(scene.key) or {}).get("status") or {}
            names = own_names(scene.registry, status, scene.policies)
        except InUseUnknownError as error:
            raise WaitingError(str(error), reason="RegistryNotReady", delay=10) from error
        policy = scene.policies.valid.get(retention_of(job))
        if read_request(job).action is Action.SHOW:
            if is_exclusive(claim):
                raise RunRefusedError(
                    f"PersistentVolumeClaim {scene.claim} is for the registry's pod alone (ReadWriteOncePod), which no "
                    "plan is worth stopping"
                )
        elif policy is not None:
            _check_mode(policy.spec.mode, claim, job, names)
        found = await self._namespace_pods(scene)
        strangers = pods.writers(
            found, scene.claim, may=lambda pod: pods.is_of_registry(pod, name) or self._is_a_run(scene, pod)
        )
        ending = {pod["metadata"]["name"] for pod in found if "deletionTimestamp" in pod["metadata"]}
        if staying := [name for name in strangers if name not in ending]:
            raise RunRefusedError(
                f"Pod {staying[0]} mounts PersistentVolumeClaim {scene.claim} for writing, and may be writing while "
                "a run deletes: end it, or mount the claim read-only there"
            )
        if strangers:
            # Of a run whose Job was deleted, for one: refused for that, what follows would not be tried again.
            mounts = f"Pod {strangers[0]} mounts PersistentVolumeClaim {scene.claim} for writing"
            raise WaitingError(f"{mounts}, and is being deleted", reason="VolumeInUse", delay=5)

    def _is_a_run(self, scene: Scene, pod: Any) -> bool:
        return any(pods.belongs_to(pod, job["metadata"]["uid"]) for job in self._store.children(scene.key, kube.JOB))

    async def claim(self, scene: Scene) -> kube.Object | None:
        """The live claim; None if it is not there."""
        known = self._registries.get(kube.CLAIM, scene.key.namespace, scene.claim)
        if known is not None:
            return known
        try:
            return await self._cluster.get(kube.CLAIM, scene.key.namespace, scene.claim)
        except kube.NotFoundError:
            return None

    async def _namespace_pods(self, scene: Scene) -> Sequence[kube.Object]:
        return [pod async for pod in self._cluster.list(kube.POD, scene.key.namespace)]

    async def is_quiet(self, scene: Scene, holder: Holder) -> bool:
        """Whether no pod that takes pushes, or could, is left: asked of the API server itself, not of a watch."""
        deployment = self._registries.get(kube.DEPLOYMENT, *scene.key)
        if deployment is None:
            return False
        offline = holder.quiet is Quiet.OFFLINE
        digest = config_file(scene.registry, read_only=True).digest
        if not offline:
            annotations = deployment["spec"]["template"]["metadata"].get("annotations") or {}
            if annotations.get(naming.CONFIG_HASH_ANNOTATION) != digest or rollout_progress(deployment) is not None:
                return False
        elif deployment["spec"].get("replicas") != 0:
            return False
        name = scene.registry.metadata.name
        found = await self._namespace_pods(scene)

        def may(pod: Any) -> bool:
            if pods.belongs_to(pod, holder.uid):
                return True
            return not offline and pods.is_of_registry(pod, name) and pods.config_digest(pod) == digest

        others = pods.writers(found, scene.claim, may=may)
        strangers = [
            pod["metadata"]["name"]
            for pod in found
            if pod["metadata"]["name"] in others and not pods.is_of_registry(pod, name)
        ]
        if strangers:
            raise RunRefusedError(f"Pod {strangers[0]} began to mount PersistentVolumeClaim {scene.claim} for writing")
        return not others

    def check_switch(self, scene: Scene) -> None:
        """Check that the registry will be made quiet, or already is being made so.

        Raises:
            RunRefusedError: it was paused before.
        """
        live = self._registries.get(kube.DEPLOYMENT, *scene.key) or {"metadata": {}}
        if naming.QUIET_ANNOTATION not in (live["metadata"].get("annotations") or {}) and _is_paused(scene):
            raise RunRefusedError(_paused(scene))

    async def node(self, scene: Scene) -> str | None:
        """Label of the node that has the volume attached; None: any node will do, or the volume itself says which."""
        if not await self._follows_pods(scene):
            return None
        attached = pods.last_to_hold(self._registries.children(scene.key, kube.POD))
        return None if attached is None else await self._label(attached["spec"]["nodeName"])

    async def node_of(self, scene: Scene, pod: kube.Object) -> str:
        """The same of a run's pod, which holds the volume there while the registry's pods are replaced; or empty."""
        return await self._label(pod["spec"]["nodeName"]) if await self._follows_pods(scene) else ""

    async def _follows_pods(self, scene: Scene) -> bool:
        """Whether the volume is attached to one node at a time, to any."""
        claim = await self.claim(scene)
        modes = None if claim is None else claim["spec"]["accessModes"]
        return scene.registry.spec.storage.local is None and not is_shared(scene.registry, modes)

    async def _label(self, name: str) -> str:
        node = await self._cluster.get(kube.NODE, None, name)
        label: str = (node["metadata"].get("labels") or {}).get(HOSTNAME_LABEL, name)
        return label


def _is_paused(scene: Scene) -> bool:
    return scene.registry.metadata.annotations.get(naming.PAUSED_ANNOTATION) == "true"


def _paused(scene: Scene) -> str:
    return f"Registry {scene.registry.metadata.name} is paused: remove its annotation {naming.PAUSED_ANNOTATION}"


def _check_mode(mode: str, claim: kube.Object, job: kube.Object, names: Sequence[str]) -> None:
    if mode != "Offline":
        if is_exclusive(claim):
            raise RunRefusedError(
                f"PersistentVolumeClaim {claim['metadata']['name']} is for the registry's pod alone "
                "(ReadWriteOncePod): set mode to Offline"
            )
        return
    image: str = job["spec"]["template"]["spec"]["containers"][0]["image"]
    if is_one_of(image.partition("/")[0], names):
        raise RunRefusedError(
            f"the image of its Job, {image}, comes from this very registry, which mode Offline stops: set mode to "
            "ReadOnly, or keep the operator's image in another registry"
        )


def is_exclusive(claim: kube.Object | None) -> bool:
    """Whether one pod alone may mount a claim."""
    return claim is not None and "ReadWriteOncePod" in claim["spec"]["accessModes"]
