"""What runtimes say of servers of every kind, as it was measured, and what it means.

Each runtime was set up to trust the server (unless the comment says otherwise) and was asked as the agent asks, on
2026-11-26, with the real dockerd 20.10.24 and 29, containerd 1.6.20, 1.7 and 2, CRI-O 1.37.0, and skopeo 1.9 for its
library.
"""

from regkeeper.nodes.reasons import Reason
from regkeeper.nodes.report import HostState

_MANIFEST = "/v2/regkeeper.invalid/none/manifests/none"
_IMAGE = "{host}/regkeeper.invalid/none:none"
_FAILED = f'failed to pull and unpack image "{_IMAGE}": '
_1 = f'{_FAILED}failed to resolve reference "{_IMAGE}": '
_2 = f"{_FAILED}failed to resolve image: "
_CRIO = f"initializing source docker://{_IMAGE}: "

_PINGING = "pinging container registry {host}: "


def _crio(text: str) -> str:
    """CRI-O's own: it tries the name as that of an artifact, too."""
    image = f"unable to pull image or OCI artifact: pull image err: {_CRIO}{text}"
    return f"{image}; artifact err: image reference: get manifest from ref: create image source: {text}"


def _crio_manifest(text: str) -> str:
    return _crio(f"reading manifest none in {{host}}/regkeeper.invalid/none: {text}")


TRUSTED, CONFIGURED, BLOCKED = HostState.TRUSTED, HostState.CONFIGURED, HostState.BLOCKED

