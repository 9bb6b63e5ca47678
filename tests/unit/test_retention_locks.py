"""How long a lock is held, and by whom: until nothing more of its run can change the volume."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from regkeeper import kube, naming
from regkeeper.answer import Deleted
from regkeeper.errors import BlockedError
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.retention.run import GONE_SECONDS, OVERDUE_SECONDS
from regkeeper.resources.lease import Lock, Quiet, Rescue, Stage, lease, read_lock
from tests.registry_objects import registry_object
from tests.retention_passes import CLAIM, DONE, HOLDER, KEY, NOON, RetentionPasses, a_pod


async def test_a_node_that_is_lost_holds_no_lock_beyond_the_end_of_the_run() -> None:
    bench = RetentionPasses(HOLDER, pod=a_pod(None, phase="Running", running={}))
    bench.now = HOLDER.end + timedelta(seconds=OVERDUE_SECONDS - 1)
    await bench.reconciler.look(KEY)
    assert not bench.aborted()
    bench.now = HOLDER.end + timedelta(seconds=OVERDUE_SECONDS)
    await bench.reconciler.look(KEY)
    assert bench.cluster.objects["Job", "job"]["spec"]["suspend"], "nobody tells its pod to stop"
    bench.now += timedelta(seconds=GONE_SECONDS - 1)
    await bench.reconciler.look(KEY)
    assert bench.is_held()
    bench.now += timedelta(seconds=1)
    await bench.reconciler.look(KEY)
    assert not bench.is_held()
    assert bench.status["lastRun"]["outcome"] == "Unknown"
    assert "nobody says that its pod has stopped" in bench.status["lastRun"]["message"]


@pytest.mark.parametrize("jump", [timedelta(hours=2), timedelta(days=365)])
async def test_a_clock_that_jumps_beyond_the_end_of_a_run_releases_no_lock_of_one_that_goes_on(jump: timedelta) -> None:
    bench = RetentionPasses(HOLDER, pod=a_pod(None, phase="Running", running={}))
    bench.now = NOON + jump
    for _ in range(3):
        await bench.reconciler.look(KEY)
    assert bench.is_held()
    assert bench.cluster.objects["Job", "job"]["spec"]["suspend"], "nobody tells its pod to stop"
    bench.finish(DONE)
    await bench.reconciler.look(KEY)
    assert not bench.is_held()
    assert bench.status["lastRun"]["outcome"] == "Done"


async def test_a_clock_that_was_ahead_for_a_while_keeps_no_lock_for_as_long() -> None:
    bench = RetentionPasses(HOLDER, pod=a_pod(None, phase="Running", running={}))
    bench.now = NOON + timedelta(days=365)
    await bench.reconciler.look(KEY)
    for bench.now in (HOLDER.end + timedelta(seconds=seconds) for seconds in (OVERDUE_SECONDS, 60)):
        await bench.reconciler.look(KEY)
        assert bench.is_held()
    bench.now = HOLDER.end + timedelta(seconds=OVERDUE_SECONDS + GONE_SECONDS)
    await bench.reconciler.look(KEY)
    assert not bench.is_held()


@pytest.mark.parametrize("is_deleted", [True, False])
async def test_a_run_of_which_nothing_is_left_to_see_is_waited_for_as_long(is_deleted: bool) -> None:
    """Its Job and pod were deleted by force, or with the Registry."""
    bench = RetentionPasses(HOLDER)
    bench.store.remove(bench.cluster.objects.pop(("Job", "job")))
    if is_deleted:
        bench.registries.remove(bench.cluster.objects["Registry", "main"])
    bench.now = HOLDER.end + timedelta(hours=1)
    for seconds in (0, GONE_SECONDS - 1):
        bench.now += timedelta(seconds=seconds)
        await bench.reconciler.look(KEY)
        assert bench.is_held()
    bench.now += timedelta(seconds=1)
    await bench.reconciler.look(KEY)
    assert not bench.is_held()


@pytest.mark.parametrize("was_let_go", [False, True])
@pytest.mark.parametrize("has_registry", [False, True])
async def test_a_job_that_is_deleted_before_it_was_let_go_keeps_no_registry_stopped(
    *, was_let_go: bool, has_registry: bool
) -> None:
    """As while its ReadWriteOncePod volume is being freed: it stopped the registry to the end of the run, an hour."""
    bench = RetentionPasses(replace(HOLDER, stage=Stage.PREPARING, quiet=Quiet.OFFLINE))
    going = bench.job(suspend=not was_let_go)  # the answer to the write that lets it go may be lost
    going["metadata"]["deletionTimestamp"] = NOON.isoformat()
    going = bench.cluster.put(going)
    if not has_registry:
        bench.registries.remove(bench.cluster.objects["Registry", "main"])
    if was_let_go:
        with suppress(kube.ConflictError):
            await bench.reconciler.look(KEY)
        bench.store.put(going)  # its watch event comes
        await bench.reconciler.look(KEY)
        assert not bench.cluster.objects["Job", "job"]["metadata"]["finalizers"]
    bench.store.remove(bench.cluster.objects.pop(("Job", "job")))
    await bench.reconciler.look(KEY)
    assert bench.is_held() == was_let_go, "its pod may go on"
    if not was_let_go:
        assert bench.status["lastRun"]["outcome"] == "Failed"
        assert bench.status["lastRun"]["message"].endswith(". Nothing was deleted")


async def test_a_lock_on_a_volume_that_is_no_longer_the_registrys_is_given_back_when_its_run_has_ended() -> None:
    bench = RetentionPasses(HOLDER)
    bench.finish(DONE)
    bench.write_lock(Lock())
    other = lease(Lock(holder=HOLDER), claim="old-claim", namespace=KEY.namespace, registry=KEY.name)
    bench.put(other)
    await bench.reconciler.look(KEY)
    assert read_lock(bench.cluster.objects["Lease", naming.lock_name("old-claim")]).holder is None
    assert bench.status["lastRun"]["outcome"] == "Done"


async def test_a_job_that_was_made_for_the_volume_of_a_former_registry_does_not_run_under_the_next_ones_lock() -> None:
    """Another Registry may have that volume by now, and takes pushes."""
    bench = RetentionPasses(HOLDER)
    bench.write_lock(Lock())
    bench.put(bench.job(suspend=True, claim="former-claim"))
    await bench.reconciler.look(KEY)
    assert bench.lock.holder is None
    assert ("Job", "job") not in bench.cluster.objects
    assert bench.status["lastRun"]["outcome"] == "Refused"
    assert "former-claim" in bench.status["lastRun"]["message"]


async def test_a_run_on_the_volume_of_a_former_registry_gets_no_lock_of_the_next_ones() -> None:
    bench = RetentionPasses(HOLDER, pod=a_pod(None, phase="Running", running={}))
    bench.write_lock(Lock())
    bench.put(bench.job(suspend=False, claim="former-claim"))
    bench.put(lease(Lock(holder=HOLDER), claim="former-claim", namespace=KEY.namespace, registry=KEY.name))
    await bench.reconciler.look(KEY)
    assert bench.lock.holder is None
    former = read_lock(bench.cluster.objects["Lease", naming.lock_name("former-claim")])
    assert former.holder is not None
    assert naming.RUN_FINALIZER in bench.cluster.objects["Job", "job"]["metadata"]["finalizers"]


async def test_a_registry_that_got_the_volume_during_a_run_hears_of_its_end() -> None:
    """Nothing of it changes then, and until it is looked at it takes no pushes."""
    bench = RetentionPasses(HOLDER)
    bench.finish(DONE)
    bench.registries.remove(bench.cluster.objects["Registry", "main"])
    for name, storage in (("next", {"existingClaim": CLAIM}), ("beside", {"existingClaim": "another"})):
        bench.registries.put(bench.cluster.put(registry_object(name, storage=storage)))
    await bench.reconciler.look(KEY)
    assert not bench.is_held()
    assert bench.changed == {KEY, Key(KEY.namespace, "next")}


async def test_an_outcome_is_read_although_somebody_deleted_the_lock_after_the_run_had_ended() -> None:
    bench = RetentionPasses(HOLDER)
    await bench.reconciler.look(KEY)
    status = {"lastRun": {"job": "job", "uid": "job-uid", "outcome": "Running", "message": ""}}
    bench.put({**bench.cluster.objects["ImageRetention", "keep-last"], "status": status})
    bench.finish(DONE)
    bench.write_lock(Lock())
    await bench.reconciler.look(KEY)
    assert bench.status["lastRun"]["outcome"] == "Done"
    assert not bench.is_held()


async def test_pods_of_runs_that_are_long_over_are_not_remembered() -> None:
    bench = RetentionPasses(HOLDER)
    ended = a_pod(DONE)
    ended["metadata"]["namespace"] = KEY.namespace
    ended["metadata"]["ownerReferences"][0]["uid"] = "long-ago"
    bench.reconciler.gate.saw_the_end(ended)
    assert bench.reconciler.gate.remembered == 0
    ended["metadata"]["ownerReferences"][0]["uid"] = HOLDER.uid
    bench.reconciler.gate.saw_the_end(ended)
    assert bench.reconciler.gate.remembered == 1
    bench.finish(DONE)
    await bench.reconciler.look(KEY)
    assert bench.reconciler.gate.remembered == 0


async def test_a_run_whose_registry_is_deleted_has_its_outcome_and_does_not_begin_again_under_the_next() -> None:
    bench = RetentionPasses(HOLDER, pod=a_pod(None))
    registry = bench.cluster.objects.pop(("Registry", "main"))
    bench.registries.remove(registry)
    await bench.reconciler.look(KEY)
    assert bench.lock.holder is None
    assert bench.lock.unanswered == (HOLDER.uid,)
    assert bench.lock.purge_due == NOON, "nobody puts back what it moved"
    assert bench.status["lastRun"]["outcome"] == "Unknown"
    assert "its Registry is gone" in bench.status["lastRun"]["message"]
    conditions = {each["type"]: each["reason"] for each in bench.status["conditions"]}
    assert conditions["Stalled"] == "RegistryNotFound"
    assert ("Job", "job") not in bench.cluster.objects


@pytest.mark.parametrize(("victims", "run"), [(0, "20260101T120000Z"), (1, "20260101T120000Z"), (1, None)])
async def test_victims_of_a_run_that_ended_without_its_registry_are_looked_after_with_the_next(
    victims: int, run: str | None
) -> None:
    """As when it is made anew, or its spec could not be read for a moment, while its pods served on."""
    bench = RetentionPasses(HOLDER)
    deleted = Deleted(tags=victims, blobs=1)
    answer = msgspec.structs.replace(DONE, run=run, deleted=deleted, purge_due="2026-01-02T12:00:00Z")
    bench.finish(answer)  # a dry run would have deleted
    registry = bench.cluster.objects["Registry", "main"]
    bench.registries.remove(registry)
    await bench.reconciler.look(KEY)
    assert bench.lock.holder is None
    assert bench.lock.rescue == (Rescue("keep-last", NOON, NOON) if victims and run else None)
    assert bench.lock.purge_due == NOON + timedelta(days=1)


async def test_a_run_on_the_volume_of_a_former_registry_is_not_ended_as_that_ones() -> None:
    holder = replace(HOLDER, stage=Stage.PREPARING, quiet=None, quiet_since=None)
    bench = RetentionPasses(holder, pod=a_pod(None, phase="Running", running={}))
    bench.put(bench.job(suspend=False))
    former = lease(bench.lock, claim=CLAIM, namespace=KEY.namespace, registry="former")
    bench.put(former)
    await bench.reconciler.look(KEY)
    assert bench.lock.holder is not None
    assert bench.lock.holder.stage is Stage.PLANNING
    await bench.reconciler.look(Key(KEY.namespace, "former"))
    assert bench.is_held()


@pytest.mark.parametrize("stage", [Stage.PLANNING, Stage.SWITCHING])
async def test_a_run_of_another_registry_that_has_the_volume_is_not_ended_by_one_that_asks_for_it_too(
    stage: Stage,
) -> None:
    """Its Job is not among those of the second Registry, which is told that the volume is taken, and has policies."""
    bench = RetentionPasses(HOLDER)
    bench.put(bench.job(suspend=True))
    others = replace(HOLDER, uid="others-uid", job="others", retention="others", stage=stage)
    bench.put(lease(Lock(holder=others), claim=CLAIM, namespace=KEY.namespace, registry="first"))
    await bench.reconciler.look(KEY)
    assert bench.lock.holder is not None
    assert (bench.lock.holder.uid, bench.lock.holder.stage) == ("others-uid", stage)
    queued = {each["type"]: each["message"] for each in bench.status["conditions"]}["Reconciling"]
    assert queued == "Job job waits: Job others of Registry first has the volume."
    bench.put(lease(Lock(), claim=CLAIM, namespace=KEY.namespace, registry="first"))
    await bench.reconciler.look(KEY)
    assert bench.stage() is Stage.PLANNING


LABELS = (naming.REGISTRY_LABEL, naming.RETENTION_LABEL)


@pytest.mark.parametrize("lost", [LABELS[:1], LABELS[1:], LABELS])
async def test_a_lock_that_lost_its_labels_is_found_again_with_its_holder(lost: tuple[str, ...]) -> None:
    bench = RetentionPasses(HOLDER, pod=a_pod(None, phase="Running", running={}))
    stripped = lease(bench.lock, claim=CLAIM, namespace=KEY.namespace, registry=KEY.name)
    stripped["metadata"]["managedFields"] = [{"manager": naming.FIELD_MANAGER, "operation": "Update"}]
    for label in lost:
        del stripped["metadata"]["labels"][label]
    bench.store.remove(bench.cluster.put(stripped))  # the watch says that it is gone
    assert bench.reconciler.holder(KEY, CLAIM) is None
    with pytest.raises(kube.ConflictError):
        await bench.reconciler.look(KEY)
    await bench.reconciler.look(KEY)
    holder = bench.reconciler.holder(KEY, CLAIM)
    assert holder is not None
    assert (holder.uid, holder.stage, holder.quiet, bool(holder.aborted)) == (
        HOLDER.uid,
        Stage.RUNNING,
        Quiet.READ_ONLY,
        False,
    )


async def test_a_strangers_lease_is_not_labelled_but_named() -> None:
    bench = RetentionPasses(HOLDER, pod=a_pod(None, phase="Running", running={}))
    theirs = lease(Lock(), claim=CLAIM, namespace=KEY.namespace, registry=KEY.name)
    theirs["metadata"] |= {"labels": {}, "managedFields": [{"manager": "kubectl-create", "operation": "Update"}]}
    bench.store.remove(bench.cluster.put(theirs))
    with pytest.raises(BlockedError, match=f"Lease {naming.lock_name(CLAIM)} exists and is not the operator's"):
        await bench.reconciler.look(KEY)
    assert bench.cluster.objects["Lease", naming.lock_name(CLAIM)]["metadata"]["labels"] == {}
