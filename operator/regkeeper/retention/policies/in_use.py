"""The images in use: a file with a line for each, and looking them up.

A line is a reference under any registry address, then the user in words:

    k8smaster:5000/boke/wordpress:4.9 Deployment shop/web
    boke/wordpress@sha256:… Pod shop/web-0
    sha256:… Pod shop/web-1
    # 3

The last line is `#` and the number of lines before it, so that a truncated file is refused. A reference without tag
and digest means `latest`; a bare digest may be that of a manifest or of a config, in any repository.
"""

import re
from collections.abc import Iterable, Iterator

from msgspec import Struct, field

from regkeeper.retention.volume import digests
from regkeeper.retention.volume.digests import Digest

_COUNT = re.compile(r"# ([0-9]{1,9})")
_HEXADECIMAL = re.compile(r"[0-9a-f]{64}")
"""An image id as CRI-O gives it."""
_DIGEST = re.compile(r"sha[0-9]+:[0-9A-Fa-f]{32,}$")
_WRITTEN = re.compile(r"[A-Za-z0-9._:/@+\[\]-]+")
"""What references are written with. In quotes, or with a comma, one would name what nothing is called."""
DOCKER_HUB = "docker.io"
"""The host of references that name none."""

_DEFAULT_PORTS = ("443", "80")
"""Of HTTPS, and of HTTP where a runtime was told that a registry speaks that."""

_SHOWN = 80
"""Characters of a line that a message repeats."""

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://")


class InvalidInUseError(ValueError):
    """The file can't be trusted to be whole. The run stops: what is not listed would count as unused."""


class InUse(Struct):
    """Users by what they use.

    Attributes:
        tags: by repository and tag.
        manifests: by repository and digest.
        anywhere: by the digest of a manifest or config, whatever the repository.
        hosts: names of this registry, or what `any_host` makes of one; references to others don't count. None: all
            count, as a mirror or another name of this registry may be meant.
    """

    hosts: frozenset[str] | None = None
    tags: dict[tuple[str, str], str] = field(default_factory=dict)
    manifests: dict[tuple[str, Digest], str] = field(default_factory=dict)
    anywhere: dict[Digest, str] = field(default_factory=dict)

    def add(self, reference: str, user: str) -> None:
        """Add an image.

        Raises:
            InvalidInUseError: the reference is none.
        """
        text = _SCHEME.sub("", reference, count=1)
        bare = digests.parse(f"sha256:{text}" if _HEXADECIMAL.fullmatch(text) else text)
        if bare is not None:
            self.anywhere.setdefault(bare, user)
            return
        if _DIGEST.match(text):
            raise InvalidInUseError(f"{reference!r} is no digest that is understood")
        name, at, digest_text = text.partition("@")
        digest = digests.parse(digest_text) if at else None
        path, colon, tag = name.rpartition(":")
        if not colon or "/" in tag:
            path, tag = name, ""
        if not path or "//" in path or name.endswith(":") or (at and digest is None):
            raise InvalidInUseError(f"{reference!r} is no reference to an image")
        host, path = _split_host(path)
        if self.hosts is not None and not is_one_of(host, self.hosts):
            return
        for repository in _repositories(path):
            if digest is not None:
                self.manifests.setdefault((repository, digest), user)
            if tag or digest is None:
                self.tags.setdefault((repository, tag or "latest"), user)


def any_host(host: str) -> str:
    """A name that stands for every host with the port of this one."""
    return f"*:{host.rpartition(':')[2]}"


def is_one_of(host: str, names: Iterable[str]) -> bool:
    """Whether one of some names is a host's: in whatever case, and with the port that stands for none or without it."""
    known = {name.lower() for name in names}
    return any(name in known or any_host(name) in known for name in _spellings(host.lower()))


def _spellings(host: str) -> Iterator[str]:
    yield host
    name, colon, port = host.rpartition(":")
    if colon and port in _DEFAULT_PORTS:
        yield name
    elif not port.isdecimal():
        yield from (f"{host}:{default}" for default in _DEFAULT_PORTS)


def _split_host(path: str) -> tuple[str, str]:
    """The host of a reference, Docker's for a short name, and the rest."""
    first, slash, rest = path.partition("/")
    # Docker's rule (splitDockerDomain of github.com/distribution/reference): no repository has an upper-case letter.
    is_host = "." in first or ":" in first or first == "localhost" or first != first.lower()
    return (first, rest) if slash and is_host else (DOCKER_HUB, path)


def _repositories(repository: str) -> Iterable[str]:
    """The repositories that a path may mean: `library/` is Docker's for a short name."""
    yield repository
    if "/" not in repository:
        yield f"library/{repository}"


def is_written(text: str) -> bool:
    """Whether a line of a list may be a reference at all."""
    return _WRITTEN.fullmatch(text) is not None


def parse_in_use(content: bytes, hosts: frozenset[str] | None = None) -> InUse:
    """The images that a file lists.

    Args:
        content: of the file.
        hosts: see `InUse`.

    Raises:
        InvalidInUseError: it is binary, truncated or has a line that is no reference.
    """
    try:
        lines = content.decode("utf-8-sig").splitlines()  # as editors on Windows write it
    except UnicodeDecodeError:
        raise InvalidInUseError("it is not text") from None
    count = _COUNT.fullmatch(lines[-1].strip()) if lines else None
    if count is None:
        raise InvalidInUseError("its last line is not `# N`, the number of lines before it: it may be truncated")
    if int(count[1]) != len(lines) - 1:
        raise InvalidInUseError(f"it says {count[1]} lines and has {len(lines) - 1}: it may be truncated")
    in_use = InUse(hosts)
    for number, line in enumerate(lines[:-1], 1):
        reference, _, user = line.strip().partition(" ")
        if not is_written(reference) or not line.isprintable():
            raise InvalidInUseError(f"line {number}: {line[:_SHOWN]!r} is no reference to an image, then its user")
        try:
            in_use.add(reference, user.strip() or "somebody")
        except InvalidInUseError as error:
            raise InvalidInUseError(f"line {number}: {error}") from None
    return in_use
