"""What the operator makes, changed into what it does not need: each is refused by one of the chart's policies."""

from collections.abc import Callable
from typing import Any

from regkeeper.resources.registry import http_secret
from tests.e2e.tenant import CLAIM, HOST_PORT, LOCAL, RULE, SHARED, built, container, disown, pod, registry
from tests.helm import Object

Change = Callable[[Object], Any]


def add_container_security(**fields: Any) -> Change:
    return lambda body: container(body)["securityContext"].update(fields)


def add_init_container_security(**fields: Any) -> Change:
    return lambda body: pod(body)["initContainers"][0]["securityContext"].update(fields)


def add_pod_security(**fields: Any) -> Change:
    return lambda body: pod(body)["securityContext"].update(fields)


def add_pod(**fields: Any) -> Change:
    return lambda body: pod(body).update(fields)


def add_volume(**source: Any) -> Change:
    return lambda body: pod(body)["volumes"].append({"name": "more", **source})


def disown_and_unlabel(body: Object) -> None:
    body["metadata"].pop("ownerReferences", None)
    del body["metadata"]["labels"]["regkeeper.dev/registry"]


SECRET = http_secret(registry(CLAIM), "value")

PRIVILEGE = "no privilege, no capability"
POD_SAYS = "with what their pod says"
NOT_ROOT = "a user and a group that are not root"
NODE = "nothing of the node"
NAMESPACES = "namespaces of their own"
TOKEN = "no service account of their own"
PORTS = "port 5000 of the container registry"
OWNED = "only what belongs to a Registry"
VOLUMES = "only local PersistentVolumes of its own"
ALLOWED = "the chart's value localStorage does not allow"

