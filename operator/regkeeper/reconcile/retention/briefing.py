"""Tells runs what they must know, and asks afterwards whether that still holds."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import chain, starmap
from typing import Any

from regkeeper import kube
from regkeeper.answer import Answer
from regkeeper.api.v1alpha1.retention import ImageRetention
from regkeeper.reconcile.in_use import Uses, images_in_use
from regkeeper.reconcile.retention.own_names import own_names
from regkeeper.reconcile.retention.policies import manifest
from regkeeper.reconcile.retention.requests import Action, Request
from regkeeper.reconcile.retention.scene import Scene
from regkeeper.reconcile.retention.snapshots import Snapshots
from regkeeper.reconcile.store import Store
from regkeeper.resources.config import REGISTRY_PORT
from regkeeper.resources.lease import Holder, Lock, Quiet
from regkeeper.retention.policies.in_use import InUse
from regkeeper.settings import InUseSettings
from regkeeper.sketch import may_have, name_of_tag
from regkeeper.snapshot import Document, Stage, Undo


class Briefing:
    """What runs are told. `registries` has the Registries and their objects."""

    def __init__(self, cluster: kube.Cluster, registries: Store, settings: InUseSettings) -> None:
        self._settings = settings
        self._cluster = cluster
        self._registries = registries
        self._snapshots = Snapshots(cluster)

    async def tell(
        self, scene: Scene, lock: Lock, holder: Holder, request: Request, stage: Stage, now: datetime
    ) -> None:
        """Tell a run how far it may go, and what is in use at this moment.

        Raises:
            InUseUnknownError: nobody can say what is in use, or what of it is this registry's.
            SnapshotTooLargeError: more is in use than a snapshot holds.
        """
        uses = await self._uses(scene)
        policy = scene.policies.valid.get(holder.retention)
        await self._snapshots.publish(
            scene.registry,
            self._document(scene, lock, holder, request, policy, uses),
            run=holder.uid,
            stage=stage,
            now=now,
        )

    async def _uses(self, scene: Scene) -> Uses | None:
        if not scene.policies.in_use_matters:
            return None
        elsewhere = [
            (scene.key.namespace, entry.name)
            for policy in scene.policies.valid.values()
            for entry in policy.spec.protect.references
        ]
        return await images_in_use(self._cluster, elsewhere, self._settings.further_kinds)

    def _document(
        self,
        scene: Scene,
        lock: Lock,
        holder: Holder,
        request: Request,
        policy: ImageRetention | None,
        uses: Uses | None,
    ) -> Document:
        bodies = scene.policies.bodies
        own = bodies.get(holder.retention) if policy is not None else None
        action = request.action
        return Document(
            action=action.value,
            name=holder.retention,
            end_time=holder.end.isoformat(),
            policy=None if own is None else manifest(own),
            others=[manifest(body) for name, body in sorted(bodies.items()) if name != holder.retention],
            in_use=None if uses is None else sorted(uses.items()),
            hosts=own_names(scene.registry, self._status(scene), scene.policies),
            dry_run=policy is not None and policy.spec.dry_run and action is Action.RETAIN,
            mode="Offline" if (holder.quiet or scene.mode(holder)) is Quiet.OFFLINE else "ReadOnly",
            registry=self._url(scene),
            approved=request.approved or None,
            restore=Undo(run=request.run, forget=request.forget) if action is Action.RESTORE else None,
            show=request.run if action is Action.SHOW else None,
            unanswered=lock.unanswered[0] if lock.unanswered else None,
        )

    def _status(self, scene: Scene) -> Mapping[str, Any]:
        return (self._registries.registry(scene.key) or {}).get("status") or {}

    def _url(self, scene: Scene) -> str | None:
        """Where the run asks whether the registry is quiet: by address, which needs no DNS."""
        service = self._registries.get(kube.SERVICE, *scene.key)
        address = ((service or {}).get("spec") or {}).get("clusterIP")
        if not address or address == "None":
            return None
        return f"http://[{address}]:{REGISTRY_PORT}" if ":" in address else f"http://{address}:{REGISTRY_PORT}"

    async def came_into_use(self, scene: Scene, holder: Holder, answer: Answer) -> bool:
        """Whether something that a run deleted may be in use now that was not when the run was told.

        Raises:
            InUseUnknownError, ApiError: nobody can say.
        """
        uses = await self._uses(scene)
        if uses is None:
            return False
        told = await self._snapshots.told(scene.registry, holder.uid, answer.told)
        known = () if told is None or told.in_use is None else told.in_use
        came = uses.keys() - {reference for reference, _ in known}
        return bool(came) and (answer.touched is None or _may_mean(came, answer.touched))

    async def forget(self, scene: Scene) -> None:
        """Leave nothing of what a run was told."""
        await self._snapshots.empty(scene.registry)


def _may_mean(references: Iterable[str], touched: bytes) -> bool:
    """Whether one of some references may mean an image of a sketch."""
    in_use = InUse()
    for reference in references:
        in_use.add(reference, "")
    names = chain(
        starmap(name_of_tag, in_use.tags),
        (digest for _, digest in in_use.manifests),
        in_use.anywhere,
    )
    return any(may_have(touched, name) for name in names)
