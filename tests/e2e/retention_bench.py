"""Runs of ImageRetentions on a control plane: a Registry, its policies, and operators that come and go.

The pods' containers are played (tests/kubelet_stand_in.py); API server, Job and Deployment controllers are real.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from regkeeper import kube, naming
from regkeeper.answer import Answer, Deleted, Outcome
from regkeeper.errors import BlockedError, InvalidSpecError, WaitingError
from regkeeper.plan_reading import read_plan
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.registry.endpoints import Prober
from regkeeper.resources.lease import OVERDUE_SINCE, STAGE, Stage
from tests.e2e.directories import local, settings
from tests.e2e.faults import CrashError, Fault, FaultyCluster
from tests.e2e.one_operator import OneOperator
from tests.kubelet_stand_in import KubeletStandIn
from tests.registry_objects import mounted_config_maps, registry_object
from tests.retention_objects import retention_object
from tests.waiting import wait_for_async

SOON = 60  # seconds; a run takes two
KEEP_TWO: dict[str, Any] = {
    "rules": [{"name": "all", "keep": {"last": 2}}],
    # What tests beside this one run comes into use meanwhile, and would be looked after by a second Job.
    "protect": {"inUse": False},
}

SWITCH = Answer(outcome=Outcome.SWITCH, hash="ab", deleted=Deleted(tags=3))
DONE = Answer(
    outcome=Outcome.DONE,
    message="3 tags deleted",
    run="20260101T000000Z",
    hash="ab",
    deleted=Deleted(tags=3, manifests=3, blobs=9, bytes=1000),
)


class RetentionBench:
    """One Registry and its ImageRetentions, kept by operators that come and go."""

    def __init__(self, cluster: kube.ApiCluster, operators: kube.ApiCluster, prober: Prober, key: Key) -> None:
        self.cluster = cluster
        """As an administrator has it, who plays everybody but the operator."""
        self.operators = operators
        """The same as the operator has it."""
        self.prober = prober
        self.key = key
        self.kubelet = KubeletStandIn(cluster, key.namespace, lambda _: (SWITCH, DONE))
        self.policy = "policy"
        self.claim = naming.claim_name(key.name)
        self.later = timedelta()
        """How far this bench's clock is ahead."""
        self.image = settings(*key).image
        """Of the operator, and of its Jobs."""

    def operator(self, cluster: kube.Cluster) -> OneOperator:
        chosen = settings(*self.key).model_copy(update={"image": self.image})
        return OneOperator(cluster, self.prober, self.key.namespace, chosen, now=self.now)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.later

    async def make(self, policy: str = "policy", **spec: Any) -> None:
        await self.make_registry()
        await self.retain(policy, **spec)
        self.policy = policy

    async def make_registry(self, **spec: Any) -> None:
        namespace, name = self.key
        await self.cluster.create(registry_object(name, namespace=namespace, **{"storage": local(name), **spec}))

    async def retain(self, name: str = "policy", **spec: Any) -> None:
        body = retention_object(name, namespace=self.key.namespace, **spec)
        body["spec"]["registryRef"]["name"] = self.key.name
        await self.cluster.create(body)

    async def get(self, resource: kube.Resource, name: str) -> kube.Object | None:
        try:
            return await self.cluster.get(resource, self.key.namespace, name)
        except kube.NotFoundError:
            return None

    async def need(self, resource: kube.Resource, name: str) -> kube.Object:
        body = await self.get(resource, name)
        assert body is not None, f"{resource.kind} {name} is not there"
        return body

    async def status(self, name: str = "") -> dict[str, Any]:
        body = await self.get(kube.IMAGE_RETENTION, name or self.policy)
        status: dict[str, Any] = {} if body is None else body.get("status") or {}
        return status

    async def condition(self, kind: str, name: str = "") -> dict[str, Any]:
        listed = (await self.status(name)).get("conditions") or []
        found: dict[str, Any] = next((each for each in listed if each["type"] == kind), {})
        return found

    async def condition_of_registry(self, kind: str) -> dict[str, Any]:
        registry = await self.need(kube.REGISTRY, self.key.name)
        found: dict[str, Any] = next((each for each in registry["status"]["conditions"] if each["type"] == kind), {})
        return found

    async def use(self, image: str) -> None:
        """Let somebody name an image who could start it."""
        container = {"name": "main", "image": image}
        template = {"metadata": {"labels": {"app": "used"}}, "spec": {"containers": [container]}}
        spec = {"replicas": 0, "selector": {"matchLabels": {"app": "used"}}, "template": template}
        name = image.replace("/", "-").replace(":", "-")
        metadata = {"name": name, "namespace": self.key.namespace}
        await self.cluster.create({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})

    async def pause(self) -> None:
        """As a person does who wants to work on the Registry's objects."""
        paused = {"metadata": {"annotations": {naming.PAUSED_ANNOTATION: "true"}}}
        await self.cluster.patch(kube.REGISTRY, self.key.namespace, self.key.name, paused)

    async def holder(self) -> str | None:
        body = await self.get(kube.LEASE, naming.lock_name(self.claim))
        return None if body is None else (body.get("spec") or {}).get("holderIdentity")

    async def stage(self) -> str | None:
        body = await self.get(kube.LEASE, naming.lock_name(self.claim))
        return None if body is None else (body["metadata"].get("annotations") or {}).get(STAGE)

    async def is_read_only(self) -> bool:
        """Whether the pods of the registry are to refuse pushes."""
        deployment = await self.get(kube.DEPLOYMENT, self.key.name)
        if deployment is None:
            return False
        (name,) = mounted_config_maps(deployment)
        config = yaml.safe_load((await self.need(kube.CONFIG_MAP, name))["data"]["config.yml"])
        return bool(config["storage"]["maintenance"]["readonly"]["enabled"])

    async def shown(self, run: str) -> None:
        """Ask for the plan of a run as `regkeeper plan` does, and see its Job through. There are no logs here."""
        operator = self.operator(self.cluster)
        asking = asyncio.create_task(read_plan(self.cluster, self.key.namespace, self.policy, run, lambda _: None))
        try:
            while not asking.done():
                await self.work(operator)
        finally:
            await operator.close()
        await asking

    async def jobs(self) -> list[kube.Object]:
        """Those of this Registry's runs."""
        selector = f"{naming.REGISTRY_LABEL}={self.key.name}"
        return [job async for job in self.cluster.list(kube.JOB, self.key.namespace, label_selector=selector)]

    async def is_at_rest(self, outcome: str) -> bool:
        """A run ended so, and nothing of it is left but its Job and its outcome."""
        last = (await self.status()).get("lastRun") or {}
        snapshots = self.cluster.list(
            kube.CONFIG_MAP, self.key.namespace, label_selector=f"{naming.SNAPSHOT_LABEL}={self.key.name}"
        )
        return (
            last.get("outcome") == outcome
            and await self.holder() is None
            and not await self.is_read_only()
            and not [body async for body in snapshots if "data" in body or "binaryData" in body]
            and not [job for job in await self.jobs() if "finalizers" in job["metadata"]]
        )

    async def work(self, operator: OneOperator) -> None:
        """A pass, and whatever nodes do meanwhile; failures that the queue repeats are repeated."""
        with suppress(kube.ApiError, WaitingError, BlockedError, InvalidSpecError):
            await operator.look_after_runs(self.key.name)
        await self.kubelet.step()

    async def settle(self, outcome: str) -> None:
        """Work, undisturbed, until a run has ended so."""
        await self.work_until_async(lambda: self.is_at_rest(outcome))

    async def work_until_async(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Work, undisturbed, until something holds."""
        operator = self.operator(self.operators)

        async def holds() -> bool:
            await self.work(operator)
            return await condition()

        try:
            await wait_for_async(holds, SOON, f"{condition} of {self.key}")
        except AssertionError as error:
            error.add_note(json.dumps(await self.status(), indent=1))
            error.add_note(f"held by {await self.holder()}, which is {await self.stage()}")
            jobs = [{"name": job["metadata"]["name"], **job.get("status", {})} for job in await self.jobs()]
            error.add_note(json.dumps(jobs, indent=1))
            raise
        finally:
            await operator.close()

    async def change(self, spec: dict[str, Any], name: str = "policy") -> None:
        await self.cluster.patch(kube.IMAGE_RETENTION, self.key.namespace, name, {"spec": spec})

    async def run_now(self, name: str = "now") -> None:
        """As `kubectl create job --from=cronjob/policy` does."""
        cron_job = await self.need(kube.CRON_JOB, "policy")
        template = cron_job["spec"]["jobTemplate"]
        owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "policy", "uid": cron_job["metadata"]["uid"]}
        await self.cluster.create(
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {
                    "name": name,
                    "namespace": self.key.namespace,
                    "labels": template["metadata"]["labels"],
                    "annotations": {"cronjob.kubernetes.io/instantiate": "manual"},
                    "ownerReferences": [{**owner, "controller": True}],
                },
                "spec": template["spec"],
            }
        )

    async def work_until_stage(self, stage: Stage) -> None:
        """The same of a run."""

        async def has_come_to_it() -> bool:
            return await self.stage() == stage

        await self.work_until_async(has_come_to_it)

    async def work_until(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        """The same of the policy's status."""

        async def holds() -> bool:
            return condition(await self.status())

        await self.work_until_async(holds)

    async def work_until_writable(self) -> None:
        """The pass over the Registry that lifts read-only comes after the one that gives the lock free."""

        async def is_writable() -> bool:
            return not await self.is_read_only()

        await self.work_until_async(is_writable)

    async def pass_the_end_of_the_run(self) -> None:
        """Let the time pass after which a run that nobody sees any more is taken to have stopped."""
        self.later = timedelta(hours=1, minutes=1)

        async def is_overdue() -> bool:
            lock = await self.need(kube.LEASE, naming.lock_name(self.claim))
            return OVERDUE_SINCE in lock["metadata"]["annotations"]

        await self.work_until_async(is_overdue)
        self.later = timedelta(hours=1, minutes=3)

    async def work_until_free(self) -> None:
        async def is_free() -> bool:
            return await self.holder() is None and not [
                job for job in await self.jobs() if "finalizers" in job["metadata"]
            ]

        await self.work_until_async(is_free)

    async def has_no_job(self) -> bool:
        return not await self.jobs()

    async def is_to_purge(self) -> bool:
        return any(job["metadata"]["name"].startswith(f"{self.key.name}-purge-") for job in await self.jobs())

    async def pass_without_a_run(self) -> None:
        """Passes that make no Job."""
        before = {job["metadata"]["uid"] for job in await self.jobs()}
        operator = self.operator(self.operators)
        for _ in range(3):
            await self.work(operator)
        await operator.close()
        assert {job["metadata"]["uid"] for job in await self.jobs()} <= before

    async def disturbed(self, fault: Fault, at: int) -> bool:
        """Work until the write number `at` meets a fault; False if the run ended before."""
        faulty = FaultyCluster(self.operators, fault, at)
        operator = self.operator(faulty)

        async def is_met() -> bool:
            try:
                await self.work(operator)
            except CrashError:
                return True
            return len(faulty.writes) >= at or await self.is_at_rest("Done")

        try:
            await wait_for_async(is_met, SOON, lambda: f"write {at}: {faulty.writes}")
        finally:
            await operator.close()
        return len(faulty.writes) >= at
