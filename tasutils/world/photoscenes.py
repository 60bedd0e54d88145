"""The photographic splits: pictures, layouts and tables, built from their seeds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from tasutils.world.build import IMAGES_PER_SPLIT, PHOTO_SPLITS, Picture
from tasutils.world.categories import by_slug, photographed_categories
from tasutils.world.expressions import Written
from tasutils.world.graph import SceneGraph
from tasutils.world.tables import expression_table, scene_table
from tasutils.world.write import Named, draw_splits, write_layouts


def build_photoscenes(root: Path, *, limit: int = IMAGES_PER_SPLIT, progress: bool = True) -> None:
    """Draw valP and testP from their seeds and write everything but sprites and categories.

    Args:
        root: the folder that receives tables, pictures and layouts.
        limit: pictures a split; fewer give the first ones of the whole world.
    """
    pictures = draw_splits(PHOTO_SPLITS, limit, progress)
    write_layouts(root, pictures, photographed_categories())
    write_tables(root, pictures)


def write_tables(root: Path, pictures: Sequence[Named]) -> None:
    """Both tables as in RefScenes, with what a renderer needs to draw the scenes anew."""
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
