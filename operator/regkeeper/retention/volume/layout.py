"""The registry's volume on disk (distribution 2.x and 3.x, registry/storage/paths.go), and reading it.

    <root>/docker/registry/v2/
        blobs/<alg>/<hh>/<hex>/data                                   <hh>: the first two digits of <hex>
        repositories/<name>/                                          <name> nests: team, team/app
            _layers/<alg>/<hex>/link                                  layers and configs
            _manifests/revisions/<alg>/<hex>/link                     manifests
            _manifests/tags/<tag>/current/link                        what the tag points to; its mtime: the push time
            _manifests/tags/<tag>/index/<alg>/<hex>/link              what it pointed to, with the time of each push
            _uploads/<uuid>/{data,startedat,hashstates/…}
        .regkeeper/                                                   ours: quarantine, journals, cache

A link is a file that holds `alg:hex`, without a newline. A directory without its `link` is what the API's DELETE
leaves. Names that begin with an underscore are never repositories.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from msgspec import Struct

from regkeeper.retention.errors import NotPermittedError, RefusedError
from regkeeper.retention.volume import digests
from regkeeper.retention.volume.beneath import open_directory, open_file
from regkeeper.retention.volume.digests import ALGORITHMS, BY_CODE, LONGEST_LINK, Algorithm, Digest

BLOBS, REPOSITORIES = "blobs", "repositories"
LAYERS, MANIFESTS, UPLOADS = "_layers", "_manifests", "_uploads"
REVISIONS, TAGS = "_manifests/revisions", "_manifests/tags"
V2 = "docker/registry/v2"

ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})
"""Error numbers of what is not there: a file in a directory's place is no registry's."""

NOT_THERE = -1
"""In the place of the descriptor of a directory that is absent."""

MANIFEST_LIMIT = 8 << 20
"""Bytes. Distribution refuses manifests above 4 MiB."""

_READ = 16 << 10  # larger buffers cost more than they save: Python allocates them anew for each read


class Volume:
    """An open volume. Paths are relative to `docker/registry/v2`, and no symbolic link is followed.

    Attributes:
        descriptor: of the directory `docker/registry/v2`.
        path: of that directory, for messages.
    """

    def __init__(self, descriptor: int, path: str) -> None:
        self.descriptor = descriptor
        self.path = path

    def __enter__(self) -> "Volume":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.descriptor)

    @property
    def returning(self) -> frozenset[str]:
        """Paths in the quarantine of what this volume shows in its old place; see rolled_back.py."""
        return frozenset()

    def moved_names(self, path: str) -> frozenset[str]:  # noqa: ARG002
        """Names that an open run has moved out of a directory, or on the way to something that it has moved."""
        return frozenset()

    def place(self, path: str) -> str:
        """The path at which the file or directory of a path is to be opened."""
        return path

    def status_below(self, directory: int, entry: str, file: str, parent: str) -> os.stat_result:
        """The status of the file `entry/file` below an open directory, which is at `parent`.

        It costs half of what opening the file does. `entry` must be known to be no symbolic link.

        Raises:
            OSError: as stat(2); ELOOP for a symbolic link.
        """
        if directory == NOT_THERE:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), parent)
        status = os.stat(f"{entry}/{file}", dir_fd=directory, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), f"{entry}/{file}")
        return status

    @contextmanager
    def directory(self, path: str) -> Iterator[int]:
        """A descriptor of the directory at `path`.

        Raises:
            OSError: as open(2).
            NotPermittedError: EACCES.
        """
        try:
            descriptor = open_directory(self.descriptor, path)
        except PermissionError as error:
            raise permission_refused(self, path, error) from None
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def names(self, path: str, *, symbolic_links: bool = True) -> list[str]:
        """The names in a directory, with or without those of symbolic links, in no order; none if it is absent.

        Raises:
            OSError: it can't be read, or a part of its path is a symbolic link.
        """
        try:
            with self.directory(path) as descriptor:
                if symbolic_links:
                    return os.listdir(descriptor)
                with os.scandir(descriptor) as entries:
                    return [entry.name for entry in entries if not entry.is_symlink()]
        except OSError as error:
            if error.errno in ABSENT:
                return []
            raise

    def size(self, path: str) -> int | None:
        """The bytes of a file; None if it is absent or can't be opened."""
        try:
            descriptor = open_file(self.descriptor, path)
        except OSError:
            return None
        try:
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def device(self, path: str) -> int | None:
        """The number of the device that a directory is on; None if it is absent or can't be opened."""
        try:
            with self.directory(path) as descriptor:
                return os.fstat(descriptor).st_dev
        except OSError:
            return None


