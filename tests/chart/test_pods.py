"""The pods that the chart makes: their image, what they may, where they run, and whom they reach."""

import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests.chart.values import DIGEST, EVERYTHING, operator_container
from tests.helm import only, render


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
