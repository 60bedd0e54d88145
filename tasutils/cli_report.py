"""The command `tas report`; heavy imports stay inside it, as in `cli`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tasutils.cli_data import LimitOption, require_positive


def report(
    only: Annotated[
        str, typer.Option(help="Numbers of notebooks, such as 01,05; default: all that suit.")
    ] = "",
    preset: Annotated[
        str | None,
        typer.Option(help="A preset's name or YAML file; default: photo for photographs, or tiny."),
    ] = None,
    dataset: Annotated[
        str,
        typer.Option(
            help="refscenes, all its families (with photos7 first for a preset for photographs); "
            "one family; photos7; or refcoco, refcoco+, refcocog, phrasecut, if they are in data/"
        ),
    ] = "refscenes",
    family: Annotated[
        list[str] | None, typer.Option(help="A family of refscenes, or all; repeatable.")
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(
            help="A split; repeat it for several. Default: with --limit the first, else all."
        ),
    ] = None,
    limit: LimitOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default: results.")] = None,
) -> None:
    """Run the notebooks and write one browsable report, index.html; 1 if a notebook failed."""
    from tasutils.datasets import group

    families = group(dataset, family)
    require_positive(limit)
    from tasutils.report import build_report

    built = build_report(limit, split, preset, out, families=families, only=only)
    print("open", built.page)
    for name, error in built.failed.items():
        print(f"tas: notebook {name} failed: {error}", file=sys.stderr)
    if built.failed:
        raise typer.Exit(1)
