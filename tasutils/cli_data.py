"""The commands `tas data` and `tas world`; heavy imports stay inside them, as in `cli`."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

data_app = typer.Typer(no_args_is_help=True, help="The data sets on this disk.")
world_app = typer.Typer(no_args_is_help=True, help="RefScenes, the embedded world.")


@data_app.command("list")
def data_list() -> None:
    """List data sets, families and splits with their numbers of images and sentences."""
    from tasutils.datasets.doctor import all_splits

    for data in all_splits():
        n_images = len(data.image_ids)
        print(f"{data.name:14} {data.split:6} {n_images:4} images {len(data):5} sentences")


@data_app.command("check")
def data_check() -> None:
    """Open every picture and mask of the data sets; exit code 1 if one is missing or damaged."""
    from tasutils.datasets.doctor import all_splits, faults

    n = n_faults = 0
    for data in all_splits():
        found = faults(data)
        n, n_faults = n + len(data), n_faults + len(found)
        for fault in found:
            print(fault, file=sys.stderr)
    print(f"{n} sentences checked, {n_faults} faults")
    raise typer.Exit(1 if n_faults else 0)


@world_app.command("build")
def world_build(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; compare with the files on disk.")
    ] = False,
) -> None:
    """Draw RefScenes and its photographic splits anew from their seeds, byte for byte."""
    from tasutils import paths
    from tasutils.datasets.doctor import differences
    from tasutils.world import photoscenes, write

    worlds = {
        paths.REFSCENES: write.build_world,
        paths.PHOTOSCENES: photoscenes.build_photoscenes,
    }
    different = []
    for stored, build in worlds.items():
        if not check:
            build(stored)
            print("wrote", stored)
            continue
        with TemporaryDirectory() as folder:
            build(Path(folder))
            different += [f"{stored.name}/{n}" for n in differences(Path(folder), stored)]
    for name in different:
        print("differs:", name, file=sys.stderr)
    if check:
        print("the world differs" if different else "byte for byte what its seeds give")
    raise typer.Exit(1 if different else 0)


@world_app.command("draw")
def world_draw() -> None:
    """Draw the pictures of valP and testP, which are not stored; they need half a minute."""
    from tasutils import paths
    from tasutils.world.photoscenes import draw_photoscenes

    drawn = draw_photoscenes(paths.PHOTOSCENES)
    print(f"drew {drawn} pictures in" if drawn else "all pictures are in", paths.PHOTOSCENES)
