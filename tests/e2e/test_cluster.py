"""The two-node cluster is what it claims to be, and leaves nothing behind."""

import json

import pytest

from tests.cluster import Cluster


@pytest.mark.control_plane
def test_api_server_answers(control_plane: Cluster) -> None:
    assert control_plane.kubectl("get", "--raw", "/readyz") == "ok"
