"""The cluster's certificates, made by openssl in a fraction of a second: one authority, one certificate a component."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.commands import run
from tests.cluster.plan import SERVICES, Plan

_DAYS = "3650"
_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")


@dataclass(frozen=True)
class Identity:
    """A certificate to be issued; it serves as a client's and as a server's."""

    name: str
    subject: str
    alternatives: Sequence[str] = ()


def identities(plan: Plan) -> list[Identity]:
    """Who needs a certificate."""
    names = [f"DNS:{name}" for name in (*_NAMES, "kubernetes.default.svc.cluster.local")]
    addresses = [f"IP:{address}" for address in (SERVICES[1], plan.address, plan.loopback, "127.0.0.1")]
    return [
        Identity("apiserver", "/CN=kube-apiserver", [*names, *addresses]),
        Identity("admin", "/O=system:masters/CN=admin"),
        Identity("apiserver-kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client"),
        Identity("controller-manager", "/CN=system:kube-controller-manager"),
        Identity("scheduler", "/CN=system:kube-scheduler"),
        Identity("proxy", "/CN=system:kube-proxy"),
        *(
            Identity(
                f"kubelet-{node.name}",
                f"/O=system:nodes/CN=system:node:{node.name}",
                [f"IP:{node.address}", f"DNS:{node.name}"],
            )
            for node in plan.nodes
        ),
    ]


def issue(plan: Plan, directory: Path) -> None:
    """Write NAME.crt and NAME.key for the authority `ca` and each identity, and the service account key pair sa.*."""
    directory.mkdir(parents=True)
    directory.chmod(0o700)
    key = directory / "ca.key"
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    # Python 3.13 refuses an authority without this extension.
    usage = "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"
    subject = f"/CN=regkeeper-{plan.name}-ca"
    authority = ("-x509", "-new", "-key", key, "-subj", subject, "-days", _DAYS, "-addext", usage)
    run("openssl", "req", *authority, "-out", directory / "ca.crt")
    with ThreadPoolExecutor() as pool:
        service_accounts = pool.submit(_service_account_keys, directory)
        for issued in [pool.submit(_issue, identity, directory) for identity in identities(plan)]:
            issued.result()
        service_accounts.result()


def _issue(identity: Identity, directory: Path) -> None:
    key, request = directory / f"{identity.name}.key", directory / f"{identity.name}.csr"
    extensions = directory / f"{identity.name}.ext"
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    run("openssl", "req", "-new", "-key", key, "-subj", identity.subject, "-out", request)
    lines = ["extendedKeyUsage=clientAuth,serverAuth"]
    if identity.alternatives:
        lines.append("subjectAltName=" + ",".join(identity.alternatives))
    extensions.write_text("\n".join(lines) + "\n")
    signer = ("-CA", directory / "ca.crt", "-CAkey", directory / "ca.key", "-extfile", extensions, "-days", _DAYS)
    run("openssl", "x509", "-req", "-in", request, *signer, "-out", directory / f"{identity.name}.crt")
    request.unlink()
    extensions.unlink()


def _service_account_keys(directory: Path) -> None:
    run("openssl", "genrsa", "-out", directory / "sa.key", "2048")
    run("openssl", "rsa", "-in", directory / "sa.key", "-pubout", "-out", directory / "sa.pub")
