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
    alpha: Annotated[
        str | None, typer.Option(help="Weights of P: 0,0.1,1 or first:last:step.")
    ] = None,
    lam: Annotated[str | None, typer.Option(help="Weights of N, likewise.")] = None,
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
    from tasutils.study import Part
    from tasutils.sweep import ALPHAS, LAMBDAS
    from tasutils.sweep import sweep as make_grid
    from tasutils.sweep_choice import best_settings, best_text

    alphas = ALPHAS if alpha is None else numbers(alpha, "--alpha")
    lambdas = LAMBDAS if lam is None else numbers(lam, "--lam")
    names = [_names(text) for text in (synonyms, rectifier)]
    target = paths.RESULTS / "sweep.parquet" if out is None else out
    if target.is_dir():
        raise TasError(f"{target} is a folder; name a file with --out")
    parts = [Part(read_run(run)) for run in runs]
    grid = make_grid(parts, alphas, lambdas, *names)
    print(best_text(best_settings(parts, grid)))
    target.parent.mkdir(parents=True, exist_ok=True)
    with paths.whole_file(target) as temporary:
        grid.to_parquet(temporary, index=False)
    print(f"\n{len(grid)} settings: {target}")


def numbers(text: str, option: str) -> list[float]:
    """The numbers of an axis, each once, in their order.

    Args:
        text: numbers between commas, or first:last:step, both ends included.
        option: for messages.

    Raises:
        TasError: no numbers, or more than 1,000.

    >>> numbers("0:0.3:0.1", "--alpha"), numbers("1,0", "--alpha")
    ([0.0, 0.1, 0.2, 0.3], [1.0, 0.0])
    """
    span = ":" in text
    try:
        found = [float(part) for part in text.split(":" if span else ",")]
    except ValueError:
        found = []
    if not found or not all(map(math.isfinite, found)) or (span and len(found) != 3):
        raise TasError(f"{option} {text!r} is neither 0,0.1,1 nor first:last:step, as 0:1:0.1")
    if span:
        first, last, step = found
        if step <= 0 or last < first:
            raise TasError(f"{option} {text!r} has no numbers: first:last:step goes upwards")
        count = math.floor(min((last - first) / step + 1e-9, _MOST)) + 1
        # 0.1 + 0.2 should read 0.3
        found = [float(f"{first + k * step:.12g}") for k in range(count)]
    if len(found) > _MOST:
        raise TasError(f"{option} {text!r} has more than {_MOST} numbers; give fewer")
    return list(dict.fromkeys(found))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]
