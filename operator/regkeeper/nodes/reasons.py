"""Why a host is not trusted at a runtime, as a code for programs and in words for the administrator who has to act."""

from dataclasses import dataclass, field
from enum import StrEnum


class Reason(StrEnum):
    """Codes of the report. A code never changes its meaning."""

    # the list of registries
    LIST_MISSING = "ListMissing"
    LIST_INVALID = "ListInvalid"
    LIST_VERSION = "ListVersion"
    LIST_OLDER = "ListOlder"
    NODE_NOT_LISTED = "NodeNotListed"
    # the node's files
    FILE_BROKEN = "FileBroken"
    FILE_TOO_LARGE = "FileTooLarge"
    FILE_MISSING_DIRECTORY = "DirectoryMissing"
    FILE_SYMLINK = "Symlink"
    FILE_NOT_REGULAR = "NotRegular"
    FILE_READ_ONLY = "ReadOnly"
    FILE_DENIED = "Denied"
    FILE_BIND_MOUNTED = "BindMounted"
    FILE_NO_SPACE = "NoSpace"
    FILE_ERROR = "FileError"
    FILE_FOREIGN = "ForeignFile"
    RECORD_NEWER = "RecordNewer"
    RECORD_BROKEN = "RecordBroken"
    CONTENDED = "Contended"
    OTHER_AGENT = "OtherAgent"
    # the runtime
    NOT_RUNNING = "NotRunning"
    NOT_PROVED = "DaemonNotProved"
    STARTING = "Starting"
    FLAG_CONFLICT = "FlagConflict"
    PENDING_EDITS = "PendingEdits"
    REJECTED = "Rejected"
    SETTING_LOST = "SettingLost"
    UNSUPPORTED = "Unsupported"
    TWO_DAEMONS = "TwoDaemons"
    CONFIG_PATH_UNSET = "ConfigPathUnset"
    MIRRORS_IN_CONFIG = "MirrorsInConfig"
    NOT_EFFECTIVE = "NotEffective"
    # the way to the registry
    UNREACHABLE = "Unreachable"
    NAME_UNRESOLVED = "NameUnresolved"
    PROXY = "Proxy"
    CERTIFICATE = "CertificateUntrusted"
    UNVERIFIED = "Unverified"


_WORDS = {
    Reason.LIST_MISSING: "the list of registries is not there; the node is left as it is",
    Reason.LIST_INVALID: "the list of registries is damaged; the node is left as it is",
    Reason.LIST_VERSION: "the list of registries has version {version}, which this agent does not know: upgrade it",
    Reason.LIST_OLDER: "the list of registries is older than the last that was carried out; the node is left as it is",
    Reason.NODE_NOT_LISTED: "the list of registries does not name this node; it is left as it is",
    Reason.FILE_BROKEN: "{path} can't be understood ({detail}); repair it",
    Reason.FILE_TOO_LARGE: "{path} is larger than 1 MiB",
    Reason.FILE_MISSING_DIRECTORY: "{path} does not exist; make it",
    Reason.FILE_SYMLINK: "{path} is a symbolic link, which is not followed; put the file itself there",
    Reason.FILE_NOT_REGULAR: "{path} is not a regular file",
    Reason.FILE_READ_ONLY: (
        "{path} is on a read-only file system; on such nodes use localhost:PORT with the port of spec.access.nodePort, "
        "which needs no trust, where kube-proxy serves that (in iptables mode it does)"
    ),
    Reason.FILE_DENIED: "{path} may not be changed (immutable, not root's, or SELinux forbids it)",
    Reason.FILE_BIND_MOUNTED: "{path} is a mount of its own, so it can't be replaced; mount its directory instead",
    Reason.FILE_NO_SPACE: "there is no space left to write {path}",
    Reason.FILE_ERROR: "{path}: {detail}",
    Reason.FILE_FOREIGN: "{path} is not ours and does not make {host} trusted: remove it, or add the host there",
    Reason.RECORD_NEWER: "{path} was written by a newer agent; the node is left as it is: upgrade this one",
    Reason.RECORD_BROKEN: "{path} can't be understood ({detail}), so what is ours is unknown; remove it",
    Reason.CONTENDED: (
        "another program undoes the change of {path}, which is made again after {seconds} s; let it keep {hosts}"
    ),
    Reason.OTHER_AGENT: "another agent still runs on this node; this one changes nothing before that has ended",
    Reason.NOT_RUNNING: "{runtime} is not running",
    Reason.NOT_PROVED: "the process behind {path} is not provably {runtime} ({detail}); it is not signalled",
    Reason.STARTING: "{runtime} has just started; it is signalled in a few seconds",
    Reason.FLAG_CONFLICT: (
        "dockerd starts with --insecure-registry ({where}), and {path} may not say it too, or its next start fails: "
        "remove the flag, or add {hosts} to it"
    ),
    Reason.PENDING_EDITS: (
        "{path} and dockerd differ in {keys}, and a reload would apply that too: reload dockerd yourself (kill -HUP; "
        "restart it where a key was taken out), or allow it in the chart's values"
    ),
    Reason.REJECTED: (
        "{runtime} did not take the change of {path}; it was taken back, and is tried again later. See {runtime}'s log"
    ),
    Reason.SETTING_LOST: "after the change of {path} {runtime} no longer had its earlier {keys}; it was taken back",
    Reason.UNSUPPORTED: "{detail}",
    Reason.TWO_DAEMONS: "this node runs several dockerds ({detail}); the one behind {path} is kept",
    Reason.CONFIG_PATH_UNSET: (
        "containerd does not read hosts.toml: set config_path = \"/etc/containerd/certs.d\" in "
        "[plugins.\"{table}\".registry] of {path} and restart containerd"
    ),
    Reason.MIRRORS_IN_CONFIG: (
        "{path} has registry.{keys}, which excludes config_path: move it to hosts.toml files, set config_path, and "
        "restart containerd"
    ),
    Reason.NOT_EFFECTIVE: "{runtime} does not follow {path}; has it been restarted since config_path was set?",
    Reason.UNREACHABLE: "nothing answers at {host} ({detail})",
    Reason.NAME_UNRESOLVED: "the node can't resolve the name of {host}; add it to DNS or /etc/hosts",
    Reason.PROXY: "{runtime}'s proxy catches {host}; add {entry} to its NO_PROXY",
    Reason.CERTIFICATE: "{host} speaks TLS with a certificate that {runtime} does not trust",
    Reason.UNVERIFIED: "{runtime} could not say whether {host} works ({detail})",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason, with the few facts that its words need: paths, keys, hosts. Never a file's content."""

    reason: Reason
    facts: dict[str, str] = field(default_factory=dict)

    def words(self) -> str:
        """A sentence for a person. Facts that are missing read as "?", so that an older agent's report can be shown."""
        return _WORDS[self.reason].format_map(_Facts(self.facts))


class _Facts(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "?"


class NodeProblemError(Exception):
    """Something about the node that stops one act; carries the `Problem` for the report."""

    def __init__(self, reason: Reason, **facts: str) -> None:
        self.problem = Problem(reason, facts)
        super().__init__(self.problem.words())


class FileChangedError(NodeProblemError):
    """Another program wrote a file between the look at it and its change, which was not made; a new look tells more."""

    def __init__(self, path: str) -> None:
        super().__init__(Reason.FILE_ERROR, path=path, detail="another program wrote it at the same moment")
