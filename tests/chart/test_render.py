"""What the chart renders for which values, and which values it refuses."""

import json
import re
import socket
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import yaml

from regkeeper.resources.node_agent import AGENT_PORT
from regkeeper.settings import FurtherKind, Settings
from tests.helm import CHART, NAMESPACE, Object, helm, only, render
from tests.install_manifest import install_manifest

ROOT = CHART.parent.parent
RULE = {"namespaces": ["default"], "nodes": ["k8smaster"], "path": "/docker/var/lib/registry"}
KIND = {"group": "argoproj.io", "version": "v1alpha1", "resource": "rollouts", "path": "spec.template.spec"}
DIGEST = "sha256:" + "a" * 64

EVERYTHING: dict[str, Any] = {
    "image": {"repository": "registry.example.com/regkeeper", "digest": DIGEST, "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "pull"}],
    "registryImage": "registry:2.8",
    "watchNamespaces": ["one", "two"],
    "localStorage": [RULE],
    "inUse": {"furtherKinds": [KIND]},
    "trust": {
        "namespaces": ["one"],
        "hosts": ["registry.example:5000"],
        "applyPendingEdits": True,
        "imagePullSecrets": [{"name": "pull"}],
        "localRegistryHosting": "one/main",
    },
    "resyncSeconds": 60,
    "concurrency": 4,
    "log": {"format": "text", "level": "debug"},
    "resources": {"limits": {"memory": "1Gi", "cpu": 1}},
    "podAnnotations": {"a": "b"},
    "podLabels": {"c": "d"},
    "nodeSelector": {"e": "f"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "system-cluster-critical",
    "crds": {"install": False},
    "rbac": {"aggregate": False},
    "metrics": {"serviceMonitor": {"enabled": True, "interval": "1m", "labels": {"release": "prometheus"}}},
}


def operator_container(objects: list[Object]) -> Object:
    deployment = only(objects, "Deployment", "regkeeper")
    container: Object = deployment["spec"]["template"]["spec"]["containers"][0]
    return container


def environment(objects: list[Object]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in operator_container(objects)["env"] if "value" in entry}


@pytest.mark.parametrize("version", [3, 4])
def test_lints(version: Any) -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", CHART, version=version).stdout


def test_helm_3_and_4_render_the_same() -> None:
    assert render(EVERYTHING, version=3) == render(EVERYTHING)


def test_an_older_cluster_is_refused() -> None:
    refused = helm("template", CHART, "--kube-version", "1.35.0", check=False)
    assert refused.returncode != 0
    assert "kubeVersion: >=1.36.0-0" in refused.stderr


def test_a_vendors_version_is_not_refused() -> None:
    assert helm("template", CHART, "--kube-version", "v1.36.3-gke.1").returncode == 0


def test_the_version_is_the_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == project["version"]


def test_the_operator_can_parse_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(render(EVERYTHING)).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.watch_namespaces == ("one", "two")
    assert [rule.model_dump(mode="json") for rule in settings.local_storage] == [RULE]
    assert (settings.registry_image, settings.image) == ("registry:2.8", f"registry.example.com/regkeeper@{DIGEST}")
    assert (settings.resync_seconds, settings.concurrency) == (60, 4)
    assert (settings.log_format, settings.log_level) == ("text", "debug")
    trust = settings.trust
    assert (trust.namespaces, trust.hosts) == (("one",), ("registry.example:5000",))
    assert (trust.apply_pending_edits, trust.local_registry_hosting) == (True, "one/main")
    assert trust.image_pull_secrets == ({"name": "pull"},)


def test_the_default_environment_is_the_default_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = Settings()
    for name, value in environment(render()).items():
        monkeypatch.setenv(name, value)
    assert Settings() == defaults.model_copy(update={"image": "regkeeper:0.1.0"})


def test_every_setting_is_set_by_the_chart() -> None:
    names = {entry["name"] for entry in operator_container(render())["env"]}
    assert names == {f"REGKEEPER_{field.upper()}" for field in Settings.model_fields}


def test_probes_and_ports_are_the_settings() -> None:
    container = operator_container(render())
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    defaults = Settings()
    assert ports == {"probes": defaults.probe_port, "metrics": defaults.metrics_port}
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "probes"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "probes"}


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ({}, "regkeeper:0.1.0"),
        ({"tag": "dev"}, "regkeeper:dev"),
        ({"repository": "host:5000/regkeeper", "tag": "v1", "digest": DIGEST}, f"host:5000/regkeeper@{DIGEST}"),
    ],
)
def test_the_image_goes_by_digest_or_tag(image: dict[str, str], reference: str) -> None:
    objects = render({"image": image})
    job = only(objects, "Job", "regkeeper-uninstall")
    assert operator_container(objects)["image"] == reference
    assert job["spec"]["template"]["spec"]["containers"][0]["image"] == reference


