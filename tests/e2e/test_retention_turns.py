"""Jobs of ImageRetentions on a control plane that do not run, or not yet: refused with the remedy, missed, in line."""

from datetime import timedelta

import pytest

from regkeeper import kube, naming
from regkeeper.resources.lease import Stage
from tests.e2e.retention_bench import DONE, KEEP_TWO, SWITCH, RetentionBench

pytestmark = pytest.mark.control_plane


async def test_a_stranger_on_the_volume_refuses_the_run_with_its_name(bench: RetentionBench) -> None:
    await bench.make(**KEEP_TWO, schedule="0 0 1 1 *")
    await bench.pass_without_a_run()
    stranger = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "backup", "namespace": bench.key.namespace},
        "spec": {
            "containers": [{"name": "c", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": naming.claim_name("main")}}],
        },
    }
    await bench.cluster.create(stranger)
    await bench.run_now()
    await bench.settle("Refused")
    assert "Pod backup mounts" in (await bench.condition("Ready"))["message"]
    assert await bench.jobs() == []


async def test_a_run_that_would_stop_the_registry_of_its_own_image_is_refused(bench: RetentionBench) -> None:
    host = f"main.{bench.key.namespace}.svc:5000"
    bench.image = f"{host}/regkeeper:1"
    await bench.make(**KEEP_TWO, schedule="0 0 1 1 *", mode="Offline")

    async def has_address() -> bool:
        status = (await bench.need(kube.REGISTRY, "main")).get("status") or {}
        return host in [address["host"] for address in status.get("addresses") or ()]

    await bench.work_until_async(has_address)
    await bench.run_now()
    await bench.settle("Refused")
    assert "comes from this very registry, which mode Offline stops" in (await bench.condition("Ready"))["message"]


async def test_an_invalid_policy_stops_the_runs_of_its_registry_with_its_name(bench: RetentionBench) -> None:
    await bench.make(**KEEP_TWO, schedule="0 0 1 1 *")
    await bench.pass_without_a_run()
    await bench.retain("broken", rules=[{"name": "bad", "keep": {"semver": {"constraint": "no version"}}}])
    await bench.run_now()
    await bench.settle("Refused")
    assert "ImageRetention broken" in (await bench.condition("Ready"))["message"]
    assert (await bench.condition("Stalled", "broken"))["reason"] == "InvalidSpec"


async def test_of_several_waiting_jobs_of_one_policy_the_newest_runs_and_a_late_one_is_missed(
    bench: RetentionBench,
) -> None:
    """Also those of a policy whose schedule is suspended: "`suspend` stops schedules, not run-now"."""
    await bench.make(**KEEP_TWO, schedule="0 0 1 1 *", startingDeadline="1m", suspend=True)
    await bench.pass_without_a_run()
    await bench.run_now("older")
    bench.later = timedelta(minutes=2)
    await bench.settle("Missed")
    bench.later = timedelta()
    await bench.run_now("one")
    await bench.run_now("two")
    await bench.settle("Done")
    assert (await bench.status())["lastRun"]["job"] == "two"
    assert len(bench.kubelet.told) == 1


async def test_a_job_that_comes_in_the_middle_of_a_run_waits_for_its_turn(bench: RetentionBench) -> None:
    """As one of the schedule does while one that was started by hand runs: `Forbid` is about the schedule's alone."""
    bench.kubelet.script = lambda _: (SWITCH, None)
    await bench.make(**KEEP_TWO, schedule="0 0 1 1 *")
    await bench.pass_without_a_run()
    await bench.run_now("by-hand")
    await bench.work_until_stage(Stage.RUNNING)
    await bench.run_now("by-schedule")
    await bench.pass_without_a_run()
    assert (await bench.need(kube.JOB, "by-schedule"))["spec"]["suspend"]
    bench.kubelet.script = lambda _: (SWITCH, DONE)
    await bench.settle("Done")
    assert (await bench.status())["lastRun"]["job"] == "by-schedule"
    assert len(bench.kubelet.told) == 2
