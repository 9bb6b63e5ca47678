"""Custom resources applied to a real API server in a namespace of a test's own."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster import Cluster
from tests.cluster.api import ApiError


@dataclass(frozen=True)
class Place:
    """Where the objects of some tests are applied."""

    cluster: Cluster
    namespace: str

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        return self.cluster.kubectl(*arguments, f"--namespace={self.namespace}", stdin=stdin)

    def apply(self, body: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """The object as the API server then has it, or would have it."""
        return self.cluster.api().apply(body, manager="kubectl", dry_run=dry_run)

    def refusal(self, body: dict[str, Any]) -> str:
        """What the API server says against an object; the test fails if it takes it."""
        with pytest.raises(ApiError) as error:
            self.apply(body, dry_run=True)
        return str(error.value)
