"""Which values the chart refuses."""

import json
import subprocess
from typing import Any

import pytest

from tests.chart.values import KIND, RULE
from tests.helm import NAMESPACE, render


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
        ({"trust": {"agentsNamespace": NAMESPACE}}, "regkeeper-system holds other things"),
        ({"trust": {"agentsNamespace": "kube-system"}}, "kube-system holds other things"),
        ({"trust": {"agentsNamespace": "builds", "namespaces": ["builds"]}}, "builds holds other things"),
        ({"trust": {"agentsNamespace": "one"}, "watchNamespaces": ["one"]}, "one holds other things"),
        # A key that is left blank takes the chart's value away, and the operator would have its own.
        ({"trust": {"namespaces": None}}, "missing property 'namespaces'"),
        *(
            ({name: None}, f"missing property '{name}'")
            for name in ("watchNamespaces", "localStorage", "resyncSeconds")
        ),
        ({"log": {"level": None}}, "missing property 'level'"),
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
