"""No finding of kube-score in the chart, or in an object that the operator makes, without a reason in docs/scan.md.

What Pod Security asks for is not left to a scanner: the API server enforces it in tests/e2e.
"""

import json
import subprocess
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import yaml

from regkeeper.api.v1alpha1.retention import ImageRetention
from regkeeper.resources.lease import Lock, lease
from regkeeper.resources.node_agent import node_agent, node_agent_key
from regkeeper.resources.registry import http_secret
from regkeeper.resources.retention import cron_job, policy_job, registry_job
from regkeeper.settings import Settings
from tests.cluster.programs import KUBE_SCORE
from tests.helm import CHART, only, render
from tests.registry_objects import LOCAL, SHARED, a_registry, all_objects
from tests.retention_objects import retention_object

LOCAL_STORAGE = {"localStorage": [{"namespaces": ["images"], "nodes": ["k8smaster"], "path": "/a"}]}
DOCUMENT = CHART.parent.parent / "docs" / "scan.md"

Finding = tuple[str, str, str]
"""Check, Kind/name, and what kube-score says, a container's name before it."""


def made_by_the_operator() -> list[dict[str, Any]]:
    settings = Settings(image="example/regkeeper:1")
    registries = [
        a_registry("registry-claimed"),
        a_registry("registry-shared", storage=SHARED, replicas=2),
        a_registry("registry-local", storage=LOCAL, access={"hostPort": {}}),
        a_registry("registry-trial", storage={"ephemeral": {}}, access={"nodePort": {}}),
    ]
    policy = retention_object("policy-schedule", schedule="@daily")
    policy["metadata"]["uid"] = "uid"
    retention = ImageRetention.model_validate(policy)
    jobs = [
        cron_job(retention, registries[0], settings),
        policy_job(retention, registries[0], settings, name="policy-run", annotations={}, cron_job_uid="uid"),
        registry_job(registries[0], settings, name="purge-run", annotations={}),
    ]
    secrets = [http_secret(registry, "secret") for registry in registries]
    agents = [node_agent(settings), node_agent_key(settings, b"secret")]
    locks = [lease(Lock(), claim="registry-claimed", namespace="images", registry="registry-claimed")]
    served = [body for registry in registries for body in all_objects(registry, settings)]
    return [*served, *secrets, *jobs, *agents, *locks]


def scan(objects: Iterable[dict[str, Any]]) -> set[Finding]:
    program = KUBE_SCORE.program("kube-score")
    options = (
        "--output-format",
        "json",
        "--output-version",
        "v2",
        "--enable-optional-test",
        "container-seccomp-profile",
    )
    done = subprocess.run(
        [program, "score", *options, "-"],
        input=yaml.safe_dump_all(objects),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("["), done.stderr
    return {
        (
            check["check"]["id"],
            f"{judged['type_meta']['kind']}/{judged['object_meta']['name']}",
            f"{comment['path']}: {comment['summary']}".removeprefix(": "),
        )
        for judged in json.loads(done.stdout)
        for check in judged["checks"]
        if not check["skipped"] and check["grade"] < 10
        for comment in check["comments"] or ({"path": "", "summary": check["check"]["comment"]},)
    }


@cache
def findings() -> frozenset[Finding]:
    return frozenset(scan([*render(), *made_by_the_operator()]))


def reasons() -> list[Finding]:
    """Rows of the table, whose first three cells are patterns."""
    found = []
    for line in DOCUMENT.read_text().splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        if line.startswith("| `"):
            check, judged, said, reason = cells
            assert len(reason) > 20, line
            found.append((check, judged, said))
    return found


def covers(row: Finding, finding: Finding) -> bool:
    return all(fnmatchcase(cell, pattern) for cell, pattern in zip(finding, row, strict=True))


def test_each_finding_has_a_reason() -> None:
    assert sorted(finding for finding in findings() if not any(covers(row, finding) for row in reasons())) == []


def test_each_reason_is_still_needed() -> None:
    assert [row for row in reasons() if not any(covers(row, finding) for finding in findings())] == []


def test_everything_that_the_operator_may_create_is_scanned() -> None:
    rules = only(render(LOCAL_STORAGE), "ClusterRole", "regkeeper")["rules"]
    may_create = {resource for rule in rules if "create" in rule["verbs"] for resource in rule["resources"]}
    assert may_create - {"events"} <= {f"{body['kind'].lower()}s" for body in made_by_the_operator()}


def test_the_scanner_finds_what_is_wrong() -> None:
    """A deployment with nothing but an image has most of what can be found."""
    container = {"name": "bare", "image": "example:latest", "securityContext": {"privileged": True}}
    pod = {"metadata": {"name": "bare"}, "spec": {"containers": [container]}}
    found = {check for check, _, _ in scan([{"apiVersion": "v1", "kind": "Pod", **pod}])}
    assert {"container-image-tag", "container-resources", "container-security-context-privileged"} <= found
