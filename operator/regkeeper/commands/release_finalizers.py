"""`regkeeper release-finalizers`: the chart's post-delete hook."""

import asyncio

import typer

from regkeeper.kube import ApiError, ConfigException, connect
from regkeeper.settings import Settings
from regkeeper.uninstall import release_finalizers

app = typer.Typer(add_completion=False)


@app.command()
def release() -> None:
    """Take regkeeper's finalizers off all Registries and runs, so that they can be deleted though the operator is gone.

    Registries, their pods and their images stay. `helm uninstall` runs this; run it by hand after an uninstall without
    hooks, or of deploy/install.yaml, with KUBECONFIG set. REGKEEPER_WATCH_NAMESPACES (a JSON list) limits it.
    """
    try:
        asyncio.run(_release())
    except (ApiError, ConfigException) as error:
        typer.echo(f"regkeeper release-finalizers: {error}", err=True)
        raise typer.Exit(1) from error


async def _release() -> None:
    async with connect() as cluster:
        async for name in release_finalizers(cluster, Settings().watch_namespaces):
            typer.echo(f"released {name}")
