"""`regkeeper nodes`: what the agent sees on this node and would do there."""

from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def nodes(
    hosts: Annotated[
        list[str] | None, typer.Argument(metavar="[HOST]…", help="Hosts to trust, as in k8smaster:5000.")
    ] = None,
    list_path: Annotated[
        str | None, typer.Option("--list", metavar="FILE", help="An agent's list of registries, instead of hosts.")
    ] = None,
    node: Annotated[
        str, typer.Option(metavar="NAME", envvar="REGKEEPER_NODE", help="Name of the Node in that list.")
    ] = "this",
    root: Annotated[str, typer.Option(metavar="DIR", help="Where the node's / is mounted.")] = "/",
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show each change as a diff.")] = False,
) -> None:
    """Print what the runtimes of this node make of registries, and what the agent would change. Changes nothing."""
    from regkeeper.nodes.agent import read_list
    from regkeeper.nodes.hosts import InvalidHostError, check_host
    from regkeeper.nodes.preview import list_of, preview

    if list_path and hosts:
        raise typer.BadParameter("give either hosts or --list")
    try:
        document = read_list(list_path) if list_path else list_of([check_host(host) for host in hosts or ()], node)
    except InvalidHostError as error:
        raise typer.BadParameter(str(error)) from error
    for line in preview(document, node=node, root=root, diffs=dry_run):
        typer.echo(line)
