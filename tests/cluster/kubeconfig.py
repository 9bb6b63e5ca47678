"""Kubeconfig files that need no other file: certificates are inside."""

import base64
from pathlib import Path

import yaml

from tests.cluster.plan import Plan


def kubeconfig(plan: Plan, certificates: Path, user: str) -> str:
    """A kubeconfig for the user of that certificate."""

    def data(name: str) -> str:
        return base64.b64encode((certificates / name).read_bytes()).decode()

    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": plan.name, "cluster": {"server": plan.server, "certificate-authority-data": data("ca.crt")}}
        ],
        "users": [
            {
                "name": user,
                "user": {"client-certificate-data": data(f"{user}.crt"), "client-key-data": data(f"{user}.key")},
            }
        ],
        "contexts": [{"name": plan.name, "context": {"cluster": plan.name, "user": user}}],
        "current-context": plan.name,
    }
    return yaml.safe_dump(document, sort_keys=False)
