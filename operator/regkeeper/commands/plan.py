"""`regkeeper plan`: print what a run planned, with the reason for each tag."""

from typing import Annotated

import typer

from regkeeper.commands.answering import note
from regkeeper.commands.retention_options import Namespace, Retention, on_cluster
from regkeeper.plan_reading import read_plan

app = typer.Typer(add_completion=False)


@app.command()
def plan(
    retention: Retention,
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="The run, as status.lastRun.run names it; default: the last one, also if it only planned.",
        ),
    ] = None,
    namespace: Namespace = "default",
) -> None:
    """Print the whole plan of a run: every tag that stayed or went, and why.

    It stands in the log of the run's pod. Where that is gone, a Job reads it from the volume, which has those of the
    last ten runs that deleted something; it waits for its turn, and the registry notices nothing of it.
    """
    typer.echo(on_cluster("plan", lambda cluster: read_plan(cluster, namespace, retention, run, note)), nl=False)
