"""The images of other projects that the cluster and its tests run, made from their programs: no hub is asked.

The registries keep the conventions of the official images: the same paths, user, entrypoint and default configuration,
so that what works here works with those.
"""

import re
import shutil
import subprocess
from pathlib import Path

from tests.cluster.cache import cache_directory, key_of, published
from tests.cluster.images.archive import Directory, File, Image, Layer, Link, layer_tar, write_archive
from tests.cluster.node_files import PAUSE_IMAGE
from tests.cluster.programs import PAUSE, REGISTRY, REGISTRY_VERSION

SHELL_IMAGE = "docker.io/library/busybox:1"
REGISTRY_IMAGE = f"docker.io/library/registry:{REGISTRY_VERSION.removeprefix('v')}"
OLD_REGISTRY_IMAGE = "docker.io/library/registry:2.8"

SEARCH_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_ENTRYPOINT = """\
#!/bin/sh
set -e
case "$1" in
    *.yaml|*.yml) set -- registry serve "$@" ;;
    serve|garbage-collect|help|-*) set -- registry "$@" ;;
esac
exec "$@"
"""

_CONFIG = """\
version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
"""


def system_images() -> list[Path]:
    """The archives of all images that every node gets; the first holds up pods."""
    return [pause_image(), shell_image(), registry_image(), old_registry_image()]


def pause_image() -> Path:
    """The archive of the image that holds a pod's namespaces."""
    layer = {"pause": File(PAUSE.program("pause").read_bytes(), 0o755)}
    return _published("pause", Image(names=[PAUSE_IMAGE], layers=[layer_tar(layer)], config={"Entrypoint": ["/pause"]}))


def shell_image() -> Path:
    """The archive of a busybox: a shell and the usual tools."""
    image = Image(
        names=[SHELL_IMAGE, "docker.io/library/busybox:latest"],
        layers=[layer_tar(shell_layer())],
        config={"Cmd": ["sh"], "Env": [SEARCH_PATH]},
    )
    return _published("busybox", image)


def registry_image() -> Path:
    """The archive of distribution 3.x, compiled from its Go module."""
    program = {"bin/registry": File(REGISTRY.program("registry").read_bytes(), 0o755)}
    names = [REGISTRY_IMAGE, "docker.io/library/registry:3"]
    return _published("registry-3", _registry(names, program, "etc/distribution/config.yml"))


def old_registry_image() -> Path:
    """The archive of distribution 2.8, the program of Debian's package docker-registry and the libraries it needs."""
    program = _program_of_debian("docker-registry", "bin/registry")
    names = [OLD_REGISTRY_IMAGE, "docker.io/library/registry:2"]
    return _published("registry-2", _registry(names, program, "etc/docker/registry/config.yml"))


def _registry(names: list[str], program: Layer, config: str) -> Image:
    files: Layer = {
        "entrypoint.sh": File(_ENTRYPOINT.encode(), 0o755),
        config: File(_CONFIG.encode()),
        "var/lib/registry": Directory(0o755),
    }
    return Image(
        names=names,
        layers=[layer_tar(shell_layer()), layer_tar(program), layer_tar(files)],
        config={
            "Entrypoint": ["/entrypoint.sh"],
            "Cmd": [f"/{config}"],
            # 3.x would otherwise send traces to a collector on localhost, and log that it can't.
            "Env": [SEARCH_PATH, "OTEL_TRACES_EXPORTER=none"],
            "ExposedPorts": {"5000/tcp": {}},
            "Volumes": {"/var/lib/registry": {}},
        },
    )


def shell_layer() -> Layer:
    """The files of a busybox with all its names."""
    program = _installed("busybox").read_bytes()
    names = subprocess.run(["busybox", "--list"], check=True, capture_output=True, text=True).stdout.split()
    return {
        "bin/busybox": File(program, 0o755),
        **{f"bin/{name}": Link("busybox") for name in names if name != "busybox"},
        "etc/passwd": File(b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"),
        "etc/group": File(b"root:x:0:\nnogroup:x:65534:\n"),
        "tmp": Directory(0o1777),
    }


def _program_of_debian(name: str, path: str) -> Layer:
    """A program with its shared libraries, at the paths where its loader looks for them."""
    program = _installed(name)
    linked = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    libraries = [Path(library) for library in re.findall(r"(/\S+) \(", linked)]
    return {
        path: File(program.read_bytes(), 0o755),
        **{str(library).lstrip("/"): File(library.read_bytes(), 0o755) for library in libraries},
    }


def _installed(name: str) -> Path:
    found = shutil.which(name, path="/usr/bin:/bin")
    if found is None:
        raise RuntimeError(f"{name} is not installed: `python -m tests.cluster requirements` says what is missing")
    return Path(found)


def _published(name: str, image: Image) -> Path:
    key = key_of(*(layer for layer in image.layers if isinstance(layer, bytes)), repr(image.config), *image.names)
    return published(cache_directory() / "images" / f"{name}-{key}.tar", lambda path: write_archive(image, path))
