"""What the commands share that speak of an ImageRetention on a cluster."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from regkeeper import kube
from regkeeper.errors import RegkeeperError

Answer = TypeVar("Answer")

Retention = Annotated[str, typer.Argument(metavar="NAME", help="Name of the ImageRetention.")]
Namespace = Annotated[
    str, typer.Option("--namespace", "-n", envvar="REGKEEPER_NAMESPACE", help="Namespace of the ImageRetention.")
]


def on_cluster(command: str, work: Callable[[kube.ApiCluster], Awaitable[Answer]]) -> Answer:
    """Do something on the cluster of KUBECONFIG; end the command with one line where that fails."""

    async def connected() -> Answer:
        async with kube.connect() as cluster:
            return await work(cluster)

    try:
        return asyncio.run(connected())
    except (kube.ApiError, kube.ConfigException, RegkeeperError) as error:
        typer.echo(f"regkeeper {command}: {error}", err=True)
        raise typer.Exit(1) from error


async def change_spec(cluster: kube.Cluster, body: kube.Object, fields: dict[str, object]) -> None:
    """Set fields of a spec, if nobody changed the object meanwhile."""
    metadata = body["metadata"]
    guard = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
    patch = {"metadata": guard, "spec": fields}
    await cluster.patch(kube.IMAGE_RETENTION, metadata["namespace"], metadata["name"], patch)
