"""`regkeeper check-volume`: the init container of every registry pod."""

from typing import Annotated

import typer

from regkeeper.volume_check import VolumeError
from regkeeper.volume_check import check_volume as check

app = typer.Typer(add_completion=False)


@app.command()
def check_volume(
    root: Annotated[str, typer.Option(metavar="DIR", help="Directory where the registry's volume is mounted.")],
    volume_path: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Path of that directory on the machine that has it, for the message."),
    ] = None,
) -> None:
    """Try whether a registry that runs as this user can use a volume: write, rename and remove; nothing is left behind.

    Exit status 1, with the path, its owner and the remedy, if it can't.
    """
    try:
        check(root, volume_path=volume_path)
    except VolumeError as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from None
