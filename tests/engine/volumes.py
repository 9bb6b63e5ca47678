"""Registry volumes, written the way a registry writes them, with every time chosen; and ways to damage them.

A `Volume` is the directory that is mounted as /var/lib/registry. Nothing here is read back from the engine:

    volume = Volume(tmp_path)
    app = volume.repository("team/app")
    old = app.push_image("v1", layers=[b"base", b"one"], age=30 * DAY)
    new = app.push_image("v2", "latest", layers=[b"base", b"two"], age=2 * DAY)
    app.push_image(subject=new, layers=[b"signature"], age=2 * DAY)     # an untagged referrer
    volume.empty(app.tag_link("v1"))                                   # damage

`age` is in seconds before the volume's `now`; a negative one lies in the future. What a client does not touch when it
pushes (a blob that is there) keeps its time here too.
"""

import json
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.engine import documents
from tests.engine.documents import Descriptor, Manifest, digest_of

SECOND = 10**9  # in nanoseconds
HOUR, DAY = 3600, 24 * 3600  # in seconds

NOW = 1_780_000_000 * SECOND
"""2026-05-28T20:26:40Z, the `now` of a volume for which none is given."""

OLD = 40 * DAY
"""The age of whatever is pushed without one: older than every default of the policy."""


class Volume:
    """A registry's volume below `root`.

    Attributes:
        root: what is mounted as /var/lib/registry.
        v2: `root/docker/registry/v2`.
        now: nanoseconds since the epoch; every `age` counts from it.
    """

    def __init__(self, root: Path, *, now: int = NOW) -> None:
        self.root = root
        self.now = now
        self.v2 = root / "docker" / "registry" / "v2"
        self.blobs = self.v2 / "blobs"
        self.repositories = self.v2 / "repositories"
        self.blobs.mkdir(parents=True, exist_ok=True)
        self.repositories.mkdir(parents=True, exist_ok=True)

    def repository(self, name: str) -> "Repository":
        return Repository(self, name)

    def moment(self, age: float) -> int:
        """Nanoseconds since the epoch, `age` seconds before `now`."""
        return self.now - round(age * SECOND)

    def blob_data(self, digest: str) -> Path:
        algorithm, _, hexadecimal = digest.partition(":")
        return self.blobs / algorithm / hexadecimal[:2] / hexadecimal / "data"

    def put_blob(self, content: bytes, *, age: float = OLD, algorithm: str = "sha256") -> str:
        """A blob that no repository names yet; an existing one is left as it is, as `moveBlob` does.

        Returns:
            Its digest.
        """
        digest = digest_of(content, algorithm)
        if not self.blob_data(digest).exists():
            self.write(self.blob_data(digest), content, age=age)
        return digest

    def half_write_blob(self, content: bytes, *, age: float = OLD) -> Path:
        """What distribution 3.1 leaves where it is killed while it writes a manifest; answers the file."""
        path = self.blob_data(digest_of(content)).with_name(f"data.{uuid.uuid5(uuid.NAMESPACE_OID, str(age))}.tmp")
        self.write(path, content[:-1], age=age)
        return path

    def write(self, path: Path, content: bytes, *, age: float) -> None:
        """A file with its parents; its access time is the `now`, so that nothing can take it for the other."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, ns=(self.now, self.moment(age)))

    # Damage. Each keeps the file's times, as a failing disk or an interrupted writer may.

    def empty(self, path: Path) -> None:
        """What an outside reader sees while distribution < 3.1 writes, and what a full disk leaves."""
        self.replace(path, b"")

    def truncate(self, path: Path) -> None:
        self.replace(path, path.read_bytes()[:-1])

    def flip(self, path: Path) -> None:
        """One bit of the last byte but one: still text, often still JSON, no longer the digest's content."""
        content = bytearray(path.read_bytes())
        content[-2] ^= 1
        self.replace(path, bytes(content))

    def replace(self, path: Path, content: bytes) -> None:
        before = path.stat()
        path.write_bytes(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def remove(self, path: Path) -> None:
        """The file or the tree."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


class Repository:
    """One repository of a volume. What is pushed twice renews its links, as in a registry."""

    def __init__(self, volume: Volume, name: str) -> None:
        self.volume = volume
        self.name = name
        self.directory = volume.repositories / name
        self.tags = self.directory / "_manifests" / "tags"
        self.revisions = self.directory / "_manifests" / "revisions"
        self.layers = self.directory / "_layers"
        self.uploads = self.directory / "_uploads"

    # Paths of links.

    def layer_link(self, digest: str) -> Path:
        return self.layers / digest.replace(":", "/") / "link"

    def revision_link(self, digest: str) -> Path:
        return self.revisions / digest.replace(":", "/") / "link"

    def tag_link(self, tag: str) -> Path:
        return self.tags / tag / "current" / "link"

    def history_link(self, tag: str, digest: str) -> Path:
        return self.tags / tag / "index" / digest.replace(":", "/") / "link"

    # What clients push.

    def push_blob(
        self,
        content: bytes,
        media_type: str = documents.OCI_LAYER,
        *,
        age: float = OLD,
        algorithm: str = "sha256",
    ) -> Descriptor:
        """A layer or config: the blob, then the layer link.

        A registry keeps every blob under its SHA-256, and links the digest of another algorithm to that.
        """
        canonical = self.volume.put_blob(content, age=age)
        self.mount(canonical, age=age)
        digest = digest_of(content, algorithm)
        if digest != canonical:
            self.volume.write(self.layer_link(digest), canonical.encode(), age=age)
        return Descriptor(media_type, digest, len(content))

    def mount(self, digest: str, *, age: float = OLD) -> None:
        """A cross-repository mount: a layer link and nothing else."""
        self.volume.write(self.layer_link(digest), digest.encode(), age=age)

    def push(
        self,
        manifest: Manifest,
        *tags: str,
        age: float = OLD,
        algorithm: str = "sha256",
        platform: str = "",
    ) -> Descriptor:
        """A manifest that refers to what is there or not: the blob, the revision link, then the tags."""
        digest = self.volume.put_blob(manifest.content, age=age, algorithm=algorithm)
        self.volume.write(self.revision_link(digest), digest.encode(), age=age)
        for tag in tags:
            self.tag(tag, digest, age=age)
        return manifest.descriptor(algorithm=algorithm, platform=platform)

    def tag(self, tag: str, digest: str, *, age: float = OLD) -> None:
        """Moves the tag: the link in its history, then the current one."""
        self.volume.write(self.history_link(tag, digest), digest.encode(), age=age)
        self.volume.write(self.tag_link(tag), digest.encode(), age=age)

    def push_image(
        self,
        *tags: str,
        layers: Iterable[bytes] = (b"layer",),
        created: str | None = "2026-01-01T00:00:00Z",
        docker: bool = False,
        subject: Descriptor | None = None,
        platform: str = "",
        algorithm: str = "sha256",
        age: float = OLD,
    ) -> Descriptor:
        """An image with its config and layers. Images differ by their layers, their `created` and their platform."""
        contents = list(layers)
        salt = digest_of(b"\n".join(contents))
        config = documents.image_config(created, architecture=platform.rpartition("/")[2] or "amd64", salt=salt)
        config_type = documents.DOCKER_CONFIG if docker else documents.OCI_CONFIG
        layer_type = documents.DOCKER_LAYER if docker else documents.OCI_LAYER
        manifest = documents.image(
            self.push_blob(config, config_type, age=age),
            [self.push_blob(content, layer_type, age=age) for content in contents],
            media_type=documents.DOCKER_MANIFEST if docker else documents.OCI_MANIFEST,
            subject=subject,
        )
        return self.push(manifest, *tags, age=age, algorithm=algorithm, platform=platform)

    def push_index(
        self,
        *tags: str,
        children: Sequence[Descriptor],
        docker: bool = False,
        subject: Descriptor | None = None,
        age: float = OLD,
    ) -> Descriptor:
        """An index of children; whether they are in this repository is the caller's affair (a sparse copy)."""
        media_type = documents.DOCKER_LIST if docker else documents.OCI_INDEX
        return self.push(documents.index(children, media_type=media_type, subject=subject), *tags, age=age)

    def push_signature(self, subject: Descriptor, suffix: str = ".sig", *, age: float = OLD) -> Descriptor:
        """What cosign pushes: an image under the tag `sha256-<hex><suffix>`."""
        payload = json.dumps({"critical": {"image": {"docker-manifest-digest": subject.digest}}, "as": suffix})
        return self.push_image(subject.digest.replace(":", "-") + suffix, layers=[payload.encode()], age=age)

    def push_fallback_tag(
        self, subject: Descriptor, referrers: Sequence[Descriptor], *, age: float = OLD
    ) -> Descriptor:
        """What a client leaves at a registry without the referrers API (OCI distribution 1.1, Referrers Tag Schema)."""
        return self.push_index(subject.digest.replace(":", "-"), children=referrers, age=age)

    def start_upload(self, identifier: str, content: bytes = b"partial", *, age: float = OLD) -> Path:
        """An upload that nobody ended."""
        directory = self.uploads / identifier
        self.volume.write(directory / "startedat", b"2026-01-01T00:00:00Z", age=age)
        self.volume.write(directory / "hashstates" / "sha256" / str(len(content)), b"state", age=age)
        self.volume.write(directory / "data", content, age=age)
        for path in (directory, *(path for path in directory.rglob("*") if path.is_dir())):
            os.utime(path, ns=(self.volume.now, self.volume.moment(age)))
        return directory

    # What the API's DELETE does.

    def delete_revision(self, digest: str) -> None:
        """The link goes, its directory and the blob stay."""
        self.revision_link(digest).unlink()

    def delete_tag(self, tag: str) -> None:
        self.volume.remove(self.tags / tag)


@dataclass(frozen=True)
class Entry:
    """One file, directory or link, as far as a reader could tell the difference."""

    mode: int
    owner: tuple[int, int]
    modified: int
    content: bytes


def snapshot(root: Path, *, ignore: Callable[[str], bool] = lambda _: False) -> dict[str, Entry]:
    """Everything below `root` by relative path; equal snapshots mean that nothing has changed.

    A file's `modified` is its mtime in ns, and so is a directory's: a rename within it shows.
    """
    entries: dict[str, Entry] = {}
    # Names are joined as text: crash tests take thousands of snapshots, and paths as objects cost three times as much.
    below = [""] if root.is_dir() else []
    while below:
        prefix = below.pop()
        with os.scandir(f"{root}/{prefix}") as found:
            for each in found:
                relative = prefix + each.name
                if not ignore(relative):
                    entries[relative] = _entry(each)
                    if each.is_dir(follow_symlinks=False):
                        below.append(f"{relative}/")
    return entries


def files(root: Path, *, ignore: Callable[[str], bool] = lambda _: False) -> dict[str, Entry]:
    """The snapshot without directories, whose times a rename there and back changes."""
    return {path: entry for path, entry in snapshot(root, ignore=ignore).items() if not stat.S_ISDIR(entry.mode)}


def _entry(found: "os.DirEntry[str]") -> Entry:
    status = found.stat(follow_symlinks=False)
    content = b""
    if stat.S_ISREG(status.st_mode):
        with open(found.path, "rb", buffering=0) as file:
            content = file.read()
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(found.path).encode()
    return Entry(status.st_mode, (status.st_uid, status.st_gid), status.st_mtime_ns, content)
