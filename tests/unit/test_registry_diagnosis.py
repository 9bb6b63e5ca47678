"""Why pods do not serve."""

from typing import Any

import pytest

from regkeeper.reconcile.registry.diagnosis import Problem, diagnose, secret_is_missing, worth_asking_about


def pod(name: str = "main-1", created: str = "2026-01-01T00:00:00Z", **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "creationTimestamp": created},
        "spec": {"nodeName": "k8smaster"},
        "status": {"phase": "Pending", **status},
    }


def waiting(reason: str, message: str = "", **container: Any) -> dict[str, Any]:
    return {"name": "registry", "state": {"waiting": {"reason": reason, "message": message}}, **container}


def deployment(**condition: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "main", "namespace": "images"},
        "status": {"conditions": [condition] if condition else []},
    }


def event(reason: str, message: str, *, uid: str = "uid-main-1", at: str = "2026-01-01T00:00:00Z") -> dict[str, Any]:
    return {
        "type": "Warning",
        "reason": reason,
        "message": message,
        "lastTimestamp": at,
        "involvedObject": {"uid": uid},
    }


def reason_of(problem: Problem | None) -> str | None:
    return None if problem is None else problem.reason


def test_a_pod_that_merely_starts_is_no_problem() -> None:
    assert diagnose(deployment(), [pod(containerStatuses=[waiting("ContainerCreating")])], []) is None


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff"])
def test_an_image_that_cannot_be_pulled_has_one_name(reason: str) -> None:
    problem = diagnose(None, [pod(containerStatuses=[waiting(reason, "not found")])], [])
    assert problem == Problem("ImagePullBackOff", "pod main-1, container registry: not found")


def test_a_crash_tells_how_it_ended_in_both_of_its_phases() -> None:
    ended = {"terminated": {"exitCode": 1, "reason": "Error", "message": "panic: bad config\n"}}
    back_off = pod(containerStatuses=[waiting("CrashLoopBackOff", "back-off 10s", lastState=ended)])
    just_now = pod(containerStatuses=[{"name": "registry", "state": ended}])
    for crashed in (back_off, just_now):
        problem = diagnose(None, [crashed], [])
        assert problem is not None
        assert problem.reason == "CrashLoopBackOff"
        assert "exit code 1: panic: bad config" in problem.message


def test_the_volume_check_speaks_for_the_storage() -> None:
    ended = {"terminated": {"exitCode": 1, "message": "/var/lib/registry is owned by 0:0: chown -R 65532:65532\n"}}
    problem = diagnose(
        None, [pod(initContainerStatuses=[{"name": "check-volume", "lastState": ended, "state": {}}])], []
    )
    assert problem == Problem(
        "VolumeNotWritable", "/var/lib/registry is owned by 0:0: chown -R 65532:65532", storage=True
    )


def test_a_volume_check_that_passed_at_last_is_forgotten() -> None:
    failed = {"terminated": {"exitCode": 1, "message": "no"}}
    passed = {"terminated": {"exitCode": 0}}
    check = {"name": "check-volume", "lastState": failed, "state": passed, "ready": True}
    assert diagnose(None, [pod(initContainerStatuses=[check])], []) is None


def test_an_unschedulable_pod_says_why() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"}
    assert diagnose(None, [pod(conditions=[condition])], []) == Problem("Unschedulable", "pod main-1: 0/2 nodes")


@pytest.mark.parametrize(
    ("reason", "storage"),
    [("FailedMount", True), ("FailedAttachVolume", True), ("FailedCreatePodSandBox", False)],
)
def test_what_only_events_tell_is_taken_from_them(reason: str, storage: bool) -> None:
    problem = diagnose(None, [pod()], [event(reason, "it is so ")])
    assert problem == Problem(reason, "pod main-1 on node k8smaster: it is so", storage=storage)


RUNNING: dict[str, Any] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}


def test_a_pod_that_runs_and_is_not_ready_says_why() -> None:
    refused = event("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503")
    problem = diagnose(None, [pod(**RUNNING)], [refused, event("FailedScheduling", "once", at="2026-02-01T00:00:00Z")])
    text = "Readiness probe failed: HTTP probe failed with statuscode: 503"
    assert problem == Problem("Unhealthy", f"pod main-1 on node k8smaster: {text}")


@pytest.mark.parametrize(("count", "reason"), [(1, None), (4, None), (5, "Unhealthy")])
def test_the_first_questions_of_a_start_may_find_nobody(count: int, reason: str | None) -> None:
    asked = {**event("Unhealthy", "Startup probe failed: connection refused"), "count": count}
    assert reason_of(diagnose(None, [pod(**RUNNING)], [asked])) == reason


def test_a_node_that_is_lost_is_named() -> None:
    lost = event("NodeNotReady", "Node is not ready")
    assert reason_of(diagnose(None, [pod(**RUNNING)], [lost])) == "NodeNotReady"
    unknown = pod(phase="Running", conditions=[{"type": "Ready", "status": "Unknown"}])
    problem = diagnose(None, [unknown], [])
    assert problem == Problem("NodeLost", "pod main-1 on node k8smaster: its node does not answer")


def test_a_pod_that_nobody_ends_is_named_where_no_other_lives() -> None:
    lost, refused = event("NodeNotReady", "Node is not ready"), event("Unhealthy", "it ends")
    ending = pod(**RUNNING)
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert reason_of(diagnose(deployment(), [ending], [lost, refused])) == "NodeNotReady"
    assert reason_of(diagnose(deployment(), [ending], [refused])) is None
    assert reason_of(diagnose(deployment(), [ending, pod("new")], [lost])) is None


