"""A kopf operator that watches Registries and does nothing: what merely watching costs. For `kopf run`."""

from typing import Any

import kopf

from regkeeper import naming


@kopf.on.startup()
async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.posting.enabled = False


@kopf.on.login()
async def login(**arguments: Any) -> kopf.ConnectionInfo | None:
    return kopf.login_with_kubeconfig(**arguments)


@kopf.on.event(naming.GROUP, naming.VERSION, "registries")
async def ignore(**_: Any) -> None:
    pass
