"""The operator's service account as the chart makes it, for an operator that a test runs as a process."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import Cluster
from tests.cluster.api import ApiError
from tests.helm import NAMESPACE, Object, render
from tests.waiting import wait_for

_LIFETIME = 7200  # seconds, of a token


def apply_account(cluster: Cluster, values: Mapping[str, Any] | None = None, *, release: str) -> Object:
    """Apply service account, rights and admission policies under a release name of the test's own.

    Returns:
        A List of the objects, for who wants to delete them. CRDs and the operator itself are not among them.
    """
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    # Of its own, as it goes with the account.
    trust = {"agentsNamespace": f"{release}-nodes", **(values or {}).get("trust", {})}
    chosen = {"crds": {"install": False}, **(values or {}), "trust": trust}
    rendered = render(chosen, "--no-hooks", release=release)
    items = [body for body in rendered if body["kind"] not in ("Deployment", "Service")]
    account = {"apiVersion": "v1", "kind": "List", "items": items}
    for body in (namespace, *items):
        cluster.api().apply(body, manager="kubectl", force=True)
    return account


def delete_account(cluster: Cluster, account: Object) -> None:
    """Delete what `apply_account` made, without waiting for its namespace to end."""
    api = cluster.api()
    for body in account["items"]:
        api.delete(api.path_of(body))


@contextmanager
def operator_account(
    cluster: Cluster, kubeconfig: Path, values: Mapping[str, Any] | None = None, *, release: str
) -> Iterator[Object]:
    """Apply an account (`apply_account`), write a kubeconfig with its token, and delete the account at the end.

    As long as its policies are there, every write of anybody is held against them.
    """
    account = apply_account(cluster, values, release=release)
    try:
        write_kubeconfig(cluster, account, kubeconfig)
        yield account
    finally:
        delete_account(cluster, account)


def write_kubeconfig(cluster: Cluster, account: Object, file: Path) -> None:
    """Write a kubeconfig with a token of what `apply_account` made."""
    name = _name(account)
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": _LIFETIME}}
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{name}/token"
    token = cluster.api().post(path, asked)["status"]["token"]
    kubeconfig = yaml.safe_load(cluster.kubeconfig.read_text())
    kubeconfig["users"] = [{"name": entry["name"], "user": {"token": token}} for entry in kubeconfig["users"]]
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump(kubeconfig))


def await_confinement(cluster: Cluster, account: Object) -> None:
    """Wait until the policies hold what `apply_account` made: from a moment after their making."""
    user = user_of(account)
    operators = cluster.api().impersonating(user)
    attempt = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "nobodys"}}

    def is_refused() -> bool:
        try:
            operators.create(attempt, dry_run=True)
        except ApiError as error:
            return "the operator may touch only what belongs to a Registry" in str(error)
        return False

    wait_for(is_refused, 30, f"the policies to hold {user}")


def user_of(account: Object) -> str:
    """What the API server calls it."""
    return f"system:serviceaccount:{NAMESPACE}:{_name(account)}"


def _name(account: Object) -> str:
    (name,) = [body["metadata"]["name"] for body in account["items"] if body["kind"] == "ServiceAccount"]
    return str(name)
