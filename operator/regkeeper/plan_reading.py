"""Finds what a run planned: in the log of its pod or, where that is gone, on the volume, which a Job reads."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from regkeeper import kube, naming
from regkeeper.answer import Outcome
from regkeeper.errors import RegkeeperError
from regkeeper.reconcile.job_life import is_finished
from regkeeper.reconcile.retention.pods import Said, belongs_to, newest, plan_said, run_said
from regkeeper.reconcile.retention.requests import Action, Request, created
from regkeeper.resources.retention import PLAN_CONTAINER, RUN_CONTAINER

PAUSE_SECONDS = 0.5


class PlanGoneError(RegkeeperError):
    """Nobody has the plan any more, or nobody may read it now. The message says what helps."""

    reason = "PlanGone"


async def read_plan(
    cluster: kube.ApiCluster, namespace: str, name: str, run: str | None, say: Callable[[str], None]
) -> str:
    """The plan of a run of an ImageRetention, in lines for people.

    Args:
        cluster: The API server, with the rights of whoever asks.
        namespace: Of the ImageRetention.
        name: Its name.
        run: As `status.lastRun.run` names it; None: the last run, also one that deleted nothing.
        say: Is told what takes its time.

    Raises:
        PlanGoneError: it is not to be had.
        ApiError: the API server refuses.
    """
    body = await cluster.get(kube.IMAGE_RETENTION, namespace, name)
    last: dict[str, Any] = (body.get("status") or {}).get("lastRun") or {}
    if not last and run is None:
        raise PlanGoneError(f"{namespace}/{name} has made no run yet: kubectl create job --from=cronjob/{name} now")
    selector = f"{naming.RETENTION_LABEL}={name}"
    pods = [pod async for pod in cluster.list(kube.POD, namespace, label_selector=selector)]
    for pod in sorted(pods, key=created, reverse=True):
        if run is None and belongs_to(pod, last["uid"]):
            return await cluster.log(namespace, pod["metadata"]["name"], _planner(pod))
        said = run_said(pod)
        if run is not None and said is not None and _deleted_as(run, said):
            return await cluster.log(namespace, pod["metadata"]["name"], RUN_CONTAINER)
    wanted = run or last.get("run")
    if wanted is None:
        raise PlanGoneError(
            f"the log of Job {last['job']} is gone, and only plans by which something went stay on the "
            f"volume: {last['outcome']}: {last['message']}"
        )
    say(f"no log has the plan of run {wanted} any more: a Job reads it from the volume")
    return await _read_by_job(cluster, namespace, name, wanted)


def _planner(pod: kube.Object) -> str:
    """The container that made the last plan: the second one plans anew, once the registry is quiet."""
    first = plan_said(pod)
    again = first is not None and first.answer is not None and first.answer.outcome is Outcome.SWITCH
    return RUN_CONTAINER if again and run_said(pod) is not None else PLAN_CONTAINER


def _deleted_as(run: str, said: Said) -> bool:
    """Whether that run deleted something and is called so; an undo answers with the run that it undid."""
    return said.answer is not None and said.answer.run == run and said.answer.hash is not None


async def _read_by_job(cluster: kube.ApiCluster, namespace: str, name: str, run: str) -> str:
    """Make the Job, as `kubectl create job --from=cronjob/…` would, await its log, and remove it."""
    cron_job = await cluster.get(kube.CRON_JOB, namespace, name)
    job = await cluster.create(_job(cron_job, Request(action=Action.SHOW, run=run)))
    metadata = job["metadata"]
    try:
        pod = await _finished_pod(cluster, job, name)
        said = plan_said(pod)
        if said is None or said.answer is None or said.answer.outcome is not Outcome.DONE:
            raise PlanGoneError(said.answer.message if said and said.answer else f"Job {metadata['name']} failed")
        return await cluster.log(namespace, pod["metadata"]["name"], PLAN_CONTAINER)
    finally:
        with suppress(kube.NotFoundError):
            await cluster.delete(kube.JOB, namespace, metadata["name"], uid=metadata["uid"])


async def _finished_pod(cluster: kube.ApiCluster, job: kube.Object, retention: str) -> kube.Object:
    namespace, name, uid = (job["metadata"][key] for key in ("namespace", "name", "uid"))
    while True:
        try:
            live = await cluster.get(kube.JOB, namespace, name)
        except kube.NotFoundError:
            why = f"kubectl events --namespace {namespace} --for imageretention/{retention}"
            raise PlanGoneError(f"Job {name} may not run: {why} says why") from None
        if is_finished(live):
            selector = f"batch.kubernetes.io/controller-uid={uid}"
            pods = [pod async for pod in cluster.list(kube.POD, namespace, label_selector=selector)]
            pod = newest(pods, uid)
            if pod is None:
                raise PlanGoneError(f"Job {name} failed, and its pod is gone")
            return pod
        await asyncio.sleep(PAUSE_SECONDS)


def _job(cron_job: kube.Object, request: Request) -> dict[str, Any]:
    metadata, template = cron_job["metadata"], cron_job["spec"]["jobTemplate"]
    owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "generateName": f"{metadata['name']}-plan-",
            "namespace": metadata["namespace"],
            "labels": template["metadata"]["labels"],
            "annotations": {"cronjob.kubernetes.io/instantiate": "manual", **request.annotations},
            "ownerReferences": [{**owner, "controller": True}],
        },
        "spec": template["spec"],
    }
