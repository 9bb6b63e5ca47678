"""How systemd would start a service next time: its ExecStart with drop-ins and environment files (systemd.service(5)).

The running process shows how it was started; the unit files show what an edit has in store for its next start.
"""

import re
import shlex
from collections.abc import Iterator

from regkeeper.nodes.files import NodeFiles
from regkeeper.nodes.reasons import NodeProblemError

_FOLDERS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
"""By precedence (systemd.unit(5))."""

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def start_arguments(files: NodeFiles, unit: str) -> tuple[str, ...]:
    """Words of the unit's last ExecStart, variables filled in; none where the node has no such unit.

    Files behind symlinks are passed over: a unit that is masked or linked from elsewhere can't be followed out of the
    tree, and the running process still shows its flags.
    """
    commands: list[str] = []
    environment: dict[str, str] = {}
    for path in _fragments(files, unit):
        for key, value in _settings(_text(files, path)):
            if key == "ExecStart":
                # An empty assignment takes back what stood before it.
                commands = [*commands, value] if value else []
            elif key == "Environment":
                environment.update(_assignments(value))
            elif key == "EnvironmentFile":
                environment.update(_assignments(_text(files, value.removeprefix("-")), comments=True))
    if not commands:
        return ()
    expanded = _VARIABLE.sub(lambda match: environment.get(match[1] or match[2], ""), commands[-1])
    return tuple(_words(expanded))


def _fragments(files: NodeFiles, unit: str) -> list[str]:
    """The unit file and its drop-ins, in the order in which systemd reads them."""
    drop_ins: dict[str, str] = {}
    unit_file: list[str] = []
    for folder in _FOLDERS:
        if not unit_file and _text(files, f"{folder}/{unit}"):
            unit_file = [f"{folder}/{unit}"]
        for name in _names(files, f"{folder}/{unit}.d"):
            if name.endswith(".conf"):
                drop_ins.setdefault(name, f"{folder}/{unit}.d/{name}")
    return unit_file + [drop_ins[name] for name in sorted(drop_ins)]


def _settings(text: str) -> Iterator[tuple[str, str]]:
    """Assignments of the section [Service]."""
    section = ""
    for line in text.replace("\\\n", " ").splitlines():
        stripped = line.strip()
        if stripped.startswith("[") and stripped.endswith("]"):
            section = stripped
        elif section == "[Service]" and "=" in stripped and not stripped.startswith(("#", ";")):
            key, _, value = stripped.partition("=")
            yield key.strip(), value.strip()


def _assignments(text: str, *, comments: bool = False) -> Iterator[tuple[str, str]]:
    for word in _words(text, comments=comments):
        name, equals, value = word.partition("=")
        if equals:
            yield name, value


def _words(text: str, *, comments: bool = False) -> list[str]:
    try:
        return shlex.split(text, comments=comments)
    except ValueError:  # an open quotation, which systemd would refuse too
        return text.split()


def _text(files: NodeFiles, path: str) -> str:
    if not path.startswith("/") or ".." in path.split("/"):
        return ""
    try:
        content = files.read(path)
    except NodeProblemError:
        return ""
    return content.data.decode(errors="replace") if content else ""


def _names(files: NodeFiles, path: str) -> list[str]:
    try:
        return files.list(path)
    except NodeProblemError:
        return []
