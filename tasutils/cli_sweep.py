"""The command `tas sweep`; heavy imports stay inside it, as in `cli`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from tasutils.errors import TasError

_MOST = 1000


def sweep(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of runs; those of one split make one grid.")
    ],
    weight: Annotated[
        list[str] | None,
        typer.Option(
            "--weight", "--weights", help="Of a term: p=0,0.1,1 or p=first:last:step; repeatable."
        ),
    ] = None,
    synonyms: Annotated[
        str, typer.Option(help="Synonym rules: own, all, or names between commas.")
    ] = "all",
    rectifier: Annotated[
        str, typer.Option(help="Forms of the rectifier: own, all, or names between commas.")
    ] = "all",
    out: Annotated[
        Path | None, typer.Option(help="Parquet file of the grid; default: results/sweep.parquet.")
    ] = None,
) -> None:
    """Try settings on stored RUNS: no picture is opened and no network runs."""
    from tasutils import paths
    from tasutils.runs import read_run
    from tasutils.sweep import best_settings, best_text
    from tasutils.sweep import sweep as make_grid

    weights = {name: numbers(text, name) for name, text in map(_axis, weight or ())}
    target = paths.RESULTS / "sweep.parquet" if out is None else out
    if target.is_dir():
        raise TasError(f"{target} is a folder; name a file with --out")
    opened = [read_run(run) for run in runs]
    grid = make_grid(opened, weights or None, _names(synonyms), _names(rectifier))
    print(best_text(best_settings(opened, grid)))
    target.parent.mkdir(parents=True, exist_ok=True)
    with paths.whole_file(target) as temporary:
        grid.to_parquet(temporary, index=False)
    print(f"\n{len(grid)} settings: {target}")


def _axis(text: str) -> tuple[str, str]:
    name, equal, values = text.partition("=")
    if not equal or not name.strip():
        raise TasError(f"--weight {text!r} names no term: write p=0:1:0.1 or p=0,0.1,1")
    return name.strip(), values


def numbers(text: str, term: str) -> list[float]:
    """The numbers of an axis, each once, in their order.

    Args:
        text: numbers between commas, or first:last:step, both ends included.
        term: whose weights they are.

    Raises:
        TasError: no numbers, or more than 1,000.

    >>> numbers("0:0.3:0.1", "p"), numbers("1,0", "p")
    ([0.0, 0.1, 0.2, 0.3], [1.0, 0.0])
    """
    span = ":" in text
    try:
        found = [float(part) for part in text.split(":" if span else ",")]
    except ValueError:
        found = []
    if not found or not all(map(math.isfinite, found)) or (span and len(found) != 3):
        raise TasError(f"--weight {term}={text} is neither 0,0.1,1 nor first:last:step, as 0:1:0.1")
    if span:
        first, last, step = found
        if step <= 0 or last < first:
            raise TasError(f"--weight {term}={text} has no numbers: first:last:step goes upwards")
        count = math.floor(min((last - first) / step + 1e-9, _MOST)) + 1
        # 0.1 + 0.2 should read 0.3
        found = [float(f"{first + k * step:.12g}") for k in range(count)]
    if len(found) > _MOST:
        raise TasError(f"--weight {term}={text} has more than {_MOST} numbers; give fewer")
    return list(dict.fromkeys(found))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]
