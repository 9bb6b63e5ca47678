"""What the gate costs: from `kubectl create job` until the engine has begun, against the same Job let go at once.

And, apart from that, how long pushes wait while a run makes the registry read-only, deletes, and gives it back.
"""

import json
import os
import re
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from regkeeper import naming
from regkeeper.reconcile.job_life import is_finished
from tests.bench.operated_cluster import operated_cluster
from tests.bench.table import SPREAD, Section, added, alternate, spread
from tests.cluster import Cluster
from tests.registry_content import push, takes_pushes
from tests.registry_objects import registry_object
from tests.retention_objects import retention_object
from tests.waiting import wait_for

ROUNDS = 10
SWITCHES = 5
BOUND = 2.0
"""Seconds that the gate may add in the median (issue 6)."""
REPLACED = 10.0
"""Seconds for which pulls may fail each time that the only pod is replaced (issue 6)."""
NAMESPACE = "bench"
SOON = 120
NEXT_YEAR = "0 0 1 1 *"
KEEP_ONE: dict[str, Any] = {
    "rules": [{"name": "newest", "keep": {"last": 1}}],
    "protect": {"youngerThan": "0s"},
    "garbage": {"deleteAfter": "0s"},
    "schedule": NEXT_YEAR,
}


def run() -> Iterator[Section]:
    with operated_cluster() as cluster:
        cluster.kubectl("create", "namespace", NAMESPACE)
        bench = Bench(cluster)
        yield bench.gate()
        yield bench.switch()


