"""Write RefScenes to disk: RefCOCO's layout, PhraseCut's layout, and the scene graph as parquet."""

from __future__ import annotations

import io
import json
import pickle
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from tasutils.masks import encode_rle
from tasutils.world.build import IMAGES_PER_SPLIT, SPLITS, Picture, Split, draw_split
from tasutils.world.categories import Category, load_categories
from tasutils.world.expressions import FAMILIES, Written
from tasutils.world.graph import HEIGHT, WIDTH
from tasutils.world.tables import SENTENCE_FAMILIES, ann_id, expression_table, scene_table

SPLIT_BY = "tas"
JPEG_QUALITY = 82
POLYGON_ZOOM = 4
#: a picture with the name of its split
Named = tuple[str, Picture]


def build_world(root: Path, *, limit: int = IMAGES_PER_SPLIT, progress: bool = True) -> None:
    """Draw every stored split and write it under ``root``; sprites and categories stay.

    Args:
        limit: pictures a split; fewer give the first ones of the whole world, byte for byte.
    """
    pictures = draw_splits(SPLITS, limit, progress)
    write_layouts(root, pictures, load_categories())
    scene_table(pictures).to_parquet(root / "scenes.parquet", index=False, compression="zstd")
    expression_table(pictures).to_parquet(
        root / "expressions.parquet", index=False, compression="zstd"
    )


def draw_splits(splits: Mapping[str, Split], limit: int, progress: bool) -> list[Named]:
    """The first pictures of each split, each with the split's name."""
    pictures: list[Named] = []
    for name, split in splits.items():
        drawn, total = draw_split(split, limit), min(limit, split.images)
        shown = tqdm(drawn, desc=name, total=total, disable=not progress, ascii=True)
        pictures += [(name, picture) for picture in shown]
    return pictures


def write_layouts(root: Path, pictures: Sequence[Named], categories: Sequence[Category]) -> None:
    """Write ``images/`` and the folder of each family anew.

    Args:
        pictures: each with the name of its split.
        categories: those that the annotations may name.
    """
    for folder in ("images", *FAMILIES):
        shutil.rmtree(root / folder, ignore_errors=True)
        (root / folder).mkdir(parents=True)
    for _, picture in pictures:
        (root / "images" / f"{picture.image_id}.jpg").write_bytes(jpeg_bytes(picture))
    for family in SENTENCE_FAMILIES:
        write_refcoco(root / family, family, pictures, categories)
    write_phrasecut(root / "phrasescenes", pictures)


def jpeg_bytes(picture: Picture) -> bytes:
    """The stored picture."""
    buffer = io.BytesIO()
    Image.fromarray(picture.rendered.image).save(
        buffer, "JPEG", quality=JPEG_QUALITY, optimize=True
    )
    return buffer.getvalue()


def _dump_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, separators=(",", ":")), encoding="utf-8")


def _box_xywh(picture: Picture, index: int) -> list[int]:
    x0, y0, x1, y1 = (int(v) for v in picture.view.boxes_xyxy[index])
    return [x0, y0, x1 - x0, y1 - y0]


