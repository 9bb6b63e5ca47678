"""What the chart's admission policies let the operator's service account make for a Registry, and what not."""

import copy
import json
from typing import Any

import pytest

from tests.cluster import Cluster
from tests.cluster.api import ApiError
from tests.cluster.commands import CommandError
from tests.e2e.asker import Asker
from tests.e2e.refused_objects import FIRST_OF_EACH_POLICY, OWNED, REFUSED, SECRET, Change
from tests.e2e.tenant import CLAIM, HOST_PORT, LOCAL, NODE_PORT, SETTINGS, SHARED, TENANT, built, registry
from tests.helm import Object
from tests.registry_objects import all_objects

pytestmark = pytest.mark.control_plane


@pytest.mark.parametrize("spec", [CLAIM, LOCAL, HOST_PORT, NODE_PORT, SHARED, {"storage": {"ephemeral": {}}}])
def test_what_the_operator_builds_is_admitted(confined: Asker, spec: dict[str, Any]) -> None:
    for body in [*all_objects(registry(spec), SETTINGS), SECRET]:
        confined.ask(body)


@pytest.mark.parametrize(
    ("body", "change", "message"), REFUSED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_it_does_not_need_is_refused(confined: Asker, body: Object, change: Change, message: str) -> None:
    changed = copy.deepcopy(body)
    change(changed)
    with pytest.raises(ApiError, match=message):
        confined.ask(changed)


def test_others_are_not_held_to_it(confined: Asker, control_plane: Cluster) -> None:
    body, change, _ = FIRST_OF_EACH_POLICY[0]
    changed = copy.deepcopy(body)
    change(changed)
    control_plane.kubectl("apply", "--server-side", "--dry-run=server", "--filename=-", stdin=json.dumps(changed))


def test_a_foreign_object_is_neither_changed_nor_deleted(confined: Asker, control_plane: Cluster) -> None:
    ours = built(SHARED, "PodDisruptionBudget")
    foreign = {**ours, "metadata": {"name": "foreign", "namespace": TENANT}}
    control_plane.kubectl("apply", "--server-side", "--filename=-", stdin=json.dumps(foreign))
    with pytest.raises(CommandError, match=OWNED):
        confined.run("delete", "poddisruptionbudget", "foreign", "--namespace", TENANT)
    taken = {**ours, "metadata": {**ours["metadata"], "name": "foreign"}}
    with pytest.raises(ApiError, match=OWNED):
        confined.ask(taken)


@pytest.mark.parametrize("kind", ["PersistentVolume", "PersistentVolumeClaim"])
def test_what_lost_its_label_may_be_repaired_and_deleted(confined: Asker, control_plane: Cluster, kind: str) -> None:
    ours = built(LOCAL, kind)
    metadata = ours["metadata"]
    where = (kind, metadata["name"], *(("--namespace", TENANT) if "namespace" in metadata else ()))
    confined.run("apply", "--server-side", "--field-manager=regkeeper", "--filename=-", stdin=json.dumps(ours))
    control_plane.kubectl("label", *where, "regkeeper.dev/registry-", "regkeeper.dev/registry-namespace-")
    confined.ask(ours)
    confined.run("delete", *where, "--wait=false")
