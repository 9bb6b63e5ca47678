"""Specs that can't work: refused at apply, or a condition of their own Registry; the operator goes on beside them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from regkeeper import naming
from regkeeper.kube.resources import CLAIM, DEPLOYMENT, REGISTRY
from tests.chart_account import operator_account
from tests.cluster import Cluster
from tests.cluster.api import ApiError
from tests.e2e.valid_specs import ENVIRONMENT, OPTIONS, SINGLE
from tests.operator_process import OperatorProcess, a_namespace, operator_process
from tests.registry_objects import registry_object
from tests.room import SOON, Room
from tests.waiting import wait_for

pytestmark = [pytest.mark.control_plane, pytest.mark.xdist_group("operator-invalid")]


@pytest.fixture(scope="module")
def room(control_plane: Cluster) -> Iterator[Room]:
    with a_namespace(control_plane, "invalid") as namespace:
        yield Room(control_plane, namespace)


@pytest.fixture(scope="module")
def operator(room: Room, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """An operator of this namespace alone, under the chart's own account."""
    directory = tmp_path_factory.mktemp("operator")
    values = {"watchNamespaces": [room.namespace]}
    kubeconfig = directory / "kubeconfig"
    environment = {"REGKEEPER_WATCH_NAMESPACES": json.dumps([room.namespace])}
    with (
        operator_account(room.cluster, kubeconfig, values, release="invalid"),
        operator_process(kubeconfig, directory, environment) as running,
    ):
        yield running


FROM_ELSEWHERE = {"valueFrom": {"secretKeyRef": {"name": "mine", "key": "k"}}}


@pytest.mark.parametrize(
    ("name", "spec", "message"),
    [
        (
            "cache",
            {"extraEnv": [{"name": "REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR", "value": "inmemory"}]},
            "spec.extraEnv REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR would change storage.cache of config.yml",
        ),
        (
            "address",
            {"extraEnv": [{"name": "REGISTRY_HTTP_ADDR", **FROM_ELSEWHERE}]},
            "spec.extraEnv REGISTRY_HTTP_ADDR sets http.addr of config.yml to a value that regkeeper can't see",
        ),
        (
            "secret",
            {"config": {"notifications": {"endpoints": [{"name": "a", "headers": {"Authorization": ["Bearer s"]}}]}}},
            "is a secret and would stand in a ConfigMap",
        ),
        (
            "affinity",
            {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}},
            "nodeSelectorTerms",
        ),
        ("typo", {"affinity": {"nodeAffinty": {}}}, "nodeAffinty: field not declared in schema"),
        ("annotation", {"podAnnotations": {"not a key": "a"}}, "not a key"),
    ],
)
def test_what_can_not_work_is_a_condition_with_the_field(
    room: Room, operator: OperatorProcess, name: str, spec: dict[str, Any], message: str
) -> None:
    """registry.md: "The check runs on the **effective** configuration, `REGISTRY_*` of `extraEnv` included …; a
    protected one with `valueFrom` is refused"; "Known secret keys in `config` are refused". The API server refuses the
    last three, and its words are passed on.
    """
    room.registry(name, **spec)
    stalled = wait_for(lambda: room.condition("Stalled", name), SOON, lambda: f"{room.status('invalid')}")
    assert message in stalled["message"]
    assert "Bearer s" not in json.dumps(room.status(name))
    assert room.condition("Ready", name)["status"] == "False"
    assert room.get("deployment", name) is None
    room.delete("registry", name)


def test_text_that_yaml_writes_otherwise_than_json_arrives(room: Room, operator: OperatorProcess) -> None:
    """A server-side apply is YAML: it forbids DEL, takes NEL for a line break and knows no pairs of surrogates."""
    text = 'a\x7f\x80\x85\u2028\u2029\ufeff\N{WHALE}\\ud83d \n\t"b'
    # Not applied, which is YAML for kubectl too.
    odd = registry_object("odd", namespace=room.namespace, storage={"ephemeral": {}}, podAnnotations={"odd": text})
    room.cluster.api().create(odd)
    deployment = wait_for(lambda: room.get("deployment", "odd"), SOON, lambda: f"{room.status('odd')}")
    assert deployment is not None
    assert deployment["spec"]["template"]["metadata"]["annotations"]["odd"] == text
    room.delete("registry", "odd")


