"""The command line `tas`; itself light, so that a signal is heard while the rest is imported."""

from __future__ import annotations

from typing import Any

from tasutils import console


def main(args: list[str] | None = None) -> int:
    """Run `tas` and return its exit code, see `console`; `args` are the program's own when None."""
    return console.run(_commands, args)


def _commands(*args: Any, **options: Any) -> Any:
    from tasutils.cli_app import app

    return app(*args, **options)


if __name__ == "__main__":
    raise SystemExit(main())
