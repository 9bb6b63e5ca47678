"""docs/rbac.md and the chart say the same."""

from tests.helm import CHART, only, render

DOCUMENT = CHART.parent.parent / "docs" / "rbac.md"
LOCAL = {"localStorage": [{"namespaces": ["default"], "nodes": ["worker"], "path": "/a"}]}

Right = tuple[str, str, str]
"""API group, resource, verb."""


def documented(scope: str) -> set[Right]:
    rights = set()
    for line in DOCUMENT.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[0] == scope:
            _, group, resource, verbs, reason = cells
            assert reason, f"{resource}: the table must say what the right is for"
            rights |= {
                ("" if group == "core" else group, each, verb)
                for each in resource.split(", ")
                for verb in verbs.split(", ")
            }
    return rights


def granted(role: dict[str, list[dict[str, list[str]]]]) -> set[Right]:
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_the_table_is_what_the_chart_grants() -> None:
    assert granted(only(render(), "ClusterRole", "regkeeper")) == documented("watched") | documented("cluster")


def test_the_table_is_what_the_chart_grants_with_local_storage() -> None:
    rights = documented("watched") | documented("cluster") | documented("cluster, localStorage")
    assert granted(only(render(LOCAL), "ClusterRole", "regkeeper")) == rights


def test_the_table_is_what_the_chart_grants_in_watched_namespaces() -> None:
    objects = render({"watchNamespaces": ["one"]})
    assert granted(only(objects, "ClusterRole", "regkeeper")) == documented("cluster")
    assert granted(only(objects, "Role", "regkeeper")) == documented("watched")


def test_the_table_is_what_the_chart_grants_over_the_node_agents() -> None:
    assert granted(only(render(), "Role", "regkeeper-agents")) == documented("agents")


def test_the_table_is_what_the_chart_grants_in_kube_public() -> None:
    objects = render({"trust": {"localRegistryHosting": "default/main"}})
    role = only(objects, "Role", "regkeeper-hosting")
    assert role["metadata"]["namespace"] == "kube-public"
    assert granted(role) == documented("hosting")
    for rule in role["rules"]:
        assert rule["verbs"] == ["create"] or rule["resourceNames"] == ["local-registry-hosting"]
    (binding,) = [body for body in objects if body["kind"] == "RoleBinding" and "hosting" in body["metadata"]["name"]]
    assert binding["subjects"] == only(objects, "RoleBinding", "regkeeper-agents")["subjects"]


def test_secrets_of_the_agents_are_read_by_name_only() -> None:
    rules = only(render(), "Role", "regkeeper-agents")["rules"]
    reading = [rule for rule in rules if "secrets" in rule["resources"] and rule["verbs"] != ["create"]]
    assert [rule["resourceNames"] for rule in reading] == [["regkeeper-node-agent-key"]]


def test_no_right_is_a_wildcard_and_no_secret_is_read() -> None:
    rights = granted(only(render(LOCAL), "ClusterRole", "regkeeper"))
    assert not [right for right in rights if "*" in right]
    assert {verb for _, resource, verb in rights if resource == "secrets"} == {"create"}
    assert not [resource for _, resource, _ in rights if resource.startswith("nodes/")]
