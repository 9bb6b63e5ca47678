"""The agents' pods, as a listing and a watch of their own show them, and what each was told to trust."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from regkeeper import kube, naming
from regkeeper.nodes import desired
from regkeeper.nodes.desired import TrustList
from regkeeper.nodes.reasons import NodeProblemError
from regkeeper.reconcile.trust.following import follow

STARTING = "its pod is starting"


@dataclass(frozen=True, slots=True)
class Agent:
    """One pod of the DaemonSet."""

    node: str
    pod: str
    uid: str
    address: str
    """Its IP address; empty until it has one."""
    told: TrustList | None
    """What its annotation says; None: nothing, or nothing that could be read."""
    runs: bool
    trouble: str
    """Why it does not run, as far as its status tells."""


def agent_of(pod: Mapping[str, Any], daemon_set_uid: str) -> Agent | None:
    """Read a pod; None if it is not the DaemonSet's, is on no node yet, or is going."""
    metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    # Whoever may make pods there could otherwise be asked, and be believed as far as the key goes.
    owned = any(owner["uid"] == daemon_set_uid for owner in metadata.get("ownerReferences") or ())
    if not owned or not spec.get("nodeName") or "deletionTimestamp" in metadata:
        return None
    states = [container.get("state") or {} for container in status.get("containerStatuses") or ()]
    runs = any("running" in state for state in states) and status.get("phase") == "Running"
    return Agent(
        node=spec["nodeName"],
        pod=metadata["name"],
        uid=metadata["uid"],
        address=status.get("podIP") or "",
        told=_told(metadata, spec["nodeName"]),
        runs=runs,
        trouble="" if runs else _trouble(status, states),
    )


def _told(metadata: Mapping[str, Any], node: str) -> TrustList | None:
    document = (metadata.get("annotations") or {}).get(naming.TRUST_ANNOTATION)
    try:
        trust = desired.decode((document or "").encode())
        trust.hosts_of(node)
    except NodeProblemError:
        return None
    return trust


def _trouble(status: Mapping[str, Any], states: list[Mapping[str, Any]]) -> str:
    for state in states:
        for phase in ("waiting", "terminated"):
            if phase in state:
                said = f"{state[phase].get('reason', '')} {state[phase].get('message', '')}".strip()
                if said and said != "ContainerCreating":
                    return said
    return status.get("message") or STARTING


class AgentPods:
    """The agents by their nodes. `changed` is called whenever one came, went or changed."""

    def __init__(self, cluster: kube.Cluster, namespace: str, changed: Callable[[], None]) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._changed = changed
        self._by_pod: dict[str, Agent] = {}
        self._watching: asyncio.Task[None] | None = None
        self._daemon_set = ""
        self.is_listed = False
        """Whether the pods of the DaemonSet were listed: before, that there is none says nothing."""
        self.trouble = ""
        """Why they could not be listed or followed, the last time."""

    def by_node(self) -> dict[str, Agent]:
        """The agents that are there now; of two on one node, as in a roll-out, the one that runs."""
        agents: dict[str, Agent] = {}
        for agent in self._by_pod.values():
            if agent.node not in agents or agent.runs:
                agents[agent.node] = agent
        return agents

    def watch(self, daemon_set_uid: str) -> None:
        """Follow the pods of this DaemonSet, and of no other."""
        if daemon_set_uid == self._daemon_set and self._watching is not None and not self._watching.done():
            return
        self.stop()
        self._daemon_set = daemon_set_uid
        self._watching = asyncio.create_task(
            follow(self._cluster, kube.POD, self._namespace, listed=self._list, changed=self._take, broke=self._note)
        )

    def stop(self) -> None:
        """Follow none."""
        if self._watching is not None:
            self._watching.cancel()
        self._watching, self._daemon_set, self._by_pod, self.is_listed = None, "", {}, False

    async def close(self) -> None:
        """Follow none, and return when the watch has ended."""
        watching = self._watching
        self.stop()
        if watching is not None:
            await asyncio.gather(watching, return_exceptions=True)

    async def tell(self, agent: Agent, trust: TrustList) -> None:
        """Write what the agent's node is to trust into its pod, which makes kubelet refresh the mounted file at once.

        Raises:
            kube.ApiError: the API server refuses. (No error if the pod is gone.)
        """
        document = desired.encode(trust).decode()
        # The uid makes sure that it is still this pod.
        body = {"metadata": {"uid": agent.uid, "annotations": {naming.TRUST_ANNOTATION: document}}}
        try:
            self._put(await self._cluster.patch(kube.POD, self._namespace, agent.pod, body))
        except kube.NotFoundError:
            self._by_pod.pop(agent.pod, None)
        except kube.ConflictError:
            # The name is another pod's, as the watch is about to show, or too many wrote at once: the next pass tells.
            self._changed()

    def _list(self, pods: list[kube.Object]) -> None:
        self._by_pod = {}
        for pod in pods:
            self._put(pod)
        self.is_listed, self.trouble = True, ""
        self._changed()

    def _note(self, error: kube.ApiError) -> None:
        self.trouble = str(error)
        self._changed()

    def _take(self, event: str, pod: kube.Object) -> None:
        if event == "DELETED":
            self._by_pod.pop(pod["metadata"]["name"], None)
        else:
            self._put(pod)
        self._changed()

    def _put(self, pod: kube.Object) -> None:
        agent = agent_of(pod, self._daemon_set)
        if agent is None:
            self._by_pod.pop(pod["metadata"]["name"], None)
        else:
            self._by_pod[agent.pod] = agent
