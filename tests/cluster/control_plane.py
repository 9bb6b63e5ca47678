"""etcd, API server, controller manager and scheduler: processes in the machine's own namespaces, on the bridge."""

import os
import signal
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

from tests.cluster import certificates
from tests.cluster.api import Api, Wire
from tests.cluster.kubeconfig import kubeconfig
from tests.cluster.plan import SERVICES, Plan
from tests.cluster.processes import ProcessTable
from tests.cluster.programs import ETCD, KUBERNETES
from tests.waiting import wait_for

_READY_TIMEOUT = 60  # seconds; takes 3 on a quiet machine

_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    # Tests count writes, and most of what is asked is none.
    "rules": [{"level": "None", "verbs": ["get", "list", "watch"]}, {"level": "Metadata"}],
}

_COLLECTOR = {"GOGC": "400", "GOMEMLIMIT": "600MiB"}
"""Go's garbage collector took a sixth of the API server's time. Beyond the limit it works as often as it has to."""


@lru_cache(maxsize=8)
def _administrators(server: str, certificates: Path, _issued: int) -> Api:
    return Api(Wire(server, certificates, "admin"))


@dataclass(frozen=True)
class ControlPlane:
    """The programs that are a cluster's brain."""

    plan: Plan
    processes: ProcessTable

    @property
    def certificates(self) -> Path:
        return self.plan.data / "certificates"

    @property
    def kubeconfig(self) -> Path:
        """Of an administrator."""
        return self._kubeconfig("admin")

    @property
    def audit_log(self) -> Path:
        """The API server's audit log of writes, without bodies: a JSON document a line, written before the answer."""
        return self.plan.data / "audit.log"

    @property
    def logs(self) -> Path:
        return self.plan.data / "logs"

    def api(self) -> Api:
        """An administrator's client."""
        # A cluster that is made anew has other certificates.
        return _administrators(self.plan.server, self.certificates, (self.certificates / "ca.crt").stat().st_mtime_ns)

    def prepare(self) -> None:
        """Write certificates, kubeconfigs and the audit policy."""
        self.logs.mkdir(parents=True)
        certificates.issue(self.plan, self.certificates)
        (self.plan.data / "audit-policy.yaml").write_text(yaml.safe_dump(_AUDIT_POLICY))
        for user in ("admin", "controller-manager", "scheduler"):
            path = self._kubeconfig(user)
            path.touch(mode=0o600)
            path.write_text(kubeconfig(self.plan, self.certificates, user))

    def start_servers(self) -> None:
        """Start etcd and API server; return when they serve."""
        self.start_etcd()
        self.start_api_server()

    def start_controllers(self) -> None:
        """Start the controller manager; return when it works."""
        self._start("kube-controller-manager", KUBERNETES.program("kube-controller-manager"), self._manager_flags())
        # Pods and tokens need it; the controller manager makes it within a second of its start.
        path = "/api/v1/namespaces/default/serviceaccounts/default"
        wait_for(lambda: self.api().get(path), _READY_TIMEOUT, "the controller manager to make a service account")

    def start_etcd(self) -> None:
        """Start etcd; the API server waits for it by itself."""
        # No fsync: a killed process loses nothing, and a cluster for tests need not outlive a power cut.
        self._start("etcd", ETCD.program("etcd"), [*self._etcd_flags(), "--unsafe-no-fsync"])

    def start_api_server(self) -> None:
        """Start the API server and wait until it is ready."""
        self._start("kube-apiserver", KUBERNETES.program("kube-apiserver"), self._api_server_flags())
        wait_for(self._ready, _READY_TIMEOUT, lambda: f"the API server; see {self.logs}/kube-apiserver.log")

    def start_scheduler(self) -> None:
        """Start the scheduler, which only a cluster with nodes needs."""
        config = self._kubeconfig("scheduler")
        flags = [f"--kubeconfig={config}", "--leader-elect=false", f"--bind-address={self.plan.loopback}"]
        self._start("kube-scheduler", KUBERNETES.program("kube-scheduler"), flags)

    def restart_etcd(self) -> None:
        """Kill etcd and start it again; return when the API server is ready again."""
        self.processes.stop("etcd", first=signal.SIGKILL)
        self.start_etcd()
        wait_for(self._ready, _READY_TIMEOUT, "the API server to be ready with etcd again")

    def restart_api_server(self) -> None:
        """Stop the API server and start it again; return when it is ready."""
        # It would wait a minute for its watches to end, and was killed after the usual 20 seconds.
        self.processes.stop("kube-apiserver", grace=3)
        self.start_api_server()

    def stop(self) -> None:
        """Kill all that is recorded: what they would save is about to be removed."""
        for name in self.processes.names():
            self.processes.stop(name, first=signal.SIGKILL)

    def _ready(self) -> bool:
        if not self.processes.alive("kube-apiserver"):
            raise RuntimeError(f"the API server ended; see {self.logs}/kube-apiserver.log")
        return self.api().ready()

    def _kubeconfig(self, user: str) -> Path:
        return self.plan.data / ("kubeconfig" if user == "admin" else f"{user}.kubeconfig")

    def _start(self, name: str, program: Path, flags: list[str]) -> None:
        self.processes.start(name, [program, *flags], self.logs / f"{name}.log", {**os.environ, **_COLLECTOR})

    def _etcd_flags(self) -> list[str]:
        client, peer = f"http://{self.plan.loopback}:2379", f"http://{self.plan.loopback}:2380"
        return [
            f"--name={self.plan.name}",
            f"--data-dir={self.plan.data}/etcd",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster={self.plan.name}={peer}",
            "--log-level=warn",
        ]

    def _api_server_flags(self) -> list[str]:
        pki = self.certificates
        return [
            f"--etcd-servers=http://{self.plan.loopback}:2379",
            f"--bind-address={self.plan.address}",
            "--secure-port=6443",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            f"--client-ca-file={pki}/ca.crt",
            f"--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt",
            f"--kubelet-client-key={pki}/apiserver-kubelet-client.key",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki}/sa.pub",
            f"--service-account-signing-key-file={pki}/sa.key",
            f"--service-cluster-ip-range={SERVICES}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            "--endpoint-reconciler-type=lease",
            # It reaches webhooks by their pods' addresses: here no kube-proxy knows service addresses.
            "--enable-aggregator-routing=true",
            f"--audit-policy-file={self.plan.data}/audit-policy.yaml",
            f"--audit-log-path={self.audit_log}",
            "--audit-log-maxsize=4096",  # MiB: a test that counts writes must never see it rotated
        ]

    def _manager_flags(self) -> list[str]:
        pki, config = self.certificates, self._kubeconfig("controller-manager")
        return [
            f"--kubeconfig={config}",
            f"--authentication-kubeconfig={config}",
            f"--authorization-kubeconfig={config}",
            f"--root-ca-file={pki}/ca.crt",
            f"--service-account-private-key-file={pki}/sa.key",
            f"--cluster-signing-cert-file={pki}/ca.crt",
            f"--cluster-signing-key-file={pki}/ca.key",
            "--use-service-account-credentials=true",
            "--allocate-node-cidrs=false",
            "--leader-elect=false",
            # It checks the types of each admission policy's expressions, for a status that nobody here reads.
            "--controllers=*,-validatingadmissionpolicy-status-controller",
            # The default of 20 requests a second costs three seconds of throttling at its start.
            "--kube-api-qps=300",
            "--kube-api-burst=500",
            # A claim that is there before its volume waits for the one, an autoscaler for the other: 15 seconds each.
            "--pvclaimbinder-sync-period=1s",
            "--horizontal-pod-autoscaler-sync-period=1s",
            f"--bind-address={self.plan.loopback}",
        ]
