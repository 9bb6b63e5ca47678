"""The command `regkeeper`: finds the file of the command that was asked for and imports nothing else."""

import gc
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import typer
from typer.core import TyperGroup
from typer.main import get_command

if TYPE_CHECKING:  # typer has a copy of its own, and importing a second click takes as long as typer
    from types import ModuleType

    import click

_VOLUME = "A registry and its volume, with or without a cluster"
_CLUSTER = "ImageRetentions of the cluster of KUBECONFIG"
_INSTALLATION = "Nodes and the installation"
_PODS = "What pods run, and nobody else needs"

COMMANDS = {
    "list": _VOLUME,
    "du": _VOLUME,
    "check": _VOLUME,
    "retain": _VOLUME,
    "delete": _VOLUME,
    "runs": _VOLUME,
    "restore": _VOLUME,
    "purge": _VOLUME,
    "plan": _CLUSTER,
    "approve": _CLUSTER,
    "undo": _CLUSTER,
    "nodes": _INSTALLATION,
    "revert-nodes": _INSTALLATION,
    "release-finalizers": _INSTALLATION,
    "version": _INSTALLATION,
    "operator": _PODS,
    "job": _PODS,
    "check-volume": _PODS,
}
"""Each command with the heading under which help lists it.

It is a module of `regkeeper.commands` (dashes as underscores) with a typer app called `app`.
"""


class LazyGroup(TyperGroup):
    """A group that imports a command's module when it is asked for.

    `regkeeper list` thus starts without kopf and the Kubernetes client, which cost 0.6 s and 40 MiB.
    """

    def list_commands(self, ctx: "click.Context") -> list[str]:  # type: ignore[override]  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: "click.Context", cmd_name: str) -> "click.Command | None":  # type: ignore[override]  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = _imported(f"regkeeper.commands.{cmd_name.replace('-', '_')}")
        command = get_command(module.app)
        command.name = cmd_name  # that of its function may be another, and that of a group is empty: help lists it
        command.rich_help_panel = COMMANDS[cmd_name]  # type: ignore[attr-defined]
        # As in a docstring, lines would end where the source's do, on a terminal that is narrower or wider.
        command.help = "\n\n".join(" ".join(each.split()) for each in (command.help or "").split("\n\n"))
        return command  # type: ignore[return-value]


def _imported(name: str) -> "ModuleType":
    """A module, imported without Python's search for cycles, which never looks through what was imported then.

    There is nothing to find, and looking for it takes a quarter of the time of a short command.
    """
    if name in sys.modules:
        return sys.modules[name]
    gc.disable()
    try:
        return import_module(name)
    finally:
        gc.freeze()
        gc.enable()


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def regkeeper() -> None:
    """Keep a cluster's own container registries."""