def open_volume(root: str) -> Volume:
    """The volume below `root`, which is what is mounted as /var/lib/registry, or its docker/registry/v2.

    `root` may be a symbolic link, which a person named; none below it is followed, as it may lead to another volume.

    Raises:
        RefusedError: there is none.
    """
    for below in (V2, "."):
        path = root if below == "." else os.path.join(root, below)
        try:
            descriptor = _open_below(root, below)
        except PermissionError as error:
            raise _refused(path, error, path, None) from None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise RefusedError(
                    f"{path}: a symbolic link stands in this path below the root, and is not followed: say the "
                    "directory to which it leads (--root)"
                ) from None
            if error.errno not in ABSENT:
                raise RefusedError(f"{path}: {error.strerror}") from None
            continue
        if below == V2 or {BLOBS, REPOSITORIES} & set(os.listdir(descriptor)):
            return Volume(descriptor, path)
        os.close(descriptor)
    raise RefusedError(
        f"no registry volume at {root}: neither {V2} nor {BLOBS} and {REPOSITORIES} are there. "
        "The root is the directory that is mounted as /var/lib/registry"
    )


def _open_below(root: str, below: str) -> int:
    """A directory at a path below a root."""
    if below == ".":
        return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    start = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return open_directory(start, below)
    finally:
        os.close(start)


def permission_refused(volume: Volume, path: str, error: OSError) -> NotPermittedError:
    """What to say of EACCES: who owns the thing, and as whom to run."""
    return _refused(os.path.normpath(os.path.join(volume.path, path)), error, path, volume.descriptor)


def _refused(name: str, error: OSError, path: str, directory: int | None) -> NotPermittedError:
    try:
        status = os.stat(path, dir_fd=directory, follow_symlinks=False)
    except OSError:
        owner = "its owner, or root"
    else:
        owner = f"user {status.st_uid} (its owner), group {status.st_gid}, or root"
    groups = ", ".join(map(str, sorted({os.getegid(), *os.getgroups()})))
    return NotPermittedError(
        f"{name}: {error.strerror}. Run as {owner}; this process is user {os.geteuid()}, groups {groups}"
    )


def is_symbolic_link(directory: int, name: str) -> bool:
    """Whether an entry of a directory is a symbolic link; False if there is none."""
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except OSError:
        return False


def read_file(directory: int, path: str, limit: int) -> bytes:
    """The content of a file.

    Raises:
        OSError: as open(2) and read(2); EFBIG for more than `limit` bytes.
    """
    descriptor = open_file(directory, path)
    try:
        content = os.read(descriptor, _READ)
        if len(content) == _READ:
            parts = [content]
            size = len(content)
            while size <= limit and (part := os.read(descriptor, 1 << 20)):
                parts.append(part)
                size += len(part)
            content = b"".join(parts)
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    return content


def read_link(directory: int, path: str) -> tuple[bytes, os.stat_result]:
    """What a link file begins with, one byte more than the longest link, and the file's status.

    Raises:
        OSError: as open(2) and read(2).
    """
    descriptor = open_file(directory, path)
    try:
        return os.read(descriptor, LONGEST_LINK + 1), os.fstat(descriptor)
    finally:
        os.close(descriptor)


def blob_directory(digest: Digest) -> str:
    """`blobs/<alg>/<hh>/<hex>`."""
    hexadecimal = digest.hex()
    return f"blobs/{BY_CODE[digest[0]].name}/{hexadecimal[2:4]}/{hexadecimal[2:]}"


def blob_data(digest: Digest) -> str:
    return blob_directory(digest) + "/data"


def link_directory(parent: str, digest: Digest) -> str:
    """`<parent>/<alg>/<hex>`, with LAYERS or REVISIONS as the parent."""
    return f"{parent}/{digests.algorithm_of(digest).name}/{digest[1:].hex()}"


def repository_path(repository: str) -> str:
    return f"{REPOSITORIES}/{repository}"


class Found(Struct, frozen=True):
    """What a walk came across: a repository, or something in the place of one that can't be looked into."""

    name: str
    problem: str = ""


def walk_repositories(volume: Volume) -> Iterator[Found]:
    """Every directory that has `_manifests`, `_layers` or `_uploads`, in the order of names.

    Raises:
        NotPermittedError: a directory may not be read.
    """
    waiting = [""]
    while waiting:
        name = waiting.pop()
        try:
            with (
                volume.directory(f"{REPOSITORIES}/{name}".rstrip("/")) as descriptor,
                os.scandir(descriptor) as entries,
            ):
                below = [(entry.name, entry.is_symlink(), entry.is_dir(follow_symlinks=False)) for entry in entries]
        except OSError as error:
            if error.errno not in ABSENT:
                yield Found(name, error.strerror or str(error))
            continue
        if moved := volume.moved_names(f"{REPOSITORIES}/{name}".rstrip("/")):
            below += [(entry, False, True) for entry in moved - {entry for entry, _, _ in below}]
        if any(entry in (MANIFESTS, LAYERS, UPLOADS) for entry, _, _ in below) and name:
            yield Found(name)
        prefix = f"{name}/" if name else ""
        for entry, link, directory in sorted(below, reverse=True):
            if link and (not entry.startswith("_") or entry in (MANIFESTS, LAYERS)):
                yield Found(prefix + entry, "a symbolic link: what lies behind it can't be counted")
            elif directory and not entry.startswith("_"):
                waiting.append(prefix + entry)


def algorithm_directories(names: list[str]) -> list[Algorithm]:
    """The known algorithms among the names of a directory."""
    return [ALGORITHMS[name] for name in names if name in ALGORITHMS]
