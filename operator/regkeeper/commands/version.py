"""`regkeeper version`."""

import platform
from importlib.metadata import version as installed_version

import typer

app = typer.Typer(add_completion=False)


@app.command()
def version() -> None:
    """Print the version of regkeeper and of the Python that runs it."""
    typer.echo(f"regkeeper {installed_version('regkeeper')} (Python {platform.python_version()})")
