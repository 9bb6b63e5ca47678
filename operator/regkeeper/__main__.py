"""`python -m regkeeper` and the installed command."""

import gc
import os
import sys
from contextlib import suppress


def main() -> None:
    gc.disable()  # until everything is imported: what makes modules is no garbage
    policies = None
    if sys.argv[1:2] == ["retain"]:
        from regkeeper.retention.policy_process import started

        policies = started()
    from regkeeper.cli import app

    try:
        app(prog_name="regkeeper", obj=policies)
    except SystemExit as ended:
        if policies is not None and isinstance(ended.code, int):
            _end(ended.code)
        raise


def _end(code: int) -> None:
    """End at once, if all that was printed arrives: to tear everything down takes as long as to read 300 images."""
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
