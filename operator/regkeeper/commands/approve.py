"""`regkeeper approve`: let a plan be carried out that waits for it."""

from typing import Annotated

import typer

from regkeeper import kube
from regkeeper.commands.retention_options import Namespace, Retention, change_spec, on_cluster

app = typer.Typer(add_completion=False)


@app.command()
def approve(
    retention: Retention,
    namespace: Namespace = "default",
    plan: Annotated[
        str | None,
        typer.Option(
            "--plan", metavar="HASH", help="Hash of the plan that was looked at; if another waits, it stays so."
        ),
    ] = None,
) -> None:
    """Approve the plan that waits: its victims that are still victims go, and never another.

    It writes `spec.approve`, as you could in the manifest. `regkeeper plan NAME` prints what would go.
    """
    typer.echo(on_cluster("approve", lambda cluster: _approve(cluster, namespace, retention, plan)))


async def _approve(cluster: kube.Cluster, namespace: str, name: str, plan: str | None) -> str:
    body = await cluster.get(kube.IMAGE_RETENTION, namespace, name)
    awaiting = (body.get("status") or {}).get("awaiting")
    if awaiting is None:
        raise typer.BadParameter(f"no plan of {namespace}/{name} waits for an approval")
    if plan is not None and plan != awaiting["hash"]:
        raise typer.BadParameter(f"another plan waits: {awaiting['hash']}")
    await change_spec(cluster, body, {"approve": awaiting["hash"]})
    return f"approved: {awaiting['tags']} tags, {awaiting['bytes']} bytes"
