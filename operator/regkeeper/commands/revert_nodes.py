"""`regkeeper revert-nodes`: the chart's pre-delete hook, where the value trust.revertOnUninstall asks for it."""

import asyncio

import typer

from regkeeper.kube import ApiError, ConfigException, connect
from regkeeper.settings import Settings
from regkeeper.uninstall import revert_nodes

app = typer.Typer(add_completion=False)


@app.command()
def revert() -> None:
    """Have the operator, which must still run, make every node forget what it was made to trust; wait for that.

    Registries stay, and serve, but nodes no longer pull from them over plain HTTP. A node that is down holds this up.
    REGKEEPER_TRUST (JSON) names the agents' namespace.
    """
    try:
        asyncio.run(_revert())
    except (ApiError, ConfigException) as error:
        typer.echo(f"regkeeper revert-nodes: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo("no node has anything of regkeeper's left")


async def _revert() -> None:
    async with connect() as cluster:
        await revert_nodes(cluster, Settings().trust.agents_namespace)
