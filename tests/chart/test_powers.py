"""Which rights the operator gets for which values, and what confines them."""

import json
from typing import Any

import pytest

from regkeeper.settings import FurtherKind, Settings
from tests.chart.values import EVERYTHING, KIND, RULE, environment
from tests.helm import Object, only, render


def roles_of_registries(objects: list[Object]) -> list[Object]:
    """All but the one over the node agents, which no value moves or removes."""
    (agents,) = (body for body in objects if body["kind"] == "Role" and body["metadata"]["name"].endswith("-agents"))
    assert agents["metadata"]["namespace"] == "regkeeper-nodes"
    return [body for body in objects if body["kind"] == "Role" and body is not agents]


def test_watched_namespaces_get_roles_and_no_cluster_role_for_their_objects() -> None:
    everywhere, limited = render(), render({"watchNamespaces": ["one", "two"]})
    roles = roles_of_registries(limited)
    assert not roles_of_registries(everywhere)
    assert {(body["metadata"]["namespace"], body["metadata"]["name"]) for body in roles} == {
        (namespace, name) for namespace in ("one", "two") for name in ("regkeeper", "regkeeper-uninstall")
    }
    rules = only(limited, "ClusterRole", "regkeeper")["rules"]
    workloads = {name for rule in rules if rule["verbs"] == ["list"] for name in rule["resources"]}
    resources = {name for rule in rules for name in rule["resources"]}
    assert resources - workloads == {"nodes", "namespaces", "storageclasses", "persistentvolumes"}
    assert {"pods", "deployments", "cronjobs"} <= workloads, "what is in use is asked of the whole cluster"
    assert "regkeeper-uninstall" not in {body["metadata"]["name"] for body in limited if body["kind"] == "ClusterRole"}


def test_names_that_yaml_takes_for_something_else_stay_names() -> None:
    roles = roles_of_registries(render({"watchNamespaces": ["123", "on", "null"]}))
    assert {body["metadata"]["namespace"] for body in roles} == {"123", "on", "null"}


def test_volumes_are_made_only_where_a_directory_is_allowed() -> None:
    def verbs(objects: list[Object]) -> set[str]:
        rules = only(objects, "ClusterRole", "regkeeper")["rules"]
        return {verb for rule in rules if "persistentvolumes" in rule["resources"] for verb in rule["verbs"]}

    assert verbs(render()) == {"get", "delete"}
    assert verbs(render({"localStorage": [RULE]})) == {"get", "patch", "delete", "create", "list", "watch"}


@pytest.mark.parametrize("blank", [{"trust": {"localRegistryHosting": None}}, {"inUse": {"furtherKinds": None}}])
def test_a_value_that_is_left_blank_gives_no_more_than_its_default(blank: dict[str, Any]) -> None:
    def powers(objects: list[Object]) -> list[Object]:
        return [body for body in objects if body["kind"] in ("Role", "ClusterRole", "ValidatingAdmissionPolicy")]

    assert powers(render(blank)) == powers(render())


def test_a_further_kind_that_uses_images_may_be_listed_and_no_more() -> None:
    objects = render({"inUse": {"furtherKinds": [KIND]}})
    rules = [rule for rule in only(objects, "ClusterRole", "regkeeper")["rules"] if "rollouts" in rule["resources"]]
    assert rules == [{"apiGroups": ["argoproj.io"], "resources": ["rollouts"], "verbs": ["list"]}]
    told = Settings(in_use=json.loads(environment(objects)["REGKEEPER_IN_USE"]))
    assert told.in_use.further_kinds == (FurtherKind(**KIND),)


def test_aggregation_is_a_value() -> None:
    def aggregated(values: dict[str, Any], role: str) -> set[str]:
        labels = only(render(values), "ClusterRole", role)["metadata"]["labels"]
        return {name.rpartition("aggregate-to-")[2] for name in labels if "aggregate-to-" in name}

    assert aggregated({}, "regkeeper-view") == {"view", "edit", "admin"}
    assert aggregated({}, "regkeeper-edit") == {"edit", "admin"}
    assert aggregated({"rbac": {"aggregate": False}}, "regkeeper-view") == set()
    assert aggregated({"rbac": {"aggregate": False}}, "regkeeper-edit") == set()


def test_each_policy_is_bound_and_fails_closed() -> None:
    objects = render(EVERYTHING)
    policies = [body for body in objects if body["kind"] == "ValidatingAdmissionPolicy"]
    bindings = [body for body in objects if body["kind"] == "ValidatingAdmissionPolicyBinding"]
    assert len(policies) == 8
    assert {body["metadata"]["name"] for body in policies} == {body["spec"]["policyName"] for body in bindings}
    assert all(body["spec"]["failurePolicy"] == "Fail" for body in policies)
    assert all(body["spec"]["validationActions"] == ["Deny"] for body in bindings)


def test_odd_paths_are_quoted_in_the_policy() -> None:
    path = '/srv/it\'s "odd" \\ {{ .Values }} <&> ümlaut'
    policy = only(
        render({"localStorage": [{**RULE, "path": path}]}), "ValidatingAdmissionPolicy", "regkeeper-persistentvolumes"
    )
    expression = policy["spec"]["validations"][2]["expression"]
    quoted = expression.partition("object.spec.local.path == ")[2].partition(" && ")[0]
    assert json.loads(quoted) == path
