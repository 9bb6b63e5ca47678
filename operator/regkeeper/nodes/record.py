"""What is ours on this node: a small file of the agent's own, written ahead of every change.

The record says before each change of a file what the file holds before and after. So an agent that was killed anywhere
finds at its next start whether the change happened, and either completes or forgets it.
"""

import msgspec

from regkeeper.nodes.files import NodeFiles
from regkeeper.nodes.reasons import NodeProblemError, Reason

VERSION = 1
DIRECTORY = "/var/lib/regkeeper"
PATH = f"{DIRECTORY}/node.json"


class Intent(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A change of the runtime's file that was begun."""

    before: str
    """SHA-256 of the file before; empty: it was absent."""
    undo: "DockerRecord | None"
    """What is ours if it did not happen."""


class DockerRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Our entries in daemon.json."""

    path: str
    entries: tuple[str, ...] = ()
    """Hosts in the file that we wrote there."""
    revoking: tuple[str, ...] = ()
    """Hosts that we took out but that dockerd was not yet seen to have forgotten."""
    original: str | None = None
    """SHA-256 of the file without us (empty: absent), which the backup holds; None once somebody else edited it."""
    written: str = ""
    """SHA-256 of the file as we left it."""
    key_was_there: bool = False
    """Whether `insecure-registries` stood in the file before us, so that it stays when our entries go."""
    intent: Intent | None = None


class OwnedFile(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A file that is ours as a whole."""

    directories: tuple[str, ...] = ()
    """Directories that we made for it, outermost first."""
    reload_pending: bool = False
    """The runtime was not told of its last change yet."""


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Everything that we have on this node."""

    version: int = VERSION
    cluster: str = ""
    """Whose list was carried out last; empty before the first."""
    generation: int = 0
    docker: DockerRecord | None = None
    files: dict[str, OwnedFile] = {}
    """Path → hosts.toml of containerd, drop-in of CRI-O."""

    @property
    def is_empty(self) -> bool:
        """Nothing of ours is on the node."""
        return self.docker is None and not self.files


def load(files: NodeFiles) -> NodeRecord:
    """Read the record; an empty one if there is none.

    Raises:
        NodeProblemError: `RECORD_NEWER` or `RECORD_BROKEN`: then nothing on the node may be changed.
    """
    files.remove_temporaries(DIRECTORY)
    content = files.read(PATH)
    if content is None:
        return NodeRecord()
    try:
        if msgspec.json.decode(content.data, type=_Version).version > VERSION:
            raise NodeProblemError(Reason.RECORD_NEWER, path=PATH)
        return msgspec.json.decode(content.data, type=NodeRecord)
    except msgspec.DecodeError as error:
        raise NodeProblemError(Reason.RECORD_BROKEN, path=PATH, detail=str(error)) from error


class Ledger:
    """The record with its file: whoever changes one changes the other, file first."""

    def __init__(self, files: NodeFiles) -> None:
        """Read the record.

        Raises:
            NodeProblemError: as `load`.
        """
        self._files = files
        self._is_on_disk = True
        self.record = load(files)

    def write(self, **changes: object) -> None:
        """Replace fields of the record, on the disk too if that makes a difference.

        Where nothing of ours is left, the file and its directory go: a node without us has no trace of us. The
        generation then lives on in the agent alone. A new agent that kubelet shows an older list (its cache may lag)
        carries that out; its report has the older generation, which the operator refuses as stale, so the node does
        not count as reverted before the newer list has come, too, and has taken everything back.
        """
        record = msgspec.structs.replace(self.record, **changes)
        known, self._is_on_disk = self._is_on_disk, False
        if record.is_empty:
            # Looked for each time: an agent that was killed half-way may have left the directory.
            self._files.remove(PATH)
            self._files.remove_directory(DIRECTORY)
        elif record != self.record or not known:
            self._files.make_directory(DIRECTORY)
            self._files.write(PATH, msgspec.json.format(msgspec.json.encode(record)) + b"\n", mode=0o600)
        self.record, self._is_on_disk = record, True


class _Version(msgspec.Struct):
    version: int