def test_crds_are_kept_and_optional() -> None:
    definitions = [body for body in render() if body["kind"] == "CustomResourceDefinition"]
    assert "registries.regkeeper.dev" in [body["metadata"]["name"] for body in definitions]
    assert all(body["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for body in definitions)
    assert not [body for body in render({"crds": {"install": False}}) if body["kind"] == "CustomResourceDefinition"]


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


def test_a_service_monitor_only_if_asked_for() -> None:
    monitor = only(render(EVERYTHING), "ServiceMonitor", "regkeeper")
    service = only(render(EVERYTHING), "Service", "regkeeper-metrics")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert not [body for body in render() if body["kind"] == "ServiceMonitor"]


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_every_pod_is_restricted(values: dict[str, Any]) -> None:
    """The API server has the last word, in tests/e2e/test_chart.py."""
    templates = [body["spec"]["template"]["spec"] for body in render(values) if body["kind"] in ("Deployment", "Job")]
    pods = [body["spec"] for body in render(values) if body["kind"] == "Pod"]
    assert len(templates) == 2
    assert len(pods) == 1
    for pod in [*templates, *pods]:
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert container["resources"]["limits"]["memory"]


def test_names_follow_the_release() -> None:
    names = {body["metadata"]["name"] for body in render(release="mine") if body["kind"] == "Deployment"}
    assert names == {"mine-regkeeper"}
    policy = only(render(release="mine"), "ValidatingAdmissionPolicy", "mine-regkeeper-workloads")
    assert policy["spec"]["matchConditions"][0]["expression"].endswith(
        "'system:serviceaccount:regkeeper-system:mine-regkeeper'"
    )


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("mine", "mine-regkeeper"),
        ("my-regkeeper", "my-regkeeper"),
        ("v1.2", "v1-2-regkeeper"),
        ("2nd", "regkeeper-2nd"),
        ("r" * 53, "r" * 50),
    ],
)
def test_every_name_is_one_that_a_service_may_have(release: str, name: str) -> None:
    objects = render(release=release)
    assert only(objects, "Deployment", name)
    service = only(objects, "Service", f"{name}-metrics")
    assert re.fullmatch("[a-z]([-a-z0-9]{0,61}[a-z0-9])?", service["metadata"]["name"])


def test_every_pod_goes_where_the_values_say() -> None:
    templates = [body["spec"] for body in render(EVERYTHING) if body["kind"] == "Pod"]
    templates += [
        body["spec"]["template"]["spec"] for body in render(EVERYTHING) if body["kind"] in ("Deployment", "Job")
    ]
    assert len(templates) == 3
    for field in ("nodeSelector", "tolerations", "affinity", "priorityClassName"):
        assert [pod[field] for pod in templates] == [EVERYTHING[field]] * 3


