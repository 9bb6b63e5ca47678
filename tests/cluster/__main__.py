"""The command `python -m tests.cluster`."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from tests.cluster import records
from tests.cluster import requirements as needed
from tests.cluster.cluster import Cluster
from tests.cluster.commands import CommandError
from tests.cluster.records import Extent
from tests.cluster.requirements import RequirementsError
from tests.waiting import WaitTimeoutError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Name = Annotated[str, typer.Option(help="Name of the cluster; clusters of different names stand side by side.")]
DEFAULT_NAME = "regkeeper"
EXPECTED = (CommandError, RequirementsError, RuntimeError, ValueError, WaitTimeoutError, subprocess.CalledProcessError)


@app.callback()
def tool() -> None:
    """A real two-node Kubernetes on this machine, compiled from source and run by root."""


@app.command()
def up(
    *,
    name: Name = DEFAULT_NAME,
    control_plane_only: Annotated[bool, typer.Option("--control-plane-only", help="Start no node.")] = False,
) -> None:
    """Bring the cluster up, or what is missing of it."""
    Cluster(name).up(Extent.CONTROL_PLANE if control_plane_only else Extent.VOLUMES)


@app.command()
def down(
    *,
    name: Name = DEFAULT_NAME,
    everything: Annotated[bool, typer.Option("--all", help="Every cluster of any earlier run, dead or alive.")] = False,
) -> None:
    """Remove the cluster and all that it left."""
    for each in records.names() if everything else [name]:
        Cluster(each).down()
    for each in records.shared_names() if everything else [name]:
        records.forget_ended_users(each)


@app.command()
def status(name: Name = DEFAULT_NAME) -> None:
    """Say of every process of the cluster whether it runs; exit code 1 if any should and does not."""
    state = Cluster(name).status()
    for process, alive in state.items():
        typer.echo(f"{process:24} {'running' if alive else 'ended'}")
    if not state or not all(state.values()):
        sys.exit(1)


@app.command()
def load(archive: Annotated[Path, typer.Argument(exists=True, dir_okay=False)], name: Name = DEFAULT_NAME) -> None:
    """Bring the images of a docker archive to both nodes, for kubelet."""
    Cluster(name).load(archive)


@app.command("load-operator")
def load_operator(name: Name = DEFAULT_NAME) -> None:
    """Build the operator's image if the project changed, and bring it to both nodes as regkeeper:dev."""
    Cluster(name).load_operator()


@app.command()
def requirements(
    *,
    install: Annotated[bool, typer.Option("--install", help="Install it with apt-get; no service starts.")] = False,
) -> None:
    """Say which Debian packages are missing; exit code 1 if any is."""
    missing = needed.missing_packages(needed.NODES)
    if missing and install:
        needed.install(missing)
    elif missing:
        sys.exit(f"missing Debian packages: {' '.join(missing)}")


@app.command()
def kubeconfig(name: Name = DEFAULT_NAME) -> None:
    """Print the path of the administrator's kubeconfig."""
    typer.echo(Cluster(name).kubeconfig)


@app.command("exec")
def execute(
    node: str,
    command: Annotated[list[str], typer.Argument(help="What to run there, after --.")],
    name: Name = DEFAULT_NAME,
) -> None:
    """Run a command on a node, as root, like a person who logged in there."""
    line = Cluster(name).node(node).command(command)
    os.execvp(line[0], line)


def main() -> None:
    """Run the command; an expected failure is one line, not a traceback."""
    try:
        app()
    except EXPECTED as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