HOPELESS = {"storage": {"ephemeral": {}}, "extraEnv": [{"name": "REGISTRY_HTTP_ADDR", "value": ":1"}]}
"""The API server takes it, the operator does not."""

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["-1", "..", "${x}", "/", "a=b"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
FIELDS = st.sampled_from(["storage", "replicas", "no-such-field", *OPTIONS])
PROTECTED = st.sampled_from(
    ["REGISTRY_STORAGE", "REGISTRY_HTTP_ADDR", "REGISTRY_STORAGE_DELETE_ENABLED", "REGISTRY_HTTP_HEADERS"]
)
VARIABLES = st.lists(
    st.builds(lambda name, value: {"name": name, "value": value}, PROTECTED, st.text(max_size=5)),
    max_size=2,
    unique_by=lambda variable: variable["name"],
)


ODD = st.dictionaries(st.text(max_size=5), JUNK, max_size=2)
OPEN_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "affinity": ODD,
    "tolerations": st.lists(ODD, max_size=2),
    "topologySpreadConstraints": st.just([{"maxSkew": 0, "topologyKey": "", "whenUnsatisfiable": "Never"}]),
    "resources": st.builds(lambda odd: {"limits": {"memory": "-1"}, **odd}, ODD),
    "nodeSelector": st.dictionaries(st.text(max_size=5), st.just("a"), max_size=2),
    "podLabels": st.dictionaries(st.text(max_size=5), st.just("a"), max_size=2),
    "podAnnotations": st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
    "extraEnv": st.builds(lambda odd: [{"name": "=", "valueFrom": odd}], ODD),
    "image": st.sampled_from(["UPPER", "a:b:c", "@", "..", "\x7f"]),
    "config": ODD | st.builds(lambda junk: {"http": {"headers": junk}, "storage": junk}, ODD),
}
"""Fields whose contents the CRD leaves to Kubernetes and to the operator, with contents that neither can use."""


@st.composite
def damaged_specs(draw: st.DrawFn) -> dict[str, Any]:
    """A spec of which one field holds what it should not; now and then it happens to be right."""
    spec = draw(st.fixed_dictionaries({"storage": SINGLE}, optional={**OPTIONS, "replicas": st.integers(-1, 3)}))
    if draw(st.booleans()):
        spec["extraEnv"] = draw(ENVIRONMENT) + draw(VARIABLES)
    if draw(st.booleans()):
        field = draw(st.sampled_from(sorted(OPEN_FIELDS)))
        return {**spec, field: draw(OPEN_FIELDS[field])}
    field = draw(FIELDS)
    inner = spec.get(field)
    if isinstance(inner, dict) and inner and draw(st.booleans()):
        spec[field] = {**inner, draw(st.sampled_from(sorted(inner))): draw(JUNK)}
    else:
        spec[field] = draw(JUNK)
    return spec


def accepted(room: Room, specs: list[dict[str, Any]]) -> list[str]:
    """Names of the Registries that the API server took; it says what is wrong with the others."""
    bodies = [
        registry_object(f"random-{number}", namespace=room.namespace, **spec) for number, spec in enumerate(specs)
    ]
    for body in bodies:
        try:
            room.cluster.api().create(body, strict=False)
        except ApiError as error:
            if error.status not in (400, 422):
                raise
    return [body["metadata"]["name"] for body in room.listed(REGISTRY)]


# Not shrunk: each example is a minute of an API server's work where it fails.
@settings(
    max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
@given(specs=st.lists(damaged_specs(), min_size=10, max_size=20))
def test_random_specs_are_refused_or_get_a_condition_and_delay_nobody(
    room: Room, operator: OperatorProcess, specs: list[dict[str, Any]]
) -> None:
    """Issue 3: "Random invalid ones: refused at apply, or a condition; the operator never crash-loops and one bad
    object never delays another".
    """
    try:
        names = accepted(room, [HOPELESS, *specs])
        assert "random-0" in names
        for name in names:
            wait_for(lambda name=name: room.condition("Ready", name), SOON, f"a condition of {name}")  # type: ignore[misc]
        room.registry("good")
        wait_for(lambda: room.get("deployment", "good"), SOON, "the Deployment of a good one")
        assert operator.process.poll() is None
        assert operator.probe("/livez") == (200, "ok")
        assert not [line for line in operator.log_lines() if "unexpected" in line["message"]]
    finally:
        clear(room)


def clear(room: Room) -> None:
    """Delete the Registries; the operator takes its finalizers off."""
    room.clear(REGISTRY)
    wait_for(lambda: not room.listed(DEPLOYMENT), SOON, "the Deployments to go")
    room.cluster.api().delete(f"{CLAIM.path(room.namespace)}?labelSelector={naming.REGISTRY_LABEL}")
