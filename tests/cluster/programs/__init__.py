"""The Go programs of the cluster: modules pinned by the go.mod files here, compiled on first use into the cache.

A second use compiles nothing: the result is kept under a hash of go.mod, go.sum, our own sources and the flags.
"""

import os
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.cache import cache_directory, content_of, key_of, published
from tests.cluster.progress import say
from tests.cluster.toolchain import go_command

HERE = Path(__file__).parent
KUBERNETES_VERSION = "v1.36.3"
DOCKER_VERSION = "29.0.0-moby-v2.0.0-beta.24"
REGISTRY_VERSION = "v3.1.1"


@dataclass(frozen=True, kw_only=True)
class Module:
    """One directory here with its go.mod, and what is compiled from it."""

    name: str
    programs: Mapping[str, str]
    """Name of each program and its Go package."""
    defines: Mapping[str, str] = field(default_factory=dict)
    """Go string variables that the linker sets."""
    tags: tuple[str, ...] = ()

    @property
    def flags(self) -> tuple[str, ...]:
        linker = " ".join(["-s -w", *(f"-X {name}={value}" for name, value in self.defines.items())])
        tags = ["-tags", ",".join(self.tags)] if self.tags else []
        return ("-trimpath", "-buildvcs=false", *tags, "-ldflags", linker)

    def directory(self) -> Path:
        """The directory of the compiled programs, compiled first if need be.

        Raises:
            subprocess.CalledProcessError: the compiler failed; its output is on standard error.
        """
        key = key_of(content_of([HERE / self.name]), *self.flags)
        return published(cache_directory() / "programs" / f"{self.name}-{key}", self._compile)

    def program(self, name: str) -> Path:
        """The path of one program, compiled first if need be."""
        if name not in self.programs:
            raise KeyError(name)
        return self.directory() / name

    def _compile(self, directory: Path) -> None:
        go = go_command()
        environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"}
        began = time.monotonic()
        say(f"compiling {self.name}: {', '.join(self.programs)}")
        directory.mkdir()
        for name, package in self.programs.items():
            command = [str(go), "build", "-v", *self.flags, "-o", str(directory / name), package]
            _run_with_progress(command, HERE / self.name, environment, name)
        say(f"compiled {self.name} in {time.monotonic() - began:.0f} s")


def _run_with_progress(command: list[str], directory: Path, environment: Mapping[str, str], name: str) -> None:
    """Run the compiler; every ten seconds say how far it is. It prints a line for each package that it compiles."""
    lines: list[str] = []
    done = threading.Event()

    def report() -> None:
        while not done.wait(10):
            say(f"compiling {name}: {len(lines)} packages so far" + (f", {lines[-1]}" if lines else ""))

    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        with subprocess.Popen(command, cwd=directory, env=environment, stderr=subprocess.PIPE, text=True) as compiler:
            lines.extend(line.rstrip() for line in compiler.stderr or ())
    finally:
        done.set()
        reporter.join()
    if compiler.returncode:
        say("\n".join(lines[-40:]))
        raise subprocess.CalledProcessError(compiler.returncode, command)


def _kubernetes() -> Module:
    major, minor, _ = KUBERNETES_VERSION.removeprefix("v").split(".")
    names = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl")
    variable = "k8s.io/component-base/version.git"
    return Module(
        name="kubernetes",
        programs={name: f"k8s.io/kubernetes/cmd/{name}" for name in names},
        defines={f"{variable}Version": KUBERNETES_VERSION, f"{variable}Major": major, f"{variable}Minor": minor},
    )


KUBERNETES = _kubernetes()
ETCD = Module(name="etcd", programs={"etcd": "go.etcd.io/etcd/server/v3"})
HELM = Module(name="helm", programs={"helm": "helm.sh/helm/v4/cmd/helm"})
HELM3 = Module(name="helm3", programs={"helm": "helm.sh/helm/v3/cmd/helm"})
_SNAPSHOTTERS = ("no_aufs", "no_btrfs", "no_devmapper", "no_zfs")
CONTAINERD = Module(
    name="containerd",
    programs={"containerd": "github.com/containerd/containerd/v2/cmd/containerd"},
    tags=_SNAPSHOTTERS,
)
"""containerd 2.x, which reads hosts.toml otherwise than Debian's 1.6. Only the tests of the node agent use it."""
CONTAINERD_1_7 = Module(
    name="containerd-1.7",
    programs={"containerd": "github.com/containerd/containerd/cmd/containerd"},
    tags=_SNAPSHOTTERS,
)
"""What most of today's clusters run, between the two. Also for the agent alone."""
DOCKERD = Module(
    name="dockerd",
    programs={"dockerd": "github.com/moby/moby/v2/cmd/dockerd"},
    defines={"github.com/moby/moby/v2/dockerversion.Version": DOCKER_VERSION},
    tags=("exclude_graphdriver_btrfs",),
)
"""A dockerd of today beside Debian's 20.10. Only the tests of the node agent use it."""
CRANE = Module(name="crane", programs={"crane": "github.com/google/go-containerregistry/cmd/crane"})
KUBE_SCORE = Module(name="kube-score", programs={"kube-score": "github.com/zegl/kube-score/cmd/kube-score"})
"""The scanner of manifests: offline, and half a minute of compilation."""
LOCAL_PATH_PROVISIONER = Module(
    name="local-path-provisioner",
    programs={"local-path-provisioner": "github.com/rancher/local-path-provisioner"},
)
PAUSE = Module(name="pause", programs={"pause": "."})
REGISTRY = Module(
    name="registry",
    programs={"registry": "github.com/distribution/distribution/v3/cmd/registry"},
    defines={"github.com/distribution/distribution/v3/version.version": REGISTRY_VERSION},
)
