"""`regkeeper approve`: let a plan be carried out that waits for it."""

import asyncio
from typing import Annotated

import typer

from regkeeper import kube
from regkeeper.commands.retention_options import Namespace, Retention, change_spec, on_cluster
from regkeeper.errors import WaitingError

app = typer.Typer(add_completion=False)

LOOKS, PAUSE_SECONDS = 150, 0.2
"""For the operator, which takes less than a second."""


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
    typer.echo(on_cluster("approve", lambda cluster: approve_plan(cluster, namespace, retention, plan)))


async def approve_plan(cluster: kube.Cluster, namespace: str, name: str, plan: str | None) -> str:
    """Approve the plan that waits, or the one of a hash if it does; say what would go."""
    body = await cluster.get(kube.IMAGE_RETENTION, namespace, name)
    awaiting = (body.get("status") or {}).get("awaiting")
    if awaiting is None:
        raise typer.BadParameter(f"no plan of {namespace}/{name} waits for an approval")
    if plan is not None and plan != awaiting["hash"]:
        raise typer.BadParameter(f"another plan waits: {awaiting['hash']}")
    if (body.get("status") or {}).get("approved") == awaiting["hash"]:
        # spec.approve says so already, of an earlier plan. Once the operator has seen it go, it can say so of this one.
        await change_spec(cluster, body, {"approve": None})
        body = await _once_forgotten(cluster, namespace, name)
    await change_spec(cluster, body, {"approve": awaiting["hash"]})
    return f"approved: {awaiting['tags']} tags, {awaiting['bytes']} bytes"


async def _once_forgotten(cluster: kube.Cluster, namespace: str, name: str) -> kube.Object:
    """The ImageRetention as soon as its status says no more that a plan was approved."""
    for _ in range(LOOKS):
        body = await cluster.get(kube.IMAGE_RETENTION, namespace, name)
        if (body.get("status") or {}).get("approved") is None:
            return body
        await asyncio.sleep(PAUSE_SECONDS)
    raise WaitingError("the operator has yet to see that the approval of an earlier plan is gone: approve once more")
