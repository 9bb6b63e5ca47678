"""What the machine must have: root, Linux, and a few programs of Debian's packages."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.progress import say

_SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CONTROL_PLANE = {"ip": "iproute2", "iptables": "iptables", "openssl": "openssl"}
"""Program and its Debian package."""
NODES = {
    **CONTROL_PLANE,
    "buildah": "buildah",
    "busybox": "busybox-static",
    "chattr": "e2fsprogs",
    "conntrack": "conntrack",
    "containerd": "containerd",
    "curl": "curl",
    "docker": "docker.io",
    "docker-registry": "docker-registry",
    "dockerd": "docker.io",
    "mmdebstrap": "mmdebstrap",
    "nsenter": "util-linux",
    "pivot_root": "util-linux",
    "runc": "runc",
    "skopeo": "skopeo",
    "tini": "tini",
    "/usr/lib/cni/portmap": "containernetworking-plugins",
}
TESTS = {**NODES, "git": "git", "mkfs.btrfs": "btrfs-progs", "strace": "strace"}
_POLICY = Path("/usr/sbin/policy-rc.d")


class RequirementsError(Exception):
    """The machine lacks something; the message says what, and how to get it."""


def require(programs: dict[str, str]) -> None:
    """Check that this is Linux, that we are root, and that the programs are installed.

    Raises:
        RequirementsError: something is missing.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise RequirementsError("the cluster needs Linux and root: it makes namespaces, a bridge and cgroups")
    if packages := missing_packages(programs):
        raise RequirementsError(
            f"missing Debian packages: apt-get install --no-install-recommends {' '.join(packages)}\n"
            "(or `python -m tests.cluster requirements --install`, which starts none of their services)"
        )


def missing_packages(programs: dict[str, str]) -> list[str]:
    """The Debian packages of the programs that are not installed."""
    missing = {package for program, package in programs.items() if not shutil.which(program, path=_SEARCH)}
    return sorted(missing)


def install(packages: list[str]) -> None:
    """Install Debian packages without starting their services.

    Raises:
        subprocess.CalledProcessError: apt-get failed.
    """
    say(f"installing {' '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with _no_service_starts():
        subprocess.run(["apt-get", "update", "--quiet=2"], env=environment, check=True)
        command = ["apt-get", "install", "--yes", "--quiet=2", "--no-install-recommends", *packages]
        subprocess.run(command, env=environment, check=True)


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Debian's own switch: a policy that answers 101 forbids a package to start its service."""
    if _POLICY.exists():  # the administrator's; a container image's says 101 as well
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()
