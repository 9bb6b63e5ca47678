"""`python -m regkeeper` and the installed command."""

import gc
import os
import signal
import sys
from contextlib import suppress

_INTERRUPTED = 128 + signal.SIGINT
"""The exit status of who was interrupted, as shells and typer have it."""


def main() -> None:
    _open_standard_streams()
    gc.disable()  # until everything is imported: what makes modules is no garbage
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")  # to look for some it would read every installed package
    policies = None
    try:
        if sys.argv[1:2] == ["retain"]:
            from regkeeper.retention.policies.policy_process import started

            policies = started()
        from regkeeper.cli import app

        app(prog_name="regkeeper", obj=policies)
    except KeyboardInterrupt:  # while things are imported; later typer answers
        sys.exit(_INTERRUPTED)
    except SystemExit as ended:
        if policies is not None and isinstance(ended.code, int):
            _end(ended.code)
        raise


def _open_standard_streams() -> None:
    """Those with which the command was started closed (`>&-`): what is said goes nowhere, as was asked for.

    Left closed, the first files that are opened would have their numbers, and to print would fail after all is done.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            taken = os.open(os.devnull, os.O_RDWR)
            if taken != number:
                os.dup2(taken, number)
                os.close(taken)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _end(code: int) -> None:
    """End at once, if all that was printed arrives: to tear everything down takes as long as to read 300 images."""
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
