"""What a runtime says after it was made to ask a registry for something that can't exist, and what that proves.

The texts come from Go's net/http and from distribution's client, which dockerd, containerd and CRI-O share.
"""

from regkeeper.nodes.reasons import Problem, Reason
from regkeeper.nodes.report import HostState

_PROVES_TRANSPORT = (
    "manifest unknown",
    "not found",
    "name unknown",
    "repository name not known",
    "unauthorized",
    "authentication required",
    "no basic auth credentials",
    "insufficient_scope",
    "authorization failed",
    "denied",
    "401",
    "403 forbidden",
)
_HTTPS_TRIED = ("server gave http response to https client", "first record does not look like a tls handshake")
_CERTIFICATE = ("x509:", "certificate")
_UNRESOLVED = (
    "no such host",
    "no suitable address",
    "server misbehaving",
    "temporary failure in name resolution",
    "name or service not known",
)
_PROXY = ("proxyconnect", "proxy authentication required")
_BAD_NAME = "invalid reference format"


def judge(host: str, answer: str, *, runtime: str) -> tuple[HostState, Problem | None]:
    """State of a host that the runtime is set up to trust.

    Args:
        host: that was asked.
        answer: the runtime's error; empty: it found what it was asked for.
        runtime: its name, for the words.
    """
    text = answer.lower()
    # The order matters: a proxy's answer may say 403, and a look-up that failed may say "not found".
    if any(mark in text for mark in _PROXY):
        return HostState.BLOCKED, Problem(Reason.PROXY, {"runtime": runtime, "host": host, "entry": host})
    if any(mark in text for mark in _UNRESOLVED):
        return HostState.BLOCKED, Problem(Reason.NAME_UNRESOLVED, {"host": host})
    if any(mark in text for mark in _HTTPS_TRIED):
        return HostState.BLOCKED, Problem(Reason.NOT_EFFECTIVE, {"runtime": runtime, "path": "the entry of " + host})
    if any(mark in text for mark in _CERTIFICATE):
        return HostState.BLOCKED, Problem(Reason.CERTIFICATE, {"runtime": runtime, "host": host})
    if _BAD_NAME in text:
        return HostState.BLOCKED, Problem(
            Reason.UNSUPPORTED, {"detail": f"{runtime} takes no image name that starts with {host}; use a name or IPv4"}
        )
    if not text or any(mark in text for mark in _PROVES_TRANSPORT):
        return HostState.TRUSTED, None
    for mark in (
        "connection refused",
        "no route to host",
        "network is unreachable",
        "timeout",
        "deadline exceeded",
        "eof",
    ):
        if mark in text:
            return HostState.CONFIGURED, Problem(Reason.UNREACHABLE, {"host": host, "detail": mark})
    return HostState.CONFIGURED, Problem(
        Reason.UNVERIFIED, {"runtime": runtime, "host": host, "detail": "unknown answer"}
    )


def takes_name(answer: str) -> bool:
    """False if the runtime can't even parse image names with this host (IPv6 in dockerd 20.10)."""
    return _BAD_NAME not in answer.lower()
