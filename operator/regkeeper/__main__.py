"""`python -m regkeeper` and the installed command."""

import gc
import sys


def main() -> None:
    gc.disable()  # until everything is imported: what makes modules is no garbage
    policies = None
    if sys.argv[1:2] == ["retain"]:
        from regkeeper.retention.policy_process import started

        policies = started()
    from regkeeper.cli import app

    app(prog_name="regkeeper", obj=policies)


if __name__ == "__main__":
    main()
