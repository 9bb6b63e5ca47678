"""An uninstall that has nodes forget everything first: how it is asked for, and how it is called off."""

from regkeeper import kube, naming
from regkeeper.reconcile import conditions
from regkeeper.reconcile.conditions import State


def is_asked(daemon_set: kube.Object) -> bool:
    """Whether the agents' DaemonSet has the annotation that an uninstall puts there."""
    annotations = daemon_set["metadata"].get("annotations") or {}
    return bool(annotations.get(naming.REVERT_ANNOTATION) == "true")


def remedy(agents_namespace: str) -> str:
    """How to call it off."""
    return (
        f"to go on instead, kubectl annotate daemonset {naming.NODE_AGENT} -n {agents_namespace} "
        f"{naming.REVERT_ANNOTATION}-, or restart the operator once there is no such DaemonSet"
    )


def state(agents_namespace: str) -> State:
    """What a Registry's condition says meanwhile."""
    said = f"nodes forget every Registry, as regkeeper is about to go; {remedy(agents_namespace)}"
    return conditions.false("Uninstalling", said)
