"""Whether a runtime's proxy catches a host, by the rules of Go's httpproxy, which dockerd follows."""

import ipaddress

from regkeeper.nodes.hosts import address_of, is_loopback, name_of


def catches(host: str, no_proxy: str) -> bool:
    """True if a request for `host` goes through a proxy that is set.

    Args:
        host: as `check_host` passes it.
        no_proxy: the comma-separated exceptions: `*`, names (with or without the leading dot), addresses, networks,
            each with an optional port.
    """
    name, port, address = name_of(host), host.rpartition(":")[2], address_of(host)
    if is_loopback(host) or (address is not None and address.is_loopback):
        return False
    for item in (item.strip().lower() for item in no_proxy.split(",")):
        if item == "*":
            return False
        try:
            if address is not None and address in ipaddress.ip_network(item, strict=False):
                return False
            continue
        except ValueError:
            pass  # a name, or something with a port
        pattern, colon, wanted = item.rpartition(":")
        if not colon:
            pattern, wanted = item, port
        pattern = pattern.strip("[]")
        if not pattern or wanted != port:
            continue
        if name == pattern or name.endswith("." + pattern.lstrip(".")):
            return False
    return True