class Bench:
    """A namespace of a cluster with the operator."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._kubectl = partial(cluster.kubectl, "--namespace", NAMESPACE)

    def gate(self) -> Section:
        """A registry that is read-only anyway."""
        self._registry("asleep", readOnly=True)
        template = self._retention("policy", "asleep")["spec"]["jobTemplate"]

        def through_the_gate(number: int) -> float:
            job = f"gated-{number}"
            return self._until_begun(job, "create", "job", job, "--from=cronjob/policy")

        def at_once(number: int) -> float:
            return self._until_begun(f"plain-{number}", "create", "--filename=-", stdin=_plain_job(number, template))

        gated, plain = alternate(through_the_gate, at_once, rounds=ROUNDS)
        section = Section(
            "The gate of a run",
            f"`kubectl create job` until the Job's first container has read its snapshot and ended, {ROUNDS} rounds in "
            "turn, on two real nodes: a Job of an ImageRetention on a registry that is read-only anyway (lock, images "
            "in use, snapshot, then unsuspended), against the same Job born unsuspended, which finds no snapshot. Load "
            f"average at the end: {os.getloadavg()[0]:.1f}.",
            SPREAD,
        )
        section.rows += [spread("through the gate", gated), spread("let go at once", plain)]
        section.rows.append(("the gate adds", f"{added(gated, plain):+.2f} s", "", ""))
        section.expect(added(gated, plain) <= BOUND, f"the gate adds at most {BOUND:.0f} s in the median")
        self._kubectl("delete", "imageretention/policy", "registry/asleep", f"--timeout={SOON}s")
        return section

    def switch(self) -> Section:
        """A registry with one replica, of which each run deletes one image."""
        self._registry("awake", access={"nodePort": {"nodes": ["k8sworker1"]}})
        host = next(
            entry["host"]
            for entry in self._get("registry", "awake")["status"]["addresses"]
            if entry["type"] == "NodePort"
        )
        name, _, port = host.partition(":")
        url = f"http://{self._cluster.node_ip(name)}:{port}"
        self._retention("policy", "awake")
        push(url, "app", "v0", seed=0)
        pushes, pulls, resumed, took = [], [], [], []
        for turn in range(1, SWITCHES + 1):
            wait_for(partial(takes_pushes, url), SOON, "the registry to take pushes")
            push(url, "app", f"v{turn}", seed=turn)
            job = f"run-{turn}"
            began = time.monotonic()
            self._kubectl("create", "job", job, "--from=cronjob/policy")
            last = wait_for(partial(self._ended, job), SOON, f"{job} to end")
            assert last["outcome"] == "Done", last
            took.append(time.monotonic() - began)
            last = wait_for(partial(self._resumed, job), SOON, f"the registry to serve as before {job}")
            pushes.append(_seconds(last["pushesWaited"]))
            pulls.append(_seconds(last["pullsWaited"]))
            resumed.append(_seconds(last["resumedAfter"]))
        section = Section(
            "The switch to read-only and back",
            f"{SWITCHES} runs that delete one image of a registry with one replica, on two real nodes, as "
            "`status.lastRun` says: how long pushes were refused and pulls failed before the lock was released "
            "(`pushesWaited`, `pullsWaited`), and both from then until the pod served that takes pushes again "
            "(`resumedAfter`); and from `kubectl create job` until the outcome stands in the status. Load average at "
            f"the end: {os.getloadavg()[0]:.1f}.",
            SPREAD,
        )
        section.rows += [
            spread("pushes waited", pushes),
            spread("pulls waited", pulls),
            spread("both, on the way back", resumed),
            spread("the whole run", took),
        ]
        section.expect(max(*pulls, *resumed) <= REPLACED, f"pulls fail for at most {REPLACED:.0f} s each way")
        return section

    def _registry(self, name: str, **spec: Any) -> None:
        self._apply(registry_object(name, namespace=NAMESPACE, storage={"size": "1Gi"}, **spec))
        self._kubectl("wait", "--for=condition=Ready", f"registry/{name}", f"--timeout={SOON}s")

    def _retention(self, name: str, registry: str) -> dict[str, Any]:
        """Apply an ImageRetention; its CronJob."""
        body = retention_object(name, namespace=NAMESPACE, **KEEP_ONE)
        body["spec"]["registryRef"]["name"] = registry
        self._apply(body)
        self._kubectl("wait", "--for=create", f"cronjob/{name}", f"--timeout={SOON}s")
        return self._get("cronjob", name)

    def _until_begun(self, job: str, *command: str, stdin: str = "") -> float:
        """Seconds from the creation of a Job until its first container has ended; the Job is removed afterwards."""
        selector = f"--selector=batch.kubernetes.io/job-name={job}"
        ended = "--for=jsonpath={.status.initContainerStatuses[0].state.terminated}"
        began = time.monotonic()
        self._kubectl(*command, stdin=stdin)
        pod = wait_for(lambda: self._kubectl("get", "pods", selector, "--output=name"), SOON, f"a pod of {job}")
        self._kubectl("wait", pod.strip(), ended, f"--timeout={SOON}s")
        took = time.monotonic() - began
        wait_for(lambda: is_finished(self._get("job", job)), SOON, f"{job} to end")
        self._kubectl("delete", "job", job, f"--timeout={SOON}s")
        wait_for(lambda: not self._kubectl("get", "pods", selector, "--output=name"), SOON, f"the pod of {job} to go")
        return took

    def _ended(self, job: str) -> dict[str, Any]:
        last: dict[str, Any] = (self._get("imageretention", "policy").get("status") or {}).get("lastRun") or {}
        return last if last.get("job") == job and last["outcome"] != "Running" else {}

    def _resumed(self, job: str) -> dict[str, Any]:
        last = self._ended(job)
        return last if "resumedAfter" in last else {}

    def _apply(self, body: dict[str, Any]) -> None:
        self._kubectl("apply", "--filename=-", stdin=json.dumps(body))

    def _get(self, kind: str, name: str) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self._kubectl("get", kind, name, "--output=json"))
        return body


def _plain_job(number: int, template: dict[str, Any]) -> str:
    """The same Job without a gate, and without the labels by which the operator would know it."""
    pod = template["spec"]["template"]
    labels = {key: value for key, value in pod["metadata"]["labels"].items() if not key.startswith(naming.GROUP)}
    return json.dumps(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": f"plain-{number}", "namespace": NAMESPACE},
            "spec": {**template["spec"], "suspend": False, "template": {**pod, "metadata": {"labels": labels}}},
        }
    )


def _seconds(text: str) -> float:
    match = re.fullmatch(r"([0-9]+)s", text)
    assert match is not None, text
    return float(match[1])
