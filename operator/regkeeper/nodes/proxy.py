"""Whether a runtime's proxy catches a host, by the rules of Go's httpproxy, which dockerd follows."""

import ipaddress

from regkeeper.nodes.hosts import address_of, name_of


def catches(host: str, no_proxy: str) -> bool:
    """True if a request for `host` goes through a proxy that is set.

    Args:
        host: as `check_host` passes it.
        no_proxy: the comma-separated exceptions: `*`, names (with or without a leading dot or `*.`), addresses,
            networks, each with an optional port.
    """
    address = address_of(host)
    if name_of(host) == "localhost" or (address is not None and address.is_loopback):
        return False
    return not any(_excepts(item.strip().lower(), host) for item in no_proxy.split(","))


def _excepts(item: str, host: str) -> bool:
    """Whether one exception covers the host."""
    if item == "*":
        return True
    try:
        network = ipaddress.ip_network(item, strict=False)
    except ValueError:
        pass  # a name, or something with a port
    else:
        address = address_of(host)
        return address is not None and address in network
    pattern, colon, port = item.rpartition(":")
    if not colon:
        pattern = item
    elif port != host.rpartition(":")[2]:
        return False
    if pattern.startswith("*."):
        pattern = pattern[1:]
    bare, name = pattern.strip("[]").lstrip("."), name_of(host)
    return bool(bare) and ((name == bare and not pattern.startswith(".")) or name.endswith("." + bare))