def test_the_latest_event_of_this_pod_counts() -> None:
    events = [
        event("FailedMount", "new", at="2026-01-01T00:00:09Z"),
        event("FailedMount", "old"),
        event("FailedMount", "of another", uid="other", at="2026-01-01T00:00:10Z"),
    ]
    problem = diagnose(None, [pod()], events)
    assert problem is not None
    assert problem.message == "pod main-1 on node k8smaster: new"


def test_of_the_events_of_one_second_the_last_counts() -> None:
    """The volume came after half a second, and then there was no network, which kubelet says only once."""
    events = [
        event("FailedMount", "failed to sync configmap cache"),
        event("FailedCreatePodSandBox", "failed to find plugin"),
        event("SandboxChanged", "it will be killed and re-created", at="2026-01-01T00:01:00Z"),
    ]
    assert reason_of(diagnose(None, [pod()], events)) == "FailedCreatePodSandBox"
    another = {**event("FailedAttachVolume", "not yet"), "lastTimestamp": None, "eventTime": "2026-01-01T00:00:00.9Z"}
    assert reason_of(diagnose(None, [pod()], [another, *events])) == "FailedCreatePodSandBox"
    assert reason_of(diagnose(None, [pod()], [*events, another])) == "FailedAttachVolume"


def test_what_the_scheduler_said_is_over_once_a_pod_has_its_node() -> None:
    """Else a claim that was bound after the pod was made would be blamed while its volume is attached."""
    events = [event("FailedScheduling", "pod has unbound immediate PersistentVolumeClaims")]
    assert diagnose(None, [pod()], events) is None
    nowhere = {**pod(), "spec": {}}
    assert reason_of(diagnose(None, [nowhere], events)) == "Unschedulable"


@pytest.mark.parametrize("sign", ["Pulling", "Pulled", "Created", "Started"])
def test_what_kept_a_pod_from_its_start_is_over_once_kubelet_goes_on(sign: str) -> None:
    """Else a Registry whose image takes minutes to pull would blame its volume for them."""
    events = [event("FailedMount", "once"), event(sign, "goes on")]
    assert diagnose(None, [pod()], events) is None
    again = event("FailedCreatePodSandBox", "later", at="2026-01-01T00:00:01Z")
    assert reason_of(diagnose(None, [pod()], [*events, again])) == "FailedCreatePodSandBox"


def test_events_of_a_pod_that_is_ready_by_now_are_history() -> None:
    ready = pod(phase="Running", conditions=[{"type": "Ready", "status": "True"}])
    assert diagnose(None, [ready], [event("FailedMount", "once")]) is None


def test_a_pod_that_was_evicted_speaks_only_where_none_is_in_its_place() -> None:
    evicted = pod("main-0", phase="Failed", reason="Evicted", message="The node was low on resource")
    starts = pod("main-1", "2026-01-01T00:00:09Z")
    assert reason_of(diagnose(deployment(), [evicted], [])) == "Evicted"
    assert diagnose(deployment(), [evicted, starts], []) is None
    assert reason_of(diagnose(deployment(), [evicted, starts], [event("FailedMount", "no disk")])) == "FailedMount"


def test_events_of_a_pod_that_has_ended_are_asked_for_only_where_none_is_in_its_place() -> None:
    """Each peek lists them, and hundreds that were evicted stay listed."""
    evicted = pod("main-0", phase="Failed", reason="Evicted")
    starts, serves = pod(), pod("main-2", phase="Running", conditions=[{"type": "Ready", "status": "True"}])
    assert worth_asking_about([evicted, starts, serves]) == [starts]
    assert worth_asking_about([evicted]) == [evicted]


def test_the_newest_pod_speaks_first_and_one_that_goes_not_at_all() -> None:
    old = pod("old", containerStatuses=[waiting("ErrImagePull")])
    new = pod("new", "2026-01-02T00:00:00Z", containerStatuses=[waiting("CreateContainerConfigError")])
    assert reason_of(diagnose(None, [old, new], [])) == "CreateContainerConfigError"
    new["metadata"]["deletionTimestamp"] = "2026-01-03T00:00:00Z"
    assert reason_of(diagnose(None, [old, new], [])) == "ImagePullBackOff"


@pytest.mark.parametrize(
    ("message", "reason", "remedy"),
    [
        ('pods "main" is forbidden: exceeded quota: q, requested: pods=1', "QuotaExceeded", "exceeded quota: q"),
        ("webhook denied it", "PodsRefused", "webhook denied it"),
        (
            'pods "main" is forbidden: violates PodSecurity "restricted:latest": hostPort',
            "PodSecurity",
            "kubectl label --overwrite namespace images pod-security.kubernetes.io/enforce=privileged",
        ),
    ],
)
def test_pods_that_are_refused_have_their_reason(message: str, reason: str, remedy: str) -> None:
    refused = deployment(type="ReplicaFailure", status="True", reason="FailedCreate", message=message)
    problem = diagnose(refused, [], [])
    assert problem is not None
    assert problem.reason == reason
    assert remedy in problem.message


def test_pod_security_names_the_way_without() -> None:
    message = 'violates PodSecurity "baseline:latest"'
    problem = diagnose(deployment(type="ReplicaFailure", status="True", message=message), [], [])
    assert problem is not None
    assert "spec.access.nodePort works under `restricted`" in problem.message


def test_a_missing_secret_is_noticed_by_its_name_alone() -> None:
    stuck = pod(containerStatuses=[waiting("CreateContainerConfigError", 'secret "main-http-0f5e9a3c" not found')])
    assert secret_is_missing([stuck], "main-http-0f5e9a3c")
    assert not secret_is_missing([stuck], "main-http")
    assert not secret_is_missing([pod()], "main-http-0f5e9a3c")
