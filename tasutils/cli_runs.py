"""The commands on runs that are there: `tas metrics`, `tas rerun`, `tas diff`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tasutils.cli_data import ImagesOption, RootOption
from tasutils.terminal import one_line

RunArgument = Annotated[Path, typer.Argument(help="The folder of a run.")]


def metrics(run: RunArgument) -> None:
    """Print RUN by every convention in print, side by side, and how many choices were close.

    It needs what the run stored alone: no picture, no network, no data set.
    """
    from tasutils.margins import close_calls
    from tasutils.metric_variants import metric_variants, variants_text
    from tasutils.runs import read_run

    stored = read_run(run)
    print(variants_text(stored, metric_variants(stored)))
    print(close_calls(stored))


def rerun(
    run: RunArgument,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Go on where models, data or settings differ.")
    ] = False,
    scenes: Annotated[
        bool,
        typer.Option("--scenes", help="Read scenes described earlier from <out>/scenes."),
    ] = False,
    file: Annotated[Path | None, typer.Option(help="Of own data, its .csv or .jsonl file.")] = None,
    root: RootOption = None,
    images: ImagesOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the new run; default: results.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, mps; default: where it ran.")
    ] = None,
) -> None:
    """Make RUN again from its record alone; 0 if all its sentences come out the same, else 1."""
    from tasutils import paths
    from tasutils.rerun import rerun as run_again
    from tasutils.runs import read_run
    from tasutils.store import SceneStore

    folder = paths.RESULTS if out is None else out
    done = run_again(
        read_run(run),
        file=file,
        root=root,
        images=images,
        store=SceneStore(folder / "scenes") if scenes else None,
        out=folder,
        device=device,
        anyway=anyway,
    )
    for note in done.notes:
        print("note:", one_line(note), file=sys.stderr)
    print(done)
    print(f"    {done.again.folder}")
    raise typer.Exit(1 if done.n_changed else 0)


def diff(
    first: RunArgument,
    second: RunArgument,
    every: Annotated[bool, typer.Option("--all", help="Show every sentence.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print what changed from run FIRST to SECOND: settings, data, models, code, numbers, answers.

    Numbers are paired where both answered the same sentences; times are left aside.
    """
    from tasutils.run_diff import diff_runs
    from tasutils.run_diff_lines import diff_json, diff_lines
    from tasutils.runs import read_run

    runs = read_run(first), read_run(second)
    found = diff_runs(*runs)
    print(diff_json(found, every) if as_json else "\n".join(diff_lines(found, runs, every)))