def write_refcoco(
    folder: Path, family: str, pictures: Iterable[Named], categories: Sequence[Category]
) -> None:
    """``instances.json`` and ``refs(tas).p``, a protocol-2 pickle of plain values.

    The first family's ``instances.json`` holds every thing, the others' their targets only.
    """
    slugs = {category.slug: category.id for category in categories}
    images, annotations, refs = [], [], []
    next_sentence = 0
    for split, picture in pictures:
        name = f"{picture.image_id}.jpg"
        images.append({"id": picture.image_id, "file_name": name, "height": HEIGHT, "width": WIDTH})
        spoken = [e for e in picture.expressions if e[0] == family]
        kept = (
            range(len(picture.view))
            if family == FAMILIES[0]
            else sorted({target for _, target, _ in spoken})
        )
        for index, rle in zip(kept, encode_rle(picture.rendered.visible[list(kept)]), strict=True):
            annotations.append(
                {
                    "id": ann_id(picture, index),
                    "image_id": picture.image_id,
                    "iscrowd": 0,
                    "category_id": slugs[picture.view.slugs[index]],
                    "area": int(picture.view.areas_px[index]),
                    "bbox": _box_xywh(picture, index),
                    "segmentation": rle,
                }  # fmt: skip
            )
        for _, target, sentences in spoken:
            ids = list(range(next_sentence, next_sentence + len(sentences)))
            next_sentence += len(sentences)
            refs.append(
                {
                    "ref_id": ann_id(picture, target),
                    "ann_id": ann_id(picture, target),
                    "split": split,
                    "category_id": slugs[picture.view.slugs[target]],
                    "image_id": picture.image_id,
                    "file_name": name,
                    "sent_ids": ids,
                    "sentences": [
                        {"tokens": s.text.split(), "raw": s.raw, "sent_id": i, "sent": s.text}
                        for i, s in zip(ids, sentences, strict=True)
                    ],
                }  # fmt: skip
            )
    listed = [{"id": c.id, "name": c.name, "supercategory": c.group} for c in categories]
    info = {"description": f"RefScenes, family {family}", "version": "1"}
    _dump_json(
        folder / "instances.json",
        {"info": info, "images": images, "annotations": annotations, "categories": listed},
    )
    plain = json.loads(
        json.dumps(refs)
    )  # one identity a value, so that the pickle's memo is the same each time
    (folder / f"refs({SPLIT_BY}).p").write_bytes(pickle.dumps(plain, protocol=2))


def polygons(mask: np.ndarray) -> list[list[list[int]]]:
    """Outlines of a mask, accurate to about a pixel; holes are not kept (PhraseCut has none).

    Args:
        mask: bool (H, W).

    Returns:
        polygons of whole [x, y] points, px.
    """
    zoomed = np.repeat(np.repeat(mask.astype(np.uint8), POLYGON_ZOOM, 0), POLYGON_ZOOM, 1)
    outlines, _ = cv2.findContours(zoomed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    found: list[list[list[int]]] = []
    for outline in sorted(outlines, key=lambda points: -len(points)):
        if found and cv2.contourArea(outline) < 12 * POLYGON_ZOOM**2:
            continue
        points = cv2.approxPolyDP(outline, 0.75 * POLYGON_ZOOM, True)[:, 0, :]
        if len(points) >= 3:
            found.append(np.round((points + 0.5) / POLYGON_ZOOM).astype(int).tolist())
    return found


def write_phrasecut(folder: Path, pictures: Iterable[Named]) -> None:
    """``image_data_split.json`` and one ``refer_<split>.json`` a split."""
    images: list[dict[str, Any]] = []
    tasks: dict[str, list[dict[str, Any]]] = {}
    for split, picture in pictures:
        images.append(
            {"image_id": picture.image_id, "height": HEIGHT, "width": WIDTH, "split": split}
        )
        outlines: dict[int, list[list[list[int]]]] = {}
        for number, phrase in enumerate(picture.phrases):
            members = sorted(phrase.targets)
            for index in members:
                outlines.setdefault(index, polygons(picture.rendered.visible[index]))
            tasks.setdefault(split, []).append(
                {
                    "task_id": f"{picture.image_id}__{number}",
                    "image_id": picture.image_id,
                    "ann_ids": [ann_id(picture, index) for index in members],
                    "instance_boxes": [_box_xywh(picture, index) for index in members],
                    "Polygons": [outlines[index] for index in members],
                    "phrase": phrase.text,
                    "phrase_structure": _structure(phrase),
                }  # fmt: skip
            )
    _dump_json(folder / "image_data_split.json", images)
    for split, listed in tasks.items():
        _dump_json(folder / f"refer_{split}.json", listed)


def _structure(phrase: Written) -> dict[str, Any]:
    query = phrase.query
    relations = []
    if query.relation:
        kind, anchor = query.relation
        relations = [[kind, anchor.noun]]
    return {
        "name": query.noun, "attributes": [query.color] if query.color else [], "relation_ids": [],
        "relation_descriptions": relations, "type": phrase.kind,
    }  # fmt: skip