ANSWERS: dict[str, tuple[tuple[HostState, Reason | None], tuple[str, ...]]] = {
    "a registry without such an image": (
        (TRUSTED, None),
        (
            "manifest unknown: manifest unknown",
            "name unknown",
            f"{_1}{_IMAGE}: not found",
            f"{_2}{_IMAGE}: not found",
            f"{_CRIO}reading manifest none in {{host}}/regkeeper.invalid/none: manifest unknown: manifest unknown",
            _crio_manifest("manifest unknown"),
            _crio_manifest("name unknown"),
        ),
    ),
    "401": (
        (TRUSTED, None),
        (
            f'Head "http://{{host}}{_MANIFEST}": no basic auth credentials',
            "unauthorized: authentication required",
            "unauthorized: <html>no</html>",
            f"{_1}pulling from host {{host}} failed with status code [manifests none]: 401 Unauthorized",
            f"{_1}unexpected status from HEAD request to http://{{host}}{_MANIFEST}: 401 Unauthorized",
            (
                f"{_1}pull access denied, repository does not exist or may require authorization: "
                "authorization failed: no basic auth credentials"
            ),
            f"{_2}unexpected status from HEAD request to http://{{host}}{_MANIFEST}: 401 Unauthorized\nno",
            f"{_CRIO}reading manifest none in {{host}}/regkeeper.invalid/none: unauthorized: authentication required",
            _crio_manifest("unauthorized"),
            _crio_manifest("authentication required"),
            # and so says the registry's token server
            _crio("unable to retrieve auth token: invalid username/password: authentication required"),
        ),
    ),
    "401, and its token server says 403": (
        (TRUSTED, None),
        (
            f'Head "http://{{host}}{_MANIFEST}": denied',
            f"{_1}failed to authorize: failed to fetch anonymous token: unexpected status: 403 Forbidden",
            (
                f"{_2}failed to authorize: failed to fetch anonymous token: unexpected status from GET request to "
                "http://10.99.0.11:5403/token?scope=repository%3Anone%3Apull&service=x: 403 Forbidden"
            ),
            _crio("Requesting bearer token: received unexpected HTTP status: 403 Forbidden"),
        ),
    ),
    "403 of a registry": (
        (TRUSTED, None),
        ("denied", "denied: requested access to the resource is denied", _crio_manifest("denied")),
    ),
    "several errors at once": (
        (TRUSTED, None),
        (
            "errors:\ndenied\nunauthorized: log in first\n",
            "errors:\ndenied: not you\nunauthorized\n",
            "errors:\nunauthorized\ndenied\n",
            _crio_manifest("denied: not you"),
        ),
    ),
    "403 of whatever": (
        (CONFIGURED, Reason.UNVERIFIED),
        (
            "denied: <html>403 Forbidden</html>",
            (
                "error parsing HTTP 403 response body: invalid character '<' looking for beginning of value: "
                '"<html>403 Forbidden</html>"'
            ),
            f"{_1}pulling from host {{host}} failed with status code [manifests none]: 403 Forbidden",
            f"{_2}unexpected status from HEAD request to http://{{host}}{_MANIFEST}: 403 Forbidden\ndenied",
            f"{_CRIO}{_PINGING}invalid status code from registry 403 (Forbidden)",
            _crio(f'{_PINGING}StatusCode: 403, "<html>403</html>"'),
        ),
    ),
    "404 of what is no registry": (
        (CONFIGURED, Reason.UNVERIFIED),
        (
            (
                "error parsing HTTP 404 response body: invalid character '<' looking for beginning of value: "
                '"<html>404 Not Found</html>"'
            ),
            "unknown: <html>404 Not Found</html>",
            f"{_CRIO}{_PINGING}invalid status code from registry 404 (Not Found)",
            _crio(f'{_PINGING}StatusCode: 404, "<html>"'),
        ),
    ),
    "200 of what is no registry": (
        (CONFIGURED, Reason.UNVERIFIED),
        (
            "error unmarshalling content: invalid character '<' looking for beginning of value",
            "unsupported manifest media type and no default available: text/html",
            (
                f"{_FAILED}failed to unpack image on snapshotter overlayfs: unexpected media type text/html for "
                "sha256:7e53: not found"
            ),
            "get image config descriptor: unexpected media type text/html for sha256:7e53: not found",
            (
                "unable to pull image or OCI artifact: pull image err: initializing image from source "
                f"docker://{_IMAGE}: invalid character '<' looking for beginning of value; artifact err: image "
                "reference: parse manifest: invalid character '<' looking for beginning of value"
            ),
        ),
    ),
    "429, 500 and 503": (
        (CONFIGURED, Reason.UNVERIFIED),
        (
            "toomanyrequests",
            "received unexpected HTTP status: 500 Internal Server Error",
            f"{_1}pulling from host {{host}} failed with status code [manifests none]: 503 Service Unavailable",
            f"{_2}unexpected status from HEAD request to http://{{host}}{_MANIFEST}: 429 Too Many Requests",
            _crio_manifest("received unexpected HTTP status: 500 Internal Server Error"),
        ),
    ),
    "nothing listens": (
        (CONFIGURED, Reason.UNREACHABLE),
        (
            'Get "http://{host}/v2/": dial tcp {host}: connect: connection refused',
            (
                f'{_1}failed to do request: Head "http://{{host}}{_MANIFEST}": dial tcp {{host}}: connect: connection '
                "refused"
            ),
            (
                f'{_2}failed to do request: Head "http://{{host}}{_MANIFEST}": dial tcp {{host}}: connect: connection '
                "refused"
            ),
            f'{_CRIO}{_PINGING}Get "http://{{host}}/v2/": dial tcp {{host}}: connect: connection refused',
            (
                f'RegistryUnavailable: unable to pull image: {_CRIO}{_PINGING}Get "http://{{host}}/v2/": dial tcp '
                "{host}: connect: connection refused"
            ),
            # where the registry's token server is what does not listen
            (
                f'Head "http://{{host}}{_MANIFEST}": Get "http://10.99.0.11:1/token?service=x": dial tcp 10.99.0.11:1: '
                "connect: connection refused"
            ),
        ),
    ),
    "no network leads there": (
        (CONFIGURED, Reason.UNREACHABLE),
        ('Get "http://{host}/v2/": dial tcp {host}: connect: network is unreachable',),
    ),
    "it hangs up, or never answers": (
        (CONFIGURED, Reason.UNREACHABLE),
        (
            'Get "http://{host}/v2/": read tcp 10.99.0.11:48924->{host}: read: connection reset by peer',
            'Get "http://{host}/v2/": dial tcp {host}: connect: connection reset by peer',
            'Get "http://{host}/v2/": EOF',
            "timed out",
            "context deadline exceeded",
        ),
    ),
    "it speaks no HTTP": (
        (CONFIGURED, Reason.UNVERIFIED),
        ('Get "http://{host}/v2/": malformed HTTP response "SSH-2.0-OpenSSH"',),
    ),
    "a name that nobody knows": (
        (BLOCKED, Reason.NAME_UNRESOLVED),
        (
            'Get "http://{host}/v2/": dial tcp: address {host}: no suitable address found',
            'Get "http://{host}/v2/": dial tcp: lookup {host}: no such host',
            # where the name server is down
            'Get "http://{host}/v2/": dial tcp: lookup {host} on 10.0.0.10:53: read udp 10.0.0.1:1: i/o timeout',
            'Get "http://{host}/v2/": dial tcp: lookup {host} on 10.0.0.10:53: server misbehaving',
            (
                f'{_2}failed to do request: Head "http://{{host}}{_MANIFEST}": dial tcp: lookup {{host}} on '
                "10.0.0.10:53: no such host"
            ),
            f'{_CRIO}{_PINGING}Get "http://{{host}}/v2/": dial tcp: lookup {{host}}: no such host',
        ),
    ),
    "plain HTTP, and the runtime does not trust it": (
        (BLOCKED, Reason.NOT_EFFECTIVE),
        (
            'Get "https://{host}/v2/": http: server gave HTTP response to HTTPS client',
            (
                f'{_1}failed to do request: Head "https://{{host}}{_MANIFEST}": http: server gave HTTP response '
                "to HTTPS client"
            ),
            (
                f'unable to pull image: {_CRIO}{_PINGING}Get "https://{{host}}/v2/": http: server gave HTTP response '
                "to HTTPS client"
            ),
        ),
    ),
    "TLS": (
        (BLOCKED, Reason.CERTIFICATE),
        (
            'Get "https://{host}/v2/": x509: certificate signed by unknown authority',
            'Get "https://{host}/v2/": tls: failed to verify certificate: x509: unknown authority',
            "unknown: Client sent an HTTP request to an HTTPS server.\n",
        ),
    ),
    "a proxy that catches it": (
        (BLOCKED, Reason.PROXY),
        (
            'Get "http://{host}/v2/": proxyconnect tcp: dial tcp 10.0.0.1:3128: connect: connection refused',
            'Get "http://{host}/v2/": Proxy Authentication Required',
        ),
    ),
    "a name that the runtime does not take": (
        (BLOCKED, Reason.UNSUPPORTED),
        (
            "invalid reference format",
            f'cannot parse input: "{_IMAGE}": invalid reference format',
            f'failed to parse image reference "{_IMAGE}": invalid reference format',
        ),
    ),
    "what nobody has seen yet": (
        (CONFIGURED, Reason.UNVERIFIED),
        ("something new", "not found", "repository name not known", "401", "manifest unknowns", "x denied"),
    ),
}
"""Server → what is to be made of it, and each runtime's words, `{host}` being where it is."""
