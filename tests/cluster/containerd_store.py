"""What containerd keeps after importing images, made once and then linked into each node.

To import 400 MB into two nodes takes seconds and writes everything twice; hard links take neither. They are safe:
containerd never changes an imported blob, nor a file of an unpacked layer (a container writes into a layer of its own).
Its databases, which it does change, are copied.
"""

import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tests.cluster.cache import cache_directory, forget_others, key_of, published
from tests.cluster.commands import run
from tests.cluster.progress import say

_CONFIG = """\
version = 2
root = "{root}"
state = "{state}"
oom_score = 0
disabled_plugins = ["io.containerd.grpc.v1.cri"]

[grpc]
  address = "{state}/containerd.sock"
"""

_IMPORT = """\
set -e
containerd --config "$1/config.toml" --log-level error &
containerd=$!
until ctr --address "$1/containerd.sock" version >/dev/null 2>&1; do sleep 0.05; done
state=$1
shift
for archive; do
    ctr --address "$state/containerd.sock" --namespace k8s.io images import "$archive" >/dev/null
done
kill $containerd
wait $containerd
"""


def store_of(archives: Sequence[Path]) -> Path:
    """A store with the images of these docker archives, for `link`.

    Always made anew: where an image takes the place of its older self, containerd 1.6 may collect the layers that both
    share while it unpacks ("parent snapshot does not exist").
    """
    path = cache_directory() / "containerd" / f"store-{key_of(_CONFIG, _IMPORT, *(each.name for each in archives))}"
    published(path, partial(_import, archives))
    forget_others(path, "store-*")
    return path


def link(store: Path, root: Path) -> None:
    """Make a root directory of containerd from a store."""
    run("cp", "--archive", "--link", store, root)
    for database in root.glob("*/*.db"):
        copy = database.with_suffix(".copy")
        shutil.copy2(database, copy)
        copy.replace(database)


def _import(archives: Sequence[Path], root: Path) -> None:
    """Run a containerd of its own in namespaces that end with it, mounts and all."""
    say("unpacking the nodes' images")
    with tempfile.TemporaryDirectory(prefix="regkeeper-containerd-", dir="/run") as state:
        Path(state, "config.toml").write_text(_CONFIG.format(root=root, state=state))
        namespaces = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL")
        run(*namespaces, "/bin/sh", "-c", _IMPORT, "sh", state, *archives)
