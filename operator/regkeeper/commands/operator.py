"""`regkeeper operator`: keep the Registries of a cluster."""

import asyncio

import typer

from regkeeper import logs
from regkeeper.settings import Settings

app = typer.Typer(add_completion=False)


@app.command()
def operator() -> None:
    """Keep the Registries of a cluster. Settings come from the environment (REGKEEPER_*); the chart sets them.

    The cluster is the one of KUBECONFIG, else the one in whose pod it runs.
    """
    from regkeeper.handlers.operator import run

    settings = Settings()
    logs.configure(settings.log_format, settings.log_level)
    asyncio.run(run(settings))
