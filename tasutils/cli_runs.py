"""The commands on runs that are there: `tas compare`, `tas rerun`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tasutils.cli_data import ImagesOption, RootOption
from tasutils.errors import TasError, one_line, printable

RunArgument = Annotated[Path, typer.Argument(help="The folder of a run.")]


def compare(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Folders of runs; default: all of --out.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Of two runs, show every sentence.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Of two runs, print JSON.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder with all runs; default: results.")
    ] = None,
) -> None:
    """Set RUNS side by side, each against the first of the same data set and split.

    One run: its numbers by every convention in print, and how many choices were close. Two: also
    what changed from the first to the second: settings, data, models, code, paired numbers and
    sentences. None: results.csv, a row for each run of the folder.
    """
    from tasutils import compare as c
    from tasutils import paths
    from tasutils.runs import list_runs, read_run

    if not runs:
        folder = out or paths.RESULTS
        found = list_runs(folder)
        if not found:
            raise TasError(f"{folder}: no run there; `tas evaluate` makes one")
        c.results_table(found).to_csv(folder / "results.csv", index=False)
        print("\n".join([*map(c.summary_line, found), f"{len(found)} runs: {folder}/results.csv"]))
        return
    opened = [read_run(run) for run in runs]
    if len(opened) == 1:
        print(printable(c.conventions_text(opened[0])))
        return
    if len(opened) > 2:
        print(printable(c.compare_text(c.compare_runs(opened))))
        return
    pair = opened[0], opened[1]
    diff = c.diff_runs(*pair)
    if as_json:
        print(diff.to_json(every))
        return
    try:
        print(printable(c.compare_text(c.compare_runs(pair))), end="\n\n")
    except TasError as error:
        print(f"not side by side: {error}\n")
    print(printable("\n".join(c.diff_lines(diff, pair, every))))


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
    from tasutils.compare import rerun as run_again
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
