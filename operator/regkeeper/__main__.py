"""`python -m regkeeper` and the installed command."""

from regkeeper.cli import app


def main() -> None:
    app(prog_name="regkeeper")


if __name__ == "__main__":
    main()