def test_helm_test_reaches_an_operator_that_has_an_ipv6_address_only() -> None:
    pod = only(render(), "Pod", "regkeeper-test-ready")
    command = [sys.executable, *pod["spec"]["containers"][0]["command"][1:]]

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"regkeeper_queue_depth 0\n")

        def log_message(self, *_: object) -> None:
            pass

    class Server(HTTPServer):
        address_family = socket.AF_INET6

    with Server(("::1", 8081), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            environment = {"REGKEEPER_METRICS_SERVICE_HOST": "::1"}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        finally:
            server.shutdown()
            thread.join()
    assert done.returncode == 0, done.stderr
    assert "regkeeper_queue_depth" in done.stdout


@pytest.mark.parametrize("release", ["regkeeper", "mine"])
def test_the_agents_are_reached_by_the_operator_at_their_port_and_by_nobody_else(release: str) -> None:
    """nodes.md: "NetworkPolicy is a second wall"."""
    objects = render(EVERYTHING, release=release)
    (deployment,) = [body for body in objects if body["kind"] == "Deployment"]
    (policy,) = [body for body in objects if body["kind"] == "NetworkPolicy"]
    assert policy["metadata"]["namespace"] == Settings().trust.agents_namespace
    assert policy["spec"]["podSelector"] == {}
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policy["spec"], "they ask nobody"
    (rule,) = policy["spec"]["ingress"]
    assert rule["ports"] == [{"port": AGENT_PORT, "protocol": "TCP"}]
    (peer,) = rule["from"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": NAMESPACE}
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert peer["podSelector"]["matchLabels"].items() <= labels.items()
    (job,) = [body for body in objects if body["kind"] == "Job"]
    others = job["spec"]["template"]["metadata"].get("labels", {})
    assert not peer["podSelector"]["matchLabels"].items() <= others.items()


@pytest.mark.parametrize("release", ["regkeeper", "mine"])
def test_the_agents_have_a_namespace_of_their_own_that_admits_them(release: str) -> None:
    """nodes.md: "labelled `enforce: privileged`, nothing else in it"."""
    objects = render({**EVERYTHING, "watchNamespaces": []}, release=release)
    (namespace,) = [body for body in objects if body["kind"] == "Namespace"]
    name = namespace["metadata"]["name"]
    assert name == Settings().trust.agents_namespace != NAMESPACE
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"
    inside = {body["kind"] for body in objects if body["metadata"].get("namespace") == name}
    assert inside == {"Role", "RoleBinding", "NetworkPolicy"}, "no pod of ours but the agents"


def test_nodes_forget_before_an_uninstall_only_if_asked() -> None:
    assert not [body for body in render() if body["metadata"]["name"] == "regkeeper-revert"]
    kinds = [
        (body["kind"], body["metadata"]["annotations"]["helm.sh/hook"])
        for body in render({"trust": {"revertOnUninstall": True}})
        if body["metadata"]["name"] == "regkeeper-revert"
    ]
    assert sorted(kinds) == [(kind, "pre-delete") for kind in ("Job", "Role", "RoleBinding", "ServiceAccount")]


def test_each_policy_is_bound_and_fails_closed() -> None:
    objects = render(EVERYTHING)
    policies = [body for body in objects if body["kind"] == "ValidatingAdmissionPolicy"]
    bindings = [body for body in objects if body["kind"] == "ValidatingAdmissionPolicyBinding"]
    assert len(policies) == 8
    assert {body["metadata"]["name"] for body in policies} == {body["spec"]["policyName"] for body in bindings}
    assert all(body["spec"]["failurePolicy"] == "Fail" for body in policies)
    assert all(body["spec"]["validationActions"] == ["Deny"] for body in bindings)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"replicas": 2}, "'replicas' not allowed"),
        ({"image": {"tagg": "x"}}, "'tagg' not allowed"),
        ({"image": {"repository": "a b"}}, "/image/repository"),
        ({"image": {"digest": "sha256:1"}}, "/image/digest"),
        ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
        ({"imagePullSecrets": ["pull"]}, "/imagePullSecrets/0"),
        ({"watchNamespaces": "one"}, "/watchNamespaces"),
        ({"watchNamespaces": ["One"]}, "/watchNamespaces/0"),
        ({"localStorage": [{**RULE, "path": "docker"}]}, "/localStorage/0/path"),
        ({"localStorage": [{**RULE, "path": "/"}]}, "/localStorage/0/path"),
        ({"localStorage": [{**RULE, "path": "/a/../etc"}]}, "/localStorage/0/path"),
        ({"localStorage": [{**RULE, "path": "/a/.."}]}, "/localStorage/0/path"),
        ({"localStorage": [{**RULE, "path": "/a/./b"}]}, "/localStorage/0/path"),
        ({"localStorage": [{**RULE, "path": "/a//b"}]}, "/localStorage/0/path"),
        ({"localStorage": [{**RULE, "path": "/a/"}]}, "/localStorage/0/path"),
        ({"localStorage": [{**RULE, "path": "/a\nb"}]}, "/localStorage/0/path"),
        ({"localStorage": [{**RULE, "namespaces": []}]}, "/localStorage/0/namespaces"),
        ({"localStorage": [{**RULE, "namespaces": ["*"]}]}, "/localStorage/0/namespaces/0"),
        ({"localStorage": [{**RULE, "nodes": []}]}, "/localStorage/0/nodes"),
        ({"localStorage": [{"path": "/a"}]}, "/localStorage/0"),
        ({"inUse": {"furtherKinds": [{**KIND, "path": "spec..image"}]}}, "/inUse/furtherKinds/0/path"),
        ({"inUse": {"furtherKinds": [{**KIND, "resource": "*"}]}}, "/inUse/furtherKinds/0/resource"),
        ({"trust": {"localRegistryHosting": "main"}}, "/trust/localRegistryHosting"),
        ({"trust": {"localRegistryHosting": "other/main"}}, "other/main is in none of trust.namespaces"),
        ({"resyncSeconds": 0}, "/resyncSeconds"),
        ({"concurrency": 65}, "/concurrency"),
        ({"log": {"level": "loud"}}, "/log/level"),
        ({"podLabels": {"a": 1}}, "/podLabels/a"),
        ({"podLabels": {"app.kubernetes.io/name": "mine"}}, "invalid propertyName 'app.kubernetes.io/name'"),
        (
            {"metrics": {"serviceMonitor": {"labels": {"helm.sh/chart": "mine"}}}},
            "invalid propertyName 'helm.sh/chart'",
        ),
        ({"metrics": {"serviceMonitor": {"interval": "often"}}}, "/metrics/serviceMonitor/interval"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_the_schema_refuses(values: dict[str, Any], message: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        render(values)
    assert message in refused.value.__notes__[0]


def test_a_directory_inside_another_is_refused() -> None:
    inside = {"localStorage": [{**RULE, "path": "/srv/a"}, {**RULE, "path": "/srv/a/b", "namespaces": ["other"]}]}
    with pytest.raises(subprocess.CalledProcessError) as refused:
        render(inside)
    assert "on node k8smaster, /srv/a/b lies inside /srv/a" in refused.value.__notes__[0]
    # On another node nobody can plant a link into it.
    render({"localStorage": [{**RULE, "path": "/srv/a"}, {**RULE, "path": "/srv/a/b", "nodes": ["k8sworker1"]}]})
    # The same directory for another namespace, and a name that only begins alike, are fine.
    render({"localStorage": [{**RULE, "path": path} for path in ("/srv/a", "/srv/ab", "/srv/a")]})


def test_odd_paths_are_quoted_in_the_policy() -> None:
    path = '/srv/it\'s "odd" \\ {{ .Values }} <&> ümlaut'
    policy = only(
        render({"localStorage": [{**RULE, "path": path}]}), "ValidatingAdmissionPolicy", "regkeeper-persistentvolumes"
    )
    expression = policy["spec"]["validations"][2]["expression"]
    quoted = expression.partition("object.spec.local.path == ")[2].partition(" && ")[0]
    assert json.loads(quoted) == path


def test_install_yaml_is_what_the_chart_renders() -> None:
    assert (ROOT / "deploy" / "install.yaml").read_text() == install_manifest(), "run `make generate`"
