"""The agent's door on a node without IPv6."""

import errno
import socket
import threading
from typing import Any
from urllib.request import urlopen

import pytest

from regkeeper.nodes.report import Report
from regkeeper.nodes.server import ReportServer


class OfAKernelWithoutIPv6(socket.socket):
    """As where the kernel was started with `ipv6.disable=1` (socket(2))."""

    def __init__(self, family: int = socket.AF_INET, *arguments: Any, **options: Any) -> None:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        super().__init__(family, *arguments, **options)


def test_a_kernel_without_ipv6_is_served_by_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", OfAKernelWithoutIPv6)
    with ReportServer(
        0, key_path="", pod_uid="uid", report=lambda: Report(node="node", pod_uid="uid"), healthy=lambda: True
    ) as server:
        threading.Thread(target=server.handle_request).start()
        with urlopen(f"http://127.0.0.1:{server.server_address[1]}/healthz") as answer:
            assert answer.status == 200
