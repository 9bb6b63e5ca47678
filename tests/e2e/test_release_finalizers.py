"""`regkeeper release-finalizers` on a real API server."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from regkeeper import kube
from regkeeper.naming import FINALIZER, RETENTION_LABEL, RUN_FINALIZER
from regkeeper.uninstall import release_finalizers
from tests.cluster import Cluster
from tests.operator_process import a_namespace

pytestmark = [pytest.mark.control_plane, pytest.mark.xdist_group("release-finalizers")]

FOREIGN = "example.com/other"


def make_registry(cluster: Cluster, namespace: str, name: str, finalizers: list[str]) -> None:
    metadata = {"name": name, "namespace": namespace, "finalizers": finalizers}
    body = {
        "apiVersion": "regkeeper.dev/v1alpha1",
        "kind": "Registry",
        "metadata": metadata,
        "spec": {"storage": {"ephemeral": {}}},
    }
    cluster.api().create(body)


def finalizers(cluster: Cluster, namespace: str, name: str) -> list[str]:
    found = cluster.read(kube.REGISTRY.path(namespace, name))
    assert found is not None
    return list(found["metadata"].get("finalizers", []))


def release(cluster: Cluster, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "regkeeper", "release-finalizers"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig), **environment},
    )


def test_takes_off_our_finalizer_alone_and_in_the_watched_namespaces_alone(control_plane: Cluster) -> None:
    with a_namespace(control_plane, "release") as watched, a_namespace(control_plane, "release") as other:
        make_registry(control_plane, watched, "ours", [FINALIZER])
        make_registry(control_plane, watched, "shared", [FOREIGN, FINALIZER])
        make_registry(control_plane, watched, "foreign", [FOREIGN])
        make_registry(control_plane, other, "ours", [FINALIZER])

        done = release(control_plane, {"REGKEEPER_WATCH_NAMESPACES": json.dumps([watched])})

        assert sorted(done.stdout.splitlines()) == [f"released {watched}/ours", f"released {watched}/shared"]
        assert (done.stderr, done.returncode) == ("", 0)
        assert finalizers(control_plane, watched, "ours") == []
        assert finalizers(control_plane, watched, "shared") == [FOREIGN]
        assert finalizers(control_plane, watched, "foreign") == [FOREIGN]
        assert finalizers(control_plane, other, "ours") == [FINALIZER]


def test_a_run_that_was_held_for_its_outcome_is_held_no_more(control_plane: Cluster) -> None:
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "run", "labels": {RETENTION_LABEL: "policy"}, "finalizers": [RUN_FINALIZER]},
        "spec": {
            "suspend": True,
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}},
        },
    }
    with a_namespace(control_plane, "release") as namespace:
        control_plane.kubectl("create", "--namespace", namespace, "--filename=-", stdin=json.dumps(job))
        done = release(control_plane, {"REGKEEPER_WATCH_NAMESPACES": json.dumps([namespace])})
        assert done.stdout == f"released {namespace}/run\n"
        held = json.loads(control_plane.kubectl("get", "job", "run", "--namespace", namespace, "--output=json"))
        assert "finalizers" not in held["metadata"]


async def test_looks_again_at_what_changed_meanwhile(control_plane: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody adds a finalizer between our reading and our writing: theirs stays."""
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))

    class Raced(kube.ApiCluster):
        raced = False

        async def patch(
            self, resource: kube.Resource, namespace: str | None, name: str, body: kube.Object
        ) -> kube.Object:
            if not self.raced:
                self.raced = True
                theirs: kube.Object = {"metadata": {"finalizers": [FINALIZER, FOREIGN]}}
                await super().patch(resource, namespace, name, theirs)
            return await super().patch(resource, namespace, name, body)

    with a_namespace(control_plane, "release") as namespace:
        make_registry(control_plane, namespace, "main", [FINALIZER])
        async with kube.connect() as connected:
            raced = Raced(connected._client)
            released = [name async for name in release_finalizers(raced, [namespace])]
        assert released == [f"{namespace}/main"]
        assert finalizers(control_plane, namespace, "main") == [FOREIGN]


def test_says_that_the_api_server_does_not_answer(control_plane: Cluster, tmp_path: Path) -> None:
    kubeconfig = yaml.safe_load(control_plane.kubeconfig.read_text())
    kubeconfig["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))

    done = release(control_plane, {"KUBECONFIG": str(tmp_path / "kubeconfig")})

    assert done.returncode == 1
    assert done.stderr.startswith("regkeeper release-finalizers: GET /apis/regkeeper.dev/v1alpha1/registries")
    assert "Traceback" not in done.stderr
