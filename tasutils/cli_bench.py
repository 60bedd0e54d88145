"""The command `tas bench`; heavy imports stay inside it, as in `cli`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from tasutils.errors import TasError


def bench(
    section: Annotated[
        list[str] | None,
        typer.Argument(
            help="describe, crops, sam, sweep, sentence, store, ray, scale, peers or gpu; "
            "several, or none for all"
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="A preset's name or YAML file; default: tiny, of section gpu paper."),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(help="Images of each section (scenes of store); default: its own number."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of the networks; default: all cores.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, ...; default: the best one here.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="A file for rows and conditions.")] = None,
) -> None:
    """Measure what things cost against a plain loop of the released code's shape.

    Outputs are compared before anything is timed; exit code 1 where they differ.
    """
    for name, value in (("--images", images), ("--threads", threads)):
        if value is not None and value < 1:
            raise TasError(f"{name} is a number, 1 or more, not {value}")
    if json is not None and json.is_dir():
        raise TasError(f"{json} is a folder; name a file with --json")
    from tasutils.bench import SECTIONS, run_bench, unequal
    from tasutils.bench.plan import Plan
    from tasutils.config import load_preset
    from tasutils.provenance import cores
    from tasutils.tas import pick_device

    given = None if preset is None else load_preset(preset)
    plan = Plan(given, pick_device(device), images, threads or cores())
    found = run_bench(plan, section or SECTIONS, partial(print, flush=True))
    if json is not None:
        found.write(json)
        print(json)
    if different := unequal(found):
        print(f"tas: outputs differ in {', '.join(different)}; not timed", file=sys.stderr)
        raise typer.Exit(1)
