"""Reads manifests and configs out of the blobs of a volume."""

import errno
import os

from regkeeper.retention.volume import digests
from regkeeper.retention.volume.digests import Digest
from regkeeper.retention.volume.layout import ABSENT, MANIFEST_LIMIT, Volume, blob_data, permission_refused, read_file
from regkeeper.retention.volume.manifest import CorruptManifestError, Manifest, NoManifestError, parse_manifest


class ManifestReader:
    """Reads the manifests of one volume."""

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        self._known: dict[str, Digest] = {}  # by text, the digests of the repository at hand: each is parsed once

    def read_manifest(self, digest: Digest) -> Manifest:
        """The manifest's references, from its verified content.

        Raises:
            FileNotFoundError: it has no `data`.
            CorruptManifestError: it can't be read, or is not what its digest says.
            NoManifestError: it is too large, or no JSON object.
            NotPermittedError: it may not be read.
        """
        content = self.read_document(digest)
        if digests.compute(content, digests.algorithm_of(digest)) != digest:
            raise CorruptManifestError("its content has another digest")
        return parse_manifest(content, self._known)

    def read_document(self, digest: Digest) -> bytes:
        """The content of a manifest or config, not verified.

        Raises:
            FileNotFoundError, CorruptManifestError, NoManifestError, NotPermittedError: as `read_manifest`.
        """
        path = self.volume.place(blob_data(digest))
        try:
            content = read_file(self.volume.descriptor, path, MANIFEST_LIMIT)
        except PermissionError as error:
            raise permission_refused(self.volume, path, error) from None
        except OSError as error:
            if error.errno in ABSENT:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None
            if error.errno == errno.EFBIG:
                raise NoManifestError("larger than any manifest") from None
            raise CorruptManifestError(error.strerror or str(error)) from None
        return content
