"""docs/guides/nodes.md: its way to look first gives the command what it needs on the node."""

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.cluster import Cluster

pytestmark = pytest.mark.control_plane

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "nodes.md"


def test_looking_first(control_plane: Cluster, tmp_path: Path) -> None:
    """What the command then prints of a node below another root is shown in tests/nodes."""
    block = re.search(
        r"```\necho '(?P<custom>.*)' > root.json\nkubectl (?P<debug>.*?)```", GUIDE.read_text(), re.DOTALL
    )
    assert block
    (tmp_path / "root.json").write_text(block["custom"])
    words = shlex.split(block["debug"].replace("\\\n", "").replace("IMAGE", "example/regkeeper:1").replace("-it ", ""))
    words = [word.replace("root.json", str(tmp_path / "root.json")) for word in words]
    node = words[1].removeprefix("node/")
    control_plane.kubectl(
        "create", "--filename=-", stdin=json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
    )
    try:
        control_plane.kubectl(*words)
        (pod,) = [
            pod
            for pod in json.loads(control_plane.kubectl("get", "pods", "--output=json"))["items"]
            if pod["spec"].get("nodeName") == node
        ]
        control_plane.kubectl("delete", "pod", pod["metadata"]["name"], "--force")
    finally:
        control_plane.kubectl("delete", "node", node)
    (container,) = pod["spec"]["containers"]
    assert pod["spec"]["hostPID"] is True
    assert container["securityContext"] == {"privileged": True, "runAsUser": 0}
    assert {"name": "host-root", "mountPath": "/host"}.items() <= container["volumeMounts"][0].items()
    assert container["command"] == ["regkeeper", "nodes", "--root", "/host", "--dry-run", "k8smaster:5000"]
