"""What may be trusted: `name:port`, `IPv4:port` or `[IPv6]:port`, and nothing else.

The operator checks a host before it lists it, and the agent again before it builds any path from it.
"""

import ipaddress
import re

MAXIMUM_LENGTH = 253 + len(":65535")

_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))*")

PUBLIC_REGISTRIES = frozenset(
    {
        "docker.io",
        "gcr.io",
        "ghcr.io",
        "lscr.io",
        "mcr.microsoft.com",
        "nvcr.io",
        "public.ecr.aws",
        "quay.io",
        "registry.gitlab.com",
        "registry.k8s.io",
    }
)
"""Public registries, with every name below them. To trust one in plain HTTP would open each pull to a forger."""


class InvalidHostError(ValueError):
    """The text is not a host that may be trusted; the message says why."""


def check_host(host: str) -> str:
    """Return `host` if it is one that may be trusted.

    Raises:
        InvalidHostError: it is a scheme, path, wildcard, network, bare name, public registry, port out of range, or an
            IPv6 address that is not written in its shortest form (runtimes compare hosts as strings).
    """
    if len(host) > MAXIMUM_LENGTH:
        raise InvalidHostError(f"a host has at most {MAXIMUM_LENGTH} characters")
    name, separator, port = host.rpartition(":")
    if not separator or not re.fullmatch(r"[1-9][0-9]{0,4}", port, re.ASCII) or int(port) > 65535:
        raise InvalidHostError(f"{host!r} does not end in a port from 1 to 65535, as in registry.example:5000")
    if name.startswith("[") and name.endswith("]"):
        _check_address(host, name[1:-1], ipaddress.IPv6Address)
    elif re.fullmatch(r"[0-9.]+", name, re.ASCII):
        _check_address(host, name, ipaddress.IPv4Address)
    elif not _NAME.fullmatch(name):
        raise InvalidHostError(f"{host!r} is neither name:port, IPv4:port nor [IPv6]:port in lower case")
    elif any(name == public or name.endswith("." + public) for public in PUBLIC_REGISTRIES):
        raise InvalidHostError(f"{host!r} is a public registry")
    return host


def _check_address(host: str, text: str, kind: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address]) -> None:
    try:
        address = kind(text)
    except ValueError as error:
        raise InvalidHostError(f"{host!r} is no IP address: {error}") from error
    if "%" in text:
        raise InvalidHostError(f"{host!r} names an interface, which differs from node to node")
    if str(address) != text:
        raise InvalidHostError(f"{host!r} has to be written as {address}")
    if address.is_unspecified or address.is_multicast:
        raise InvalidHostError(f"{host!r} is not the address of one machine")


def name_of(host: str) -> str:
    """The name or address of a host that `check_host` passed, without port and brackets."""
    return host.rpartition(":")[0].strip("[]")


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The host's address where it is written as one, else None."""
    try:
        return ipaddress.ip_address(name_of(host))
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """True for `localhost` and 127.0.0.0/8, which dockerd and containerd trust with no configuration.

    `[::1]` is not among them: moby and containerd test for `localhost`, 127.0.0.0/8 and, from moby 23 on only, ::1.
    """
    address = address_of(host)
    return name_of(host) == "localhost" or (address is not None and address.version == 4 and address.is_loopback)
