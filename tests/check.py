"""`make check`: every static check, side by side; prints what each that failed had to say."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


def tracked(*patterns: str) -> list[str]:
    """Files that git knows of or would add, by pathspec."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return listing.stdout.splitlines()


def checks() -> dict[str, list[str]]:
    """Name → command line. The longest first, so that the two workers end together."""
    return {
        "types": [f"{BIN}/mypy"],
        "generated files": [sys.executable, "-m", "tests.generate", "--check"],
        "layers": [f"{BIN}/lint-imports", "--no-cache"],
        "lint": [f"{BIN}/ruff", "check", "."],
        "format": [f"{BIN}/ruff", "format", "--check", "."],
        "YAML": [f"{BIN}/yamllint", "--strict", *tracked("*.yaml", "*.yml")],
        "shell": [f"{BIN}/shellcheck", ".ci/run", *tracked("*.sh")],
        "Dockerfile": [f"{BIN}/hadolint", "Dockerfile"],
    }


def run(command: list[str]) -> tuple[int, str, float]:
    started = time.monotonic()
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr, time.monotonic() - started


def main() -> int:
    failed = 0
    with ThreadPoolExecutor(max_workers=2) as pool:
        commands = checks()
        for name, (code, output, seconds) in zip(commands, pool.map(run, commands.values()), strict=True):
            print(f"{'ok' if code == 0 else 'FAILED':8}{name} ({seconds:.1f} s)", flush=True)
            if code:
                failed += 1
                print(output, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