REFUSED: list[tuple[Object, Change, str]] = [
    (built(CLAIM, "Deployment"), add_container_security(privileged=True, allowPrivilegeEscalation=True), PRIVILEGE),
    (
        built(CLAIM, "Deployment"),
        add_init_container_security(privileged=True, allowPrivilegeEscalation=True),
        PRIVILEGE,
    ),
    (built(CLAIM, "Deployment"), add_container_security(allowPrivilegeEscalation=True), PRIVILEGE),
    (
        built(CLAIM, "Deployment"),
        add_container_security(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
        PRIVILEGE,
    ),
    (built(CLAIM, "Deployment"), add_container_security(capabilities={"drop": ["CHOWN"]}), PRIVILEGE),
    (built(CLAIM, "Deployment"), add_container_security(readOnlyRootFilesystem=False), PRIVILEGE),
    (built(CLAIM, "Deployment"), lambda body: container(body).pop("securityContext"), PRIVILEGE),
    (built(CLAIM, "Deployment"), add_container_security(runAsUser=0), POD_SAYS),
    (built(CLAIM, "Deployment"), add_container_security(runAsNonRoot=False), POD_SAYS),
    (built(CLAIM, "Deployment"), add_container_security(seccompProfile={"type": "Unconfined"}), POD_SAYS),
    (built(CLAIM, "Deployment"), add_pod_security(runAsUser=0, runAsNonRoot=True), NOT_ROOT),
    (built(CLAIM, "Deployment"), add_pod_security(runAsNonRoot=False), NOT_ROOT),
    (built(CLAIM, "Deployment"), add_pod_security(seccompProfile={"type": "Unconfined"}), NOT_ROOT),
    (built(CLAIM, "Deployment"), add_pod_security(supplementalGroups=[0]), NOT_ROOT),
    (built(CLAIM, "Deployment"), add_pod_security(fsGroup=0), NOT_ROOT),
    (built(CLAIM, "Deployment"), lambda body: pod(body).pop("securityContext"), NOT_ROOT),
    (built(CLAIM, "Deployment"), add_pod(hostNetwork=True), NAMESPACES),
    # The API server itself refuses both at once.
    (built(CLAIM, "Deployment"), add_pod(hostPID=True, shareProcessNamespace=False), NAMESPACES),
    (built(CLAIM, "Deployment"), add_pod(hostIPC=True), NAMESPACES),
    (built(CLAIM, "Deployment"), add_pod(nodeName="k8smaster"), NAMESPACES),
    (built(CLAIM, "Deployment"), add_pod(serviceAccountName="cluster-admin"), TOKEN),
    (built(CLAIM, "Deployment"), add_pod(automountServiceAccountToken=True), TOKEN),
    (built(CLAIM, "Deployment"), add_volume(hostPath={"path": "/etc"}), NODE),
    (built(CLAIM, "Deployment"), add_volume(secret={"secretName": "other"}), NODE),
    (built(CLAIM, "Deployment"), add_volume(csi={"driver": "any.example.com"}), NODE),
    (built(CLAIM, "Deployment"), add_volume(projected={"sources": [{"serviceAccountToken": {"path": "t"}}]}), NODE),
    (built(HOST_PORT, "Deployment"), lambda body: container(body)["ports"][0].update(containerPort=22), PORTS),
    (built(HOST_PORT, "Deployment"), lambda body: container(body)["ports"][0].update(hostIP="127.0.0.1"), PORTS),
    (built(HOST_PORT, "Deployment"), lambda body: container(body).update(name="other"), PORTS),
    (built(CLAIM, "Deployment"), disown, OWNED),
    (built(CLAIM, "ConfigMap"), disown, OWNED),
    (built(CLAIM, "Service"), disown, OWNED),
    (built(SHARED, "PodDisruptionBudget"), disown, OWNED),
    (built(CLAIM, "PersistentVolumeClaim"), disown_and_unlabel, OWNED),
    (SECRET, disown, OWNED),
    (
        SECRET,
        lambda body: body.update(type="kubernetes.io/dockerconfigjson", data={".dockerconfigjson": "e30="}),
        "Opaque",
    ),
    (built(CLAIM, "Service"), lambda body: body["spec"].update(type="LoadBalancer"), "ClusterIP and NodePort only"),
    (built(CLAIM, "Service"), lambda body: body["spec"].update(externalIPs=["192.0.2.1"]), "externalIPs"),
    (built(CLAIM, "Service"), lambda body: body["spec"].update(selector={"app": "bank"}), "pods of a Registry only"),
    (built(LOCAL, "PersistentVolume"), lambda body: body["spec"]["local"].update(path="/etc"), ALLOWED),
    (built(LOCAL, "PersistentVolume"), lambda body: body["spec"]["local"].update(path=f"{RULE['path']}/a"), ALLOWED),
    (built(LOCAL, "PersistentVolume"), lambda body: body["spec"]["claimRef"].update(namespace="other"), ALLOWED),
    (
        built(LOCAL, "PersistentVolume"),
        lambda body: body["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0].update(
            values=["k8sworker1"]
        ),
        ALLOWED,
    ),
    (
        built(LOCAL, "PersistentVolume"),
        lambda body: body["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0].update(
            operator="NotIn"
        ),
        ALLOWED,
    ),
    (
        built(LOCAL, "PersistentVolume"),
        lambda body: body["spec"].update(persistentVolumeReclaimPolicy="Delete"),
        "are retained",
    ),
    (built(LOCAL, "PersistentVolume"), lambda body: body["spec"].pop("claimRef"), "meant for one claim"),
    (built(LOCAL, "PersistentVolume"), disown_and_unlabel, VOLUMES),
    (
        built(LOCAL, "PersistentVolume"),
        lambda body: body["spec"].update(hostPath={"path": body["spec"].pop("local")["path"]}),
        VOLUMES,
    ),
]

_OF_EACH_POLICY = {"Deployment": PRIVILEGE, "ConfigMap": OWNED, "Service": "externalIPs", "PersistentVolume": ALLOWED}
FIRST_OF_EACH_POLICY = [
    next(case for case in REFUSED if case[0]["kind"] == kind and case[2] == message)
    for kind, message in [*_OF_EACH_POLICY.items(), ("Secret", "Opaque")]
]
