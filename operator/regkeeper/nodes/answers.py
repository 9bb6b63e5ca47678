"""What a runtime says after it was made to ask a registry for something that can't exist, and what that proves.

The texts are those of dockerd 20.10 and 29, containerd 1.6, 1.7 and 2, CRI-O 1.37 and its library, measured against
servers of every kind (tests/nodes/measured_answers.py). Only a whole text that is known proves anything: a host, a port
or what a server sends may hold any word.
"""

import re

from regkeeper.nodes.reasons import Problem, Reason
from regkeeper.nodes.report import HostState

NOWHERE = "regkeeper.invalid/none"
"""A repository that no registry has."""
NO_TAG = "none"

_PROVES_TRANSPORT = (
    # dockerd. What follows the code is the server's own; a proxy that says no sends a page.
    (
        r'(?:Head "https?://{host}/v2/{path}/manifests/{tag}": )?(?:errors:\n)?'
        r"(?:(?:manifest unknown|name unknown|unauthorized|no basic auth credentials)(?:(?:: |\n).*)?"
        r"|denied(?:(?:: (?!\s*<)|\n).*)?)"
    ),
    # containerd
    (
        r'failed to pull and unpack image "{image}": failed to resolve (?:reference "{image}"|image): (?:'
        r"{image}: not found"
        r"|pulling from host {host} failed with status code \[manifests {tag}\]: 401 Unauthorized"
        r"|unexpected status from HEAD request to https?://{host}/v2/{path}/manifests/{tag}: 401 Unauthorized(?:\n.*)?"
        r"|pull access denied, repository does not exist or may require authorization: .*"
        r"|failed to authorize: failed to fetch (?:anonymous|oauth) token: "
        r"(?:.*: )?(?:401 Unauthorized|403 Forbidden).*"
        r")"
    ),
    # CRI-O
    (
        r"(?:.*: )?reading manifest {tag} in {host}/{path}: (?:errors:\n)?"
        r"(?:(?:manifest unknown|name unknown|unauthorized|authentication required)(?:(?:: |\n).*)?"
        r"|denied(?:(?:: (?!\s*<)|\n).*)?)"
    ),
    (
        r"(?:.*: )?initializing source docker://{image}: (?:"
        r"Requesting bearer token: received unexpected HTTP status: 403 Forbidden"
        r"|unable to retrieve auth token: invalid username/password: authentication required"
        r")(?:; .*)?"
    ),
)

_BAD_NAME = "invalid reference format"
_BLOCKS = (
    # The order matters: what a proxy says comes before what it says of the registry.
    (r"proxyconnect tcp: |: Proxy Authentication Required", Reason.PROXY),
    (
        r": no such host|: no suitable address found|: Temporary failure in name resolution|: lookup \S+ on \S+: ",
        Reason.NAME_UNRESOLVED,
    ),
    (
        r": http: server gave HTTP response to HTTPS client|: tls: first record does not look like a TLS handshake",
        Reason.NOT_EFFECTIVE,
    ),
    (r": x509: |: tls: .*certificate|: Client sent an HTTP request to an HTTPS server", Reason.CERTIFICATE),
    (_BAD_NAME, Reason.UNSUPPORTED),
)
_UNREACHABLE = re.compile(
    r": connect: (connection refused|connection reset by peer|no route to host|network is unreachable)"
    r"|: read: (connection reset by peer)|: (EOF)$|(timed out)$|(i/o timeout)|(deadline exceeded)"
)


def judge(host: str, answer: str, *, runtime: str) -> tuple[HostState, Problem | None]:
    """State of a host that the runtime is set up to trust.

    Args:
        host: that was asked.
        answer: the runtime's error; empty: it found what it was asked for.
        runtime: its name, for the words.
    """
    if not answer or _proves_transport(host, answer):
        return HostState.TRUSTED, None
    for pattern, reason in _BLOCKS:
        if re.search(pattern, answer):
            return HostState.BLOCKED, _blocked(reason, host, runtime)
    if found := _UNREACHABLE.search(answer):
        detail = next(text for text in found.groups() if text)
        return HostState.CONFIGURED, Problem(Reason.UNREACHABLE, {"host": host, "detail": detail})
    return HostState.CONFIGURED, Problem(
        Reason.UNVERIFIED, {"runtime": runtime, "host": host, "detail": "unknown answer"}
    )


def takes_name(answer: str) -> bool:
    """False if the runtime can't even parse image names with this host (IPv6 in dockerd 20.10)."""
    return _BAD_NAME not in answer


def _proves_transport(host: str, answer: str) -> bool:
    asked = {"host": host, "path": NOWHERE, "tag": NO_TAG, "image": f"{host}/{NOWHERE}:{NO_TAG}"}
    names = {name: re.escape(text) for name, text in asked.items()}
    return any(re.fullmatch(_fill(pattern, names), answer, re.DOTALL) for pattern in _PROVES_TRANSPORT)


def _fill(pattern: str, names: dict[str, str]) -> str:
    for name, text in names.items():
        pattern = pattern.replace(f"{{{name}}}", text)
    return pattern


def _blocked(reason: Reason, host: str, runtime: str) -> Problem:
    facts = {
        Reason.PROXY: {"runtime": runtime, "host": host, "entry": host},
        Reason.NAME_UNRESOLVED: {"host": host},
        Reason.NOT_EFFECTIVE: {"runtime": runtime, "path": f"the entry of {host}"},
        Reason.CERTIFICATE: {"runtime": runtime, "host": host},
        Reason.UNSUPPORTED: {"detail": f"{runtime} takes no image name that starts with {host}; use a name or IPv4"},
    }
    return Problem(reason, facts[reason])
