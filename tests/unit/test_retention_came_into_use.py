"""When a Job is made that brings back what came into use while a run deleted, and what is told where none may be."""

import json
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from regkeeper import naming
from regkeeper.answer import Deleted
from regkeeper.resources.lease import Lock, Stage
from regkeeper.sketch import name_of_tag, sketch
from tests.retention_objects import retention_object
from tests.retention_passes import (
    DONE,
    HOLDER,
    KEY,
    RetentionPasses,
    a_pod,
    rescues,
    use,
)

DELETED = msgspec.structs.replace(DONE, run="20260101T120000Z", deleted=Deleted(tags=1))
VICTIM = "sha256:" + "ab" * 32


@pytest.mark.parametrize("is_valid", [True, False])
async def test_what_came_into_use_and_is_not_brought_back_is_told(is_valid: bool) -> None:
    bench = RetentionPasses(HOLDER)
    bench.finish(DELETED)
    use(bench, "k8smaster:5000/app:v1")
    if not is_valid:
        bench.put(retention_object("keep-last", rules=[{"name": "bad", "keep": {"semver": {"constraint": "none"}}}]))
        bench.put({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "keep-last"}, "spec": {}})
    # Nothing says any more what the run was told.
    await bench.reconciler.look(KEY)
    assert not bench.is_held()
    warnings = bench.status["lastRun"].get("warnings", [])
    if is_valid:
        assert warnings == []
        assert len(rescues(bench)) == 1
    else:
        (warning,) = warnings
        assert "regkeeper restore 20260101T120000Z" in warning
        assert rescues(bench) == []


@pytest.mark.parametrize(
    ("image", "rescued"),
    [
        ("k8smaster:5000/app:v1", True),
        ("mirror.example/app:v1", True),
        (f"docker-pullable://other/name@{VICTIM}", True),
        (VICTIM.partition(":")[2], True),
        ("k8smaster:5000/app:v2", False),
        ("k8smaster:5000/app", False),
        ("k8smaster:5000/app@sha256:" + "cd" * 32, False),
        ("nginx:1.27", False),
    ],
)
async def test_a_job_brings_back_what_came_into_use_only_where_it_may_have_gone(image: str, rescued: bool) -> None:
    bench = RetentionPasses(HOLDER)
    touched = sketch([name_of_tag("app", "v1"), b"\x01" + b"\xab" * 32])
    bench.finish(msgspec.structs.replace(DELETED, touched=touched))
    use(bench, "k8smaster:5000/db:v1", image)
    await bench.reconciler.look(KEY)
    assert not bench.is_held()
    assert len(rescues(bench)) == rescued


@pytest.mark.parametrize(("told", "rescued"), [(0, True), (1, False), (None, False)])
async def test_a_run_that_was_told_once_more_after_it_had_begun_is_asked_about_by_what_it_went_by(
    told: int | None, rescued: bool
) -> None:
    """An operator that dies between two writes tells a run again; what came into use between is known to it alone."""
    bench = RetentionPasses(HOLDER)
    bench.put(bench.job(suspend=False))
    pod = a_pod(None, phase="Running", running={})
    generations = []
    for image in ("k8smaster:5000/db:v1", "k8smaster:5000/app:v1"):
        use(bench, image)
        bench.write_lock(Lock(holder=replace(HOLDER, stage=Stage.TELLING)))
        bench.put(pod)
        bench.now += timedelta(seconds=5)
        await bench.reconciler.look(KEY)
        assert bench.stage() is Stage.RUNNING
        header = bench.cluster.objects["ConfigMap", naming.snapshot_name("main", 0)]["data"]["header"]
        generations.append(json.loads(header)["generation"])
    touched = sketch([name_of_tag("app", "v1")])
    went_by = None if told is None else generations[told]
    bench.finish(msgspec.structs.replace(DELETED, touched=touched, told=went_by))
    await bench.reconciler.look(KEY)
    assert not bench.is_held()
    assert len(rescues(bench)) == rescued
