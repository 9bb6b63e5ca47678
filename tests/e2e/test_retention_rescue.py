"""What came into use while a run deleted it, on a control plane: it is brought back, though not by the first Job."""

import msgspec
import pytest

from regkeeper import kube
from regkeeper.answer import Answer, Outcome
from regkeeper.reconcile.job_life import is_finished
from regkeeper.reconcile.retention.outcome import FIRST_RESCUE_AGAIN
from regkeeper.resources.lease import Stage
from regkeeper.sketch import name_of_tag, sketch
from tests.cluster import Cluster
from tests.e2e.retention_bench import DONE, KEEP_TWO, SOON, SWITCH, RetentionBench
from tests.waiting import wait_for

pytestmark = pytest.mark.control_plane

WENT = msgspec.structs.replace(
    DONE, touched=sketch([name_of_tag("app", "v1")]), quarantined=9, purge_due="2099-01-01T00:00:00Z"
)
BACK = Answer(outcome=Outcome.DONE, message="4 entries back", quarantined=9, purge_due="2099-01-01T00:00:00Z")


def is_rescue(name: str) -> bool:
    return name.startswith("main-rescue-")


async def rescuers(bench: RetentionBench) -> list[kube.Object]:
    return [job for job in await bench.jobs() if is_rescue(job["metadata"]["name"])]


async def let_what_goes_come_into_use(bench: RetentionBench, rescue: Answer) -> None:
    """Have a run delete it and end; each Job that is to bring it back then answers so."""
    answers: dict[bool, Answer | None] = {True: rescue, False: None}
    bench.kubelet.script = lambda pod: (SWITCH, answers[is_rescue(pod["metadata"]["labels"]["job-name"])])
    await bench.make(rules=KEEP_TWO["rules"], schedule="0 0 1 1 *")
    await bench.pass_without_a_run()
    await bench.run_now()
    await bench.work_until_stage(Stage.RUNNING)
    await bench.use(f"{bench.key.namespace}.example/app:v1")  # what another test uses was told to the run
    answers[False] = WENT
    await bench.work_until(lambda status: status["lastRun"]["outcome"] == "Done")


async def test_what_was_not_brought_back_is_brought_back_by_the_next_operators_next_job(bench: RetentionBench) -> None:
    """retention.md: "a victim that came into use meanwhile is restored at once". Pods can't pull it until then."""
    await let_what_goes_come_into_use(bench, Answer(outcome=Outcome.FAILED, message="no space left"))

    async def has_failed() -> bool:
        return any(map(is_finished, await rescuers(bench))) and await bench.holder() is None

    await bench.work_until_async(has_failed)
    await bench.pass_without_a_run()
    condition = await bench.condition("Reconciling")
    assert condition["reason"] == "BringingBack"
    assert "Failed: no space left; the next one is made at " in condition["message"]
    assert len(await rescuers(bench)) == 1
    bench.kubelet.script = lambda _: (SWITCH, BACK)
    bench.later = FIRST_RESCUE_AGAIN + (FIRST_RESCUE_AGAIN / 2)

    async def is_back() -> bool:
        return await bench.condition("Reconciling") == {} and await bench.holder() is None

    await bench.work_until_async(is_back)
    assert len(await rescuers(bench)) == 2
    assert [each for each in (await bench.status())["lastRun"]["warnings"] if "back" in each] == [
        "to bring back what came into use meanwhile: Done 4 entries back"
    ]
    await bench.pass_without_a_run()


async def test_a_quota_that_takes_no_job_to_bring_it_back_keeps_no_registry_read_only_and_is_outlasted(
    bench: RetentionBench, control_plane: Cluster
) -> None:
    namespace = f"--namespace={bench.key.namespace}"
    await bench.make_registry()
    await bench.retain(rules=KEEP_TWO["rules"], schedule="0 0 1 1 *")
    control_plane.kubectl("create", "quota", "full", "--hard=count/jobs.batch=1", namespace)
    counted = "--for=jsonpath={.status.hard.count/jobs\\.batch}=1"
    control_plane.kubectl("wait", "quota/full", counted, f"--timeout={SOON}s", namespace)
    bench.kubelet.script = lambda _: (SWITCH, None)
    await bench.pass_without_a_run()
    await bench.run_now()
    await bench.work_until_stage(Stage.RUNNING)
    await bench.use(f"{bench.key.namespace}.example/app:v1")  # what another test uses was told to the run
    bench.kubelet.script = lambda _: (SWITCH, WENT)

    async def is_over() -> bool:
        last = (await bench.status())["lastRun"]
        return last["outcome"] == "Done" and await bench.holder() is None and not await bench.is_read_only()

    await bench.work_until_async(is_over)
    assert await rescuers(bench) == []
    bench.kubelet.script = lambda _: (SWITCH, BACK)
    control_plane.kubectl("delete", "quota", "full", namespace)
    wait_for(lambda: "full" not in control_plane.kubectl("get", "quota", "-o", "name", namespace), SOON, "no quota")

    async def is_back() -> bool:
        last = (await bench.status())["lastRun"]
        return any("4 entries back" in each for each in last.get("warnings", ())) and await bench.holder() is None

    await bench.work_until_async(is_back)
    assert len(await rescuers(bench)) == 1
