"""`python -m regkeeper` and the installed command."""

import gc


def main() -> None:
    gc.disable()  # until everything is imported: what makes modules is no garbage
    from regkeeper.cli import app

    app(prog_name="regkeeper")


if __name__ == "__main__":
    main()
