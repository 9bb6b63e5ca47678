"""Inside a node: makes the machine that a person would find there, and starts its services. Standard library only.

Run by `tests.cluster.node`, never imported by it:

    node_init.py boot SPEC       as a child of the node's process 1, in namespaces of its own; then waits for ever
    node_init.py start SERVICE   starts a service in the booted node
    node_init.py stop SERVICE    ends it

SPEC is the JSON file that `tests.cluster.node` writes. The root file system is a directory of the node's own, into
which the machine's programs are bound read-only; so whatever a node writes, at whatever path, stays in the node.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

STATE = Path("/run/regkeeper-node")
_SPEC = STATE / "spec.json"
_STOP_TIMEOUT = 20  # seconds


def boot(spec_path: str) -> None:
    """Build the root file system, change into it, and stay."""
    spec = json.loads(Path(spec_path).read_text())
    root = Path(spec["root"])
    mount("--make-rprivate", "/")
    mount("--bind", str(root), str(root))
    for source in spec["binds"]:
        bind_read_only(Path(source), root)
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        copy_top_level(Path("/", name), root)
    for name in ("proc", "sys", "dev", "run", "etc", "tmp", "root", "old"):
        (root / name).mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    lower, upper, work = spec["etc"]
    mount("-t", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", "overlay", str(root / "etc"))
    mount("-t", "proc", "proc", str(root / "proc"))
    mount("-t", "sysfs", "sysfs", str(root / "sys"))  # a new one shows the devices of this network namespace
    mount("--rbind", "/sys/fs/cgroup", str(root / "sys/fs/cgroup"))
    mount("--rbind", "/dev", str(root / "dev"))
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(root / "run"))
    (root / STATE.relative_to("/")).mkdir()
    shutil.copy(__file__, root / STATE.relative_to("/"))
    os.chdir(root)
    subprocess.run(["pivot_root", ".", "old"], check=True)
    os.chroot(".")
    os.chdir("/")
    subprocess.run(["umount", "--lazy", "/old"], check=True)
    Path("/old").rmdir()
    mount("--make-rshared", "/")
    make_directories()
    subprocess.run(["hostname", spec["hostname"]], check=True)
    # Before dockerd starts, or it sets the policy of FORWARD to DROP.
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    Path("/proc/sys/net/bridge/bridge-nf-call-iptables").write_text("1")
    # For two minutes the kernel would send whoever comes from the same port as an earlier try, which met a pod that had
    # just gone, to that pod again: "No route to host". One machine makes hundreds of connections to one port here.
    Path("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_syn_sent").write_text("5")
    for command in spec["commands"]:
        subprocess.run(command, check=True)
    _SPEC.write_text(json.dumps(spec))
    (STATE / "booted").touch()
    os.execvp("sleep", ["sleep", "infinity"])


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def bind_read_only(source: Path, root: Path) -> None:
    target = root / source.relative_to("/")
    target.mkdir(parents=True, exist_ok=True)
    mount("--bind", str(source), str(target))
    mount("-o", "remount,bind,ro", str(target))


def copy_top_level(source: Path, root: Path) -> None:
    """/bin and its like are links into /usr, or directories of their own on an older machine."""
    target = root / source.name
    if source.is_symlink() and not target.is_symlink():
        target.symlink_to(source.readlink())
    elif source.is_dir() and not source.is_symlink():
        bind_read_only(source, root)


def make_directories() -> None:
    for name in ("/var/lib", "/var/log/pods", "/var/tmp", "/var/cache", "/run/lock", "/opt", "/srv", "/mnt", "/home"):
        Path(name).mkdir(parents=True, exist_ok=True)
    Path("/var/tmp").chmod(0o1777)
    with suppress(FileExistsError):
        Path("/var/run").symlink_to("/run")


def start(name: str) -> None:
    """Start a service as a child of process 1, which reaps it when it ends."""
    spec = json.loads(_SPEC.read_text())
    service = spec["services"][name]
    if os.fork():
        os.wait()
        return
    os.setsid()
    if pid := os.fork():
        (STATE / f"{name}.pid").write_text(str(pid))
        os._exit(0)
    os.setpgid(0, 0)  # a group of its own, for `stop`
    log = os.open(f"/var/log/{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    null = os.open("/dev/null", os.O_RDONLY)
    for descriptor, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, target)
    os.execvpe(service[0], service, spec["environment"])


def stop(name: str) -> None:
    """End a service with its process group, and wait until all of it is gone; what is stubborn is killed."""
    record = STATE / f"{name}.pid"
    try:
        group = int(record.read_text())
    except FileNotFoundError:
        return
    deadline = time.monotonic() + _STOP_TIMEOUT
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
        while True:  # killpg finds the group until process 1 has reaped its last member
            late = time.monotonic() > deadline
            os.killpg(group, signal.SIGKILL if late else 0)
            time.sleep(0.02)
    record.unlink()


if __name__ == "__main__":
    {"boot": boot, "start": start, "stop": stop}[sys.argv[1]](sys.argv[2])
