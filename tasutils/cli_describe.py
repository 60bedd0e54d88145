"""The command `tas describe`; heavy imports stay inside it, as in `cli`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from tasutils.cli_data import ImagesOption, RootOption, SplitByOption
from tasutils.errors import TasError


def describe(
    dataset: Annotated[str, typer.Argument(help="refscenes, or what `tas evaluate` takes.")],
    split: Annotated[str, typer.Argument(help="As of `tas evaluate`.")],
    preset: Annotated[
        str | None,
        typer.Option(help="A preset's name or YAML file; default: photo for photographs, or tiny."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N images.")] = None,
    engine: Annotated[str, typer.Option(help="local, or ray: a pool of processes.")] = "local",
    shard: Annotated[
        str | None,
        typer.Option(help="i/n: every n-th image from the i-th on, i from 0; for batch systems."),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster; default: one on this machine.")
    ] = None,
    split_by: SplitByOption = None,
    root: RootOption = None,
    images: ImagesOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the runs; default: results. See <out>/scenes.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, mps; default: the best one here.")
    ] = None,
) -> None:
    """Describe the images of a SPLIT of DATASET, once: `tas evaluate` reads what is there.

    A run that was ended, by whatever, is gone on from by the same command. Exit code 1 if a picture
    cannot be read: a line on stderr and in <out>/scenes/failed-DATASET-SPLIT.jsonl says why.
    """
    part = parse_shard(shard)
    if limit is not None and limit < 1:
        raise TasError(f"--limit is a number of images, 1 or more, not {limit}")
    from tasutils import load, paths
    from tasutils.config import load_preset
    from tasutils.datasets import default_preset, load_dataset
    from tasutils.engines import check_engine, describe_dataset
    from tasutils.store import SceneStore

    check_engine(engine, address)
    configuration = load_preset(preset or default_preset(dataset, split, images))
    data = load_dataset(dataset, split, split_by, root, images)
    store = SceneStore((paths.RESULTS if out is None else out) / "scenes")
    n_done, n_had, failed = describe_dataset(
        data,
        load(configuration, device=device),
        store,
        engine=engine,
        shard=part,
        address=address,
        limit_images=limit,
    )
    n_here, n_images = n_done + n_had + len(failed), len(data.image_ids)
    partial = f"; partial, {n_here} of {n_images} images" if n_here < n_images else ""
    print(f"done {n_done}, had {n_had}, failed {len(failed)}{partial}; scenes in {store.folder}")
    raise typer.Exit(1 if failed else 0)


def parse_shard(text: str | None) -> tuple[int, int] | None:
    """(i, n) of "i/n"; raises TasError for anything else.

    >>> parse_shard("0/2")
    (0, 2)
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise TasError(f"--shard is i/n with i from 0 to n - 1, such as 0/2, not {text!r}")
    return int(match[1]), int(match[2])
