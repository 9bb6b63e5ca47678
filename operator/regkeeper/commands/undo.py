"""`regkeeper undo`: bring back what a run on the cluster deleted."""

from typing import Annotated

import typer

from regkeeper import kube
from regkeeper.commands.retention_options import Namespace, Retention, change_spec, on_cluster

app = typer.Typer(add_completion=False)


@app.command()
def undo(
    retention: Retention,
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="The run, as status.lastRun.run names it; default: the last one."),
    ] = None,
    namespace: Namespace = "default",
    *,
    forget: Annotated[
        bool, typer.Option("--forget", help="Bring nothing back, and end what an undo of the run keeps.")
    ] = False,
) -> None:
    """Undo a run: its tags and blobs come back, and later runs keep them until the rules change.

    It writes `spec.undo`, as you could in the manifest; `status.undone` says what came of it.
    """
    typer.echo(on_cluster("undo", lambda cluster: _undo(cluster, namespace, retention, run, forget=forget)))


async def _undo(cluster: kube.Cluster, namespace: str, name: str, run: str | None, *, forget: bool) -> str:
    body = await cluster.get(kube.IMAGE_RETENTION, namespace, name)
    last = (body.get("status") or {}).get("lastRun") or {}
    wanted = run or last.get("run")
    if wanted is None:
        raise typer.BadParameter(f"the last run of {namespace}/{name} deleted nothing: name an earlier one")
    await change_spec(cluster, body, {"undo": {"run": wanted, "forget": forget}})
    return f"{'forgetting' if forget else 'undoing'} {wanted}: see status.undone"
