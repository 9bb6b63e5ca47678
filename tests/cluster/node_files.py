"""The files of a node: what its administrator would have written into /etc. Pure: paths and contents."""

import hashlib
import json
import resource
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.kubeconfig import kubeconfig
from tests.cluster.plan import CONTROL_PLANE_ROLE, SERVICES, NodePlan, Plan

PAUSE_IMAGE = "registry.k8s.io/pause:3.10"
CNI_PROGRAMS = "/usr/lib/cni"
_KUBERNETES = "/etc/kubernetes"


def node_files(plan: Plan, node: NodePlan, certificates: Path) -> dict[str, str]:
    """Content of each file below /etc by its path there."""
    return {
        "hostname": f"{node.name}\n",
        "hosts": _hosts(plan),
        "machine-id": hashlib.sha256(f"{plan.name}/{node.name}".encode()).hexdigest()[:32] + "\n",
        "cni/net.d/10-regkeeper.conflist": json.dumps(_pod_network(plan, node), indent=2),
        "containerd/config.toml": _CONTAINERD,
        "kubernetes/kubelet.yaml": yaml.safe_dump(_kubelet(plan, node)),
        "kubernetes/kubelet.kubeconfig": kubeconfig(plan, certificates, f"kubelet-{node.name}"),
        "kubernetes/kube-proxy.yaml": yaml.safe_dump(_proxy(plan, node)),
        "kubernetes/kube-proxy.kubeconfig": kubeconfig(plan, certificates, "proxy"),
        "kubernetes/ca.crt": (certificates / "ca.crt").read_text(),
        "kubernetes/kubelet.crt": (certificates / f"kubelet-{node.name}.crt").read_text(),
        "kubernetes/kubelet.key": (certificates / f"kubelet-{node.name}.key").read_text(),
    }


def services(plan: Plan, node: NodePlan, kubernetes: Path) -> dict[str, list[str]]:
    """The command line of each service, in the order of their start."""
    taint = [f"--register-with-taints={CONTROL_PLANE_ROLE}:NoSchedule"] if node.control_plane else []
    return {
        "containerd": ["/usr/bin/containerd", "--config=/etc/containerd/config.toml"],
        "dockerd": [
            "/usr/sbin/dockerd",
            # The node's one containerd serves both, as Debian's packages set it up.
            "--containerd=/run/containerd/containerd.sock",
            "--host=unix:///run/docker.sock",
            "--storage-driver=overlay2",
            "--exec-opt=native.cgroupdriver=cgroupfs",
            f"--cgroup-parent=/{plan.cgroup}/{node.name}/docker",
            f"--mtu={plan.mtu}",
            "--oom-score-adjust=0",
        ],
        "kubelet": [
            # As its systemd unit has it: kubelet gives up if containerd is not done reading its images, for one thing.
            *_RESTART_ALWAYS,
            f"{kubernetes}/kubelet",
            f"--config={_KUBERNETES}/kubelet.yaml",
            f"--kubeconfig={_KUBERNETES}/kubelet.kubeconfig",
            f"--hostname-override={node.name}",
            f"--node-ip={node.address}",
            *taint,
        ],
        "kube-proxy": [f"{kubernetes}/kube-proxy", f"--config={_KUBERNETES}/kube-proxy.yaml"],
    }


_RESTART_ALWAYS = ("/bin/sh", "-c", 'while :; do "$@"; sleep 0.5; done', "restart-always")


def _hosts(plan: Plan) -> str:
    lines = ["127.0.0.1 localhost", *(f"{node.address} {node.name}" for node in plan.nodes)]
    return "\n".join(lines) + "\n"


def _pod_network(plan: Plan, node: NodePlan) -> dict[str, Any]:
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": str(node.pods)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": False,  # pods see each other's own addresses; `node.py` masquerades what leaves the cluster
        "hairpinMode": True,
        "mtu": plan.mtu,
        "ipam": addresses,
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "regkeeper", "plugins": [bridge, ports]}


def _kubelet(plan: Plan, node: NodePlan) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{_KUBERNETES}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{_KUBERNETES}/kubelet.crt",
        "tlsPrivateKeyFile": f"{_KUBERNETES}/kubelet.key",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{plan.cgroup}/{node.name}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [str(SERVICES[10])],
        "clusterDomain": "cluster.local",
        "resolvConf": "/etc/resolv.conf",
        "staticPodPath": f"{_KUBERNETES}/manifests",
        "maxPods": 60,
        # What fails, and was then mended, is tried again soon: the usual ten seconds double each time.
        "crashLoopBackOff": {"maxContainerRestartPeriod": "5s"},
        # A sandbox may lack CAP_SYS_RESOURCE, which the usual scores and limits would need.
        "oomScoreAdj": 0,
        "maxOpenFiles": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        # A full disk of the machine is no reason to evict the pods of a test.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
            "nodefs.inodesFree": "1%",
        },
    }


def _proxy(plan: Plan, node: NodePlan) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": f"{_KUBERNETES}/kube-proxy.kubeconfig"},
        "hostnameOverride": node.name,
        "mode": "iptables",
        "clusterCIDR": str(plan.pods),
        "oomScoreAdj": 0,
        # The table of connections is the machine's: its limits stay as they are.
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


_CONTAINERD = f"""\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Without CAP_SYS_RESOURCE runc could not lower a score and would fail.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PROGRAMS}"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "/etc/containerd/certs.d"
"""
