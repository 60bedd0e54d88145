"""The photographic splits: built once from their seeds, then drawn anew from the stored tables.

The repository keeps the sprites, both tables and the SHA-256 of every other file. Pictures, masks
and the layouts of RefCOCO and PhraseCut are drawn from them by `tas world draw`, without writing
any sentence again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from tasutils.datasets.refscenes import DRAWN_LIST, drawn_files
from tasutils.errors import TasError
from tasutils.world.build import IMAGES_PER_SPLIT, PHOTO_SPLITS, Picture
from tasutils.world.categories import by_slug, photographed_categories
from tasutils.world.expressions import FAMILIES, Written
from tasutils.world.graph import Background, Effects, SceneGraph, Thing
from tasutils.world.queries import Query, view_of
from tasutils.world.render import render
from tasutils.world.tables import expression_table, scene_table
from tasutils.world.write import Named, draw_splits, write_layouts

DRAWN_FOLDERS = ("images", *FAMILIES)


def build_photoscenes(root: Path, *, limit: int = IMAGES_PER_SPLIT, progress: bool = True) -> None:
    """Draw valP and testP from their seeds and write everything but sprites and categories.

    Args:
        root: the folder that receives tables, pictures and layouts.
        limit: pictures a split; fewer give the first ones of the whole world.
    """
    pictures = draw_splits(PHOTO_SPLITS, limit, progress)
    write_tables(root, pictures)
    _write_drawn(root, pictures)
    lines = [f"{digest}  {name}" for name, digest in _digests(root).items()]
    (root / DRAWN_LIST).write_text("\n".join([*lines, ""]), encoding="utf-8")


def write_tables(root: Path, pictures: Sequence[Named]) -> None:
    """Both tables as in RefScenes, and what the drawing needs beside them."""
    scenes, expressions = scene_table(pictures), expression_table(pictures)
    things = [(p.rendered.graph, thing) for _, p in pictures for thing in p.rendered.graph.things]
    scenes["in_imagenet"] = [thing.category.in_imagenet for _, thing in things]
    scenes["place_x"], scenes["place_y"] = zip(*(t.center_xy for _, t in things), strict=True)
    scenes["setting"] = [_setting(graph) for graph, _ in things]
    slugs = scenes.set_index(["image_id", "thing"])["slug"]
    firsts = zip(expressions["image_id"], expressions["targets"].str[0], strict=True)
    expressions["in_imagenet"] = [by_slug()[slugs[first]].in_imagenet for first in firsts]
    expressions["raw"] = [written.raw for _, p in pictures for written in _sentences(p)]
    for name, table in (("scenes", scenes), ("expressions", expressions)):
        table.to_parquet(root / f"{name}.parquet", index=False, compression="zstd")


def _sentences(picture: Picture) -> Iterator[Written]:
    """In the order of `expression_table`."""
    for _, _, sentences in picture.expressions:
        yield from sentences
    yield from picture.phrases


def _setting(graph: SceneGraph) -> str:
    """Background and effects as JSON."""
    values = {"background": asdict(graph.background), "effects": asdict(graph.effects)}
    return json.dumps(values, separators=(",", ":"))


def read_pictures(root: Path) -> list[Named]:
    """Render the stored scenes and give them their stored sentences.

    Raises:
        TasError: when a table is missing or damaged.
    """
    try:
        scenes = pd.read_parquet(root / "scenes.parquet")
        expressions = dict(iter(pd.read_parquet(root / "expressions.parquet").groupby("image_id")))
        return [
            (str(rows["split"].iloc[0]), _picture(int(str(image_id)), rows, expressions[image_id]))
            for image_id, rows in scenes.groupby("image_id", sort=False)
        ]
    except (OSError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:80]
        raise TasError(
            f"{root}: its tables cannot be read ({reason}); restore them from the repository"
        ) from None


def _picture(image_id: int, rows: pd.DataFrame, written: pd.DataFrame) -> Picture:
    rendered = render(_graph(rows))
    sentences: list[tuple[str, int, tuple[Written, ...]]] = []
    phrases: tuple[Written, ...] = ()
    records = written.to_dict("records")
    for (family, ref_id), group in groupby(records, lambda r: (r["family"], r["ref_id"])):
        found = tuple(_written(record) for record in group)
        if family == "phrasescenes":
            phrases += found
        else:
            sentences.append((str(family), int(ref_id) - image_id * 100, found))
    targets = tuple(dict.fromkeys(target for _, target, _ in sentences))
    return Picture(image_id, rendered, view_of(rendered), targets, tuple(sentences), phrases)


def _graph(rows: pd.DataFrame) -> SceneGraph:
    setting = json.loads(rows["setting"].iloc[0])
    first, second = (tuple(color) for color in setting["background"].pop("colors"))
    things = tuple(
        Thing(
            slug=row["slug"],
            style=row["style"],
            paint=row["paint"],
            center_xy=(row["place_x"], row["place_y"]),
            size_px=row["size_px"],
            mirror=row["mirror"],
            angle_deg=row["angle_deg"],
        )
        for row in rows.to_dict("records")
    )
    background = Background(colors=(first, second), **setting["background"])
    return SceneGraph(things, background, Effects(**setting["effects"]))


def _written(record: dict[Any, Any]) -> Written:
    return Written(
        text=record["text"],
        raw=record["raw"],
        query=Query.from_dict(json.loads(record["query"])),
        kind=record["kind"],
        has_direction=record["has_direction"],
        targets=frozenset(int(target) for target in record["targets"]),
    )


def draw_photoscenes(root: Path) -> int:
    """Draw what the repository does not keep; do nothing where all is there and right.

    Returns:
        the number of pictures drawn.

    Raises:
        TasError: when the folder cannot be written, a table or sprite is missing, or what was
            drawn, and stays, is not byte for byte what the list says.
    """
    listed = drawn_files(root)
    if not listed:
        raise TasError(f"{root / DRAWN_LIST}: missing or empty; restore it from the repository")
    if _digests(root) == listed:
        return 0
    pictures = read_pictures(root)
    try:
        with TemporaryDirectory(dir=root, suffix=".tmp") as folder:
            _write_drawn(Path(folder), pictures)
            for name in DRAWN_FOLDERS:
                shutil.rmtree(root / name, ignore_errors=True)
                os.replace(Path(folder) / name, root / name)
    except OSError as error:
        raise TasError(f"{root}: cannot be written ({error.strerror})") from None
    found = _digests(root)
    different = sorted(name for name in listed if found.get(name) != listed[name])
    if different:
        raise TasError(
            f"{root}: {len(different)} of {len(listed)} drawn files differ from {DRAWN_LIST}, "
            f"{different[0]} first; they are kept, but for equal numbers install the versions of "
            "constraints.txt"
        )
    return len(pictures)


def _write_drawn(root: Path, pictures: Sequence[Named]) -> None:
    write_layouts(root, pictures, photographed_categories())


def _digests(root: Path) -> dict[str, str]:
    """SHA-256 of every drawn file that is there, by its name under ``root``."""
    files = sorted(p for name in DRAWN_FOLDERS for p in (root / name).rglob("*") if p.is_file())
    return {p.relative_to(root).as_posix(): sha256(p.read_bytes()).hexdigest() for p in files}
