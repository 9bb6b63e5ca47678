"""The operator's image: built from the project's Dockerfile by buildah, on a Python base that is made here."""

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.cache import cache_directory, content_of, forget_others, key_of, published
from tests.cluster.commands import run
from tests.cluster.images.archive import Image, Layer, Link, layer_tar, write_archive
from tests.cluster.locks import locked
from tests.cluster.progress import say

OPERATOR_IMAGE = "docker.io/library/regkeeper:dev"
PYTHON_IMAGE = "localhost/regkeeper-python:3.13"
PROJECT = Path(__file__).parents[3]
_SUITE = "trixie"
"""The Debian release whose Python is 3.13, as in the Dockerfile's own base."""
_PACKAGES = "python3,python3-venv,ca-certificates"
_LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
_PIP_SETTINGS = {"cert", "default-timeout", "extra-index-url", "index-url", "proxy", "trusted-host"}
_SOURCES = ("Dockerfile", "README.md", "operator", "pyproject.toml", "requirements.lock", "requirements-build.lock")


def python_image() -> Path:
    """The archive of a small Debian with Python, which stands in for python:3.13-slim where no hub can be asked."""
    path = cache_directory() / "images" / f"python-{key_of(_SUITE, _PACKAGES, *_LEFT_OUT)}.tar"
    return published(path, _make_python_image)


def operator_image() -> Path:
    """The archive of the operator's image, built anew if anything that goes into it has changed.

    Raises:
        CommandError: the build failed; the message has the end of its output.
    """
    base = python_image()
    with tempfile.TemporaryDirectory(prefix="regkeeper-image-") as context:
        sources = [_copied(source, Path(context)) for source in _SOURCES]  # what is hashed is what is built
        path = cache_directory() / "images" / f"operator-{key_of(base.name, content_of(sources))}.tar"
        published(path, lambda archive: _build_alone(base, Path(context), archive))
        forget_others(path, "operator-*.tar")
    return path


def _copied(source: str, directory: Path) -> Path:
    """Copy a file or directory of the project, with its times: buildah's cache of layers looks at them."""
    if (PROJECT / source).is_dir():
        return shutil.copytree(PROJECT / source, directory / source, ignore=shutil.ignore_patterns("__pycache__"))
    return Path(shutil.copy2(PROJECT / source, directory / source))


def _make_python_image(path: Path) -> None:
    say(f"making a Python base of Debian {_SUITE} (about 25 s)")
    with tempfile.TemporaryDirectory(dir=path.parent) as workplace:
        system = Path(workplace) / "system.tar"
        options = [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
        command = [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            f"--include={_PACKAGES}",
            *options,
            _SUITE,
            str(system),
        ]
        subprocess.run(command, env={**os.environ, "SOURCE_DATE_EPOCH": "0"}, check=True)
        python: Layer = {"usr/local/bin/python": Link("/usr/bin/python3")}
        image = Image(names=[PYTHON_IMAGE], layers=[system, layer_tar(python)], config={"Cmd": ["python3"]})
        write_archive(image, path)


def _build_alone(base: Path, context: Path, archive: Path) -> None:
    """Build when nobody else does: what a killed build left, containers and their mounts, is nobody's then."""
    with locked(cache_directory() / "buildah.lock"):
        _buildah("rm", "--all")
        _build(base, context, archive)


def _build(base: Path, context: Path, archive: Path) -> None:
    say("building the operator's image")
    base_name = f"localhost/{base.stem}"
    if not _buildah("images", "--quiet", "--filter", f"reference={base_name}"):
        _buildah("pull", "--quiet", f"docker-archive:{base}")
        _buildah("tag", PYTHON_IMAGE, base_name)
    with _pip_settings() as volumes:
        options = ["--isolation=chroot", "--network=host", "--layers", f"--build-arg=BASE={base_name}"]
        options += [f"--volume={volume}" for volume in volumes]
        _buildah("bud", "--pull-never", *options, f"--tag={OPERATOR_IMAGE}", str(context))
    _buildah("push", "--quiet", OPERATOR_IMAGE, f"docker-archive:{archive}:{OPERATOR_IMAGE}")


def _buildah(*arguments: str) -> str:
    """Run buildah on a storage of our own and return what it printed."""
    storage = ("--root", str(cache_directory() / "buildah"), "--runroot", "/run/regkeeper-buildah")
    return run("buildah", *storage, "--storage-driver", "overlay", *arguments)


@contextmanager
def _pip_settings() -> Iterator[list[str]]:
    """The machine's settings of pip, as volumes of the build: its index, and the authorities that it trusts.

    A network that signs TLS anew is common. Volumes leave nothing in the image.
    """
    settings = _effective_pip_settings()
    with tempfile.NamedTemporaryFile("w", prefix="regkeeper-pip-", suffix=".conf") as file:
        file.write("\n".join(["[global]", *(f"{name} = {value}" for name, value in settings.items())]) + "\n")
        file.flush()
        volumes = [f"{file.name}:/etc/pip.conf:ro"]
        if certificates := settings.get("cert"):
            volumes.append(f"{certificates}:{certificates}:ro")
        yield volumes


def _effective_pip_settings() -> dict[str, str]:
    """What pip here reads from its files and its environment, as far as it says where to install from."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    settings = {}
    for line in listed.splitlines():  # the environment comes last, and wins
        name, _, value = line.partition("=")
        key = name.rpartition(".")[2]
        if key in _PIP_SETTINGS:
            settings[key] = ast.literal_eval(value)
    return settings
