"""Scores of the tiny models on stored pictures, through the loaders that the system itself uses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from making.captions import article
from making.categories import load_categories
from tasutils.config import CropConfig
from tasutils.crops import masked_crops
from tasutils.images import read_image
from tasutils.masks import boxes_xyxy, decode_rle
from tasutils.paths import REFSCENES


@dataclass(frozen=True, eq=False)
class StoredPicture:
    """A stored picture, uint8 (240, 320, 3), its visible masks (n, 240, 320) and their rows."""

    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    things: tuple[dict[str, Any], ...]


def stored_pictures(split: str, limit: int | None = None) -> Iterator[StoredPicture]:
    """Pictures of a split of RefScenes with the exact masks of all their things."""
    import pandas as pd

    table = pd.read_parquet(REFSCENES / "scenes.parquet")
    table = table[table["split"] == split]
    shapes = _segmentations()
    for image_id in sorted(table["image_id"].unique())[:limit]:
        rows = table[table["image_id"] == image_id].to_dict("records")
        image = read_image(REFSCENES / "images" / f"{image_id}.jpg")
        masks = decode_rle([shapes[row["ann_id"]] for row in rows], image.shape[:2])
        yield StoredPicture(image, masks, tuple({str(k): v for k, v in r.items()} for r in rows))


@cache
def _segmentations() -> dict[int, Any]:
    path = REFSCENES / "refscenes" / "instances.json"
    annotations = json.loads(path.read_text(encoding="utf-8"))["annotations"]
    return {entry["id"]: entry["segmentation"] for entry in annotations}


def share(hits: list[bool]) -> float | None:
    """Mean of truth values, rounded to four places; None of none."""
    return round(float(np.mean(hits)), 4) if hits else None


def category_top1(encoder: Any, split: str, limit: int | None = None) -> dict[str, Any]:
    """Top-1 category of exactly masked crops by "a NAME" over all categories.

    Args:
        encoder: an `ImageTextEncoder`.

    Returns:
        seen, unseen (shares) with n_seen, n_unseen.
    """
    categories = load_categories()
    names = encoder.encode_text([article(category.name) for category in categories])
    hits: dict[bool, list[bool]] = {True: [], False: []}
    for picture in stored_pictures(split, limit):
        crops = masked_crops(
            picture.image, picture.masks, boxes_xyxy(picture.masks), encoder.image_size,
            CropConfig(fill="black"),
        )  # fmt: skip
        best = (encoder.encode_images(crops) @ names.T).argmax(1)
        for thing, found in zip(picture.things, best, strict=True):
            hits[bool(thing["seen"])].append(categories[int(found)].slug == thing["slug"])
    return {
        "seen": share(hits[True]),
        "n_seen": len(hits[True]),
        "unseen": share(hits[False]),
        "n_unseen": len(hits[False]),
    }


def mask_oracle(proposer: Any, split: str, limit: int | None = None) -> dict[str, Any]:
    """How well the best proposal covers each thing: mean IoU, share of things at 0.5 and 0.75.

    Args:
        proposer: a `Proposer`.
    """
    best: list[float] = []
    counts: list[int] = []
    for picture in stored_pictures(split, limit):
        found = proposer(picture.image).masks()
        counts.append(len(found))
        best += best_iou(found, picture.masks).tolist()
    things = np.array(best)
    return {
        "oracle_miou": round(float(things.mean()), 4),
        "recall_50": share((things >= 0.5).tolist()),
        "recall_75": share((things >= 0.75).tolist()),
        "masks_per_image": round(float(np.mean(counts)), 1),
        "n_things": len(things),
        "n_images": len(counts),
    }


def best_iou(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Highest IoU of any found mask (k, H, W) with each true one (n, H, W); float64 (n,)."""
    if len(found) == 0:
        return np.zeros(len(truth))
    a = truth.reshape(len(truth), -1).astype(np.float32)
    b = found.reshape(len(found), -1).astype(np.float32)
    both = a @ b.T  # (n, k) intersections in px
    either = a.sum(1)[:, None] + b.sum(1)[None] - both
    return np.asarray((both / np.maximum(either, 1)).max(1), dtype=np.float64)


def caption_category(
    captioner: Any, split: str, limit: int | None = None, fill: str = "black"
) -> dict[str, Any]:
    """Share of exactly masked crops whose caption ends with the name of the category.

    Args:
        captioner: a `Captioner`.
        fill: what surrounds the mask, see `CropConfig`.
    """
    from tasutils.captioners import clean_caption

    hits: dict[bool, list[bool]] = {True: [], False: []}
    config = CropConfig.model_validate({"fill": fill})
    for picture in stored_pictures(split, limit):
        boxes = boxes_xyxy(picture.masks)
        crops = masked_crops(picture.image, picture.masks, boxes, captioner.image_size, config)
        for thing, text in zip(picture.things, captioner.caption(crops), strict=True):
            said = f" {clean_caption(text)}"
            hits[bool(thing["seen"])].append(said.endswith(f" {thing['category']}"))
    return {
        "seen": share(hits[True]),
        "n_seen": len(hits[True]),
        "unseen": share(hits[False]),
        "n_unseen": len(hits[False]),
    }
