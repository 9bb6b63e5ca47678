"""What a command imports before it does anything: a plan of a hundred repositories takes no longer than a start."""

import subprocess
import sys

import pytest

ELSEWHERE = {"aiohttp", "asyncio", "click", "kopf", "kubernetes", "pydantic", "rich", "ssl", "yaml"}
CHANGING = {f"regkeeper.retention.{name}" for name in ("purge", "recovery", "restore", "run", "sweep")}


def imported(module: str) -> set[str]:
    """The modules that importing one imports, as the command does."""
    code = f"import sys, regkeeper.cli, {module}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("command", ["delete", "retain"])
def test_a_dry_run_imports_nothing_that_changes_a_volume(command: str) -> None:
    assert imported(f"regkeeper.commands.{command}") & (ELSEWHERE | CHANGING) == set()


def test_a_policy_is_read_without_the_status_of_its_kind() -> None:
    modules = imported("regkeeper.retention.policies.policy")
    assert "regkeeper.api.v1alpha1.retention_spec" in modules
    assert "regkeeper.api.v1alpha1.retention" not in modules
