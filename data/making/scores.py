"""Scores of the tiny models on stored pictures, through the loaders that the system itself uses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from making.categories import load_categories
from making.words import article
from tasutils.captioners import clean_caption
from tasutils.config import CropConfig
from tasutils.crops import masked_crops
from tasutils.images import read_image
from tasutils.masks import boxes_xyxy, decode_rle, encode_rle
from tasutils.paths import REFSCENES


@dataclass(frozen=True, eq=False)
class StoredPicture:
    """A stored picture, uint8 (240, 320, 3), its visible masks (n, 240, 320) and their rows."""

    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    things: tuple[dict[str, Any], ...]


def stored_pictures(split: str, limit: int | None = None) -> Iterator[StoredPicture]:
    """Pictures of a split of RefScenes with the exact masks of all their things."""
    table = pd.read_parquet(REFSCENES / "scenes.parquet").query("split == @split")
    for image_id in sorted(table["image_id"].unique())[:limit]:
        rows = table[table["image_id"] == image_id].to_dict("records")
        image = read_image(REFSCENES / "images" / f"{image_id}.jpg")
        masks = decode_rle([_segmentations()[row["ann_id"]] for row in rows], image.shape[:2])
        yield StoredPicture(image, masks, tuple({str(k): v for k, v in r.items()} for r in rows))


@cache
def _segmentations() -> dict[int, Any]:
    path = REFSCENES / "refscenes" / "instances.json"
    annotations = json.loads(path.read_text(encoding="utf-8"))["annotations"]
    return {entry["id"]: entry["segmentation"] for entry in annotations}


def _named_right(
    split: str,
    limit: int | None,
    size: int,
    fill: str,
    right: Callable[[torch.Tensor, tuple[dict[str, Any], ...]], list[bool]],
) -> dict[str, Any]:
    """Share of exactly masked crops that ``right`` accepts: seen, unseen, with n_seen, n_unseen."""
    hits: dict[str, list[bool]] = {"seen": [], "unseen": []}
    config = CropConfig.model_validate({"fill": fill})
    for picture in stored_pictures(split, limit):
        boxes = boxes_xyxy(picture.masks)
        crops = masked_crops(picture.image, picture.masks, boxes, size, config)
        for thing, hit in zip(picture.things, right(crops, picture.things), strict=True):
            hits["seen" if thing["seen"] else "unseen"].append(hit)
    shares = {k: round(float(np.mean(v)), 4) if v else None for k, v in hits.items()}
    return shares | {f"n_{kind}": len(values) for kind, values in hits.items()}


def category_top1(encoder: Any, split: str, limit: int | None = None) -> dict[str, Any]:
    """Top-1 category of exactly masked crops by "a NAME" over all categories."""
    categories = load_categories()
    names = encoder.encode_text([article(category.name) for category in categories])

    def right(crops: torch.Tensor, things: tuple[dict[str, Any], ...]) -> list[bool]:
        best = (encoder.encode_images(crops) @ names.T).argmax(1)
        found = [categories[int(number)].slug for number in best]
        return [slug == thing["slug"] for slug, thing in zip(found, things, strict=True)]

    return _named_right(split, limit, encoder.image_size, "black", right)


def caption_category(
    captioner: Any, split: str, limit: int | None = None, fill: str = "black"
) -> dict[str, Any]:
    """Share of exactly masked crops whose caption ends with the name of the category."""

    def right(crops: torch.Tensor, things: tuple[dict[str, Any], ...]) -> list[bool]:
        said = [f" {clean_caption(text)}" for text in captioner.caption(crops)]
        named = zip(said, things, strict=True)
        return [text.endswith(f" {thing['category']}") for text, thing in named]

    return _named_right(split, limit, captioner.image_size, fill, right)


def mask_oracle(proposer: Any, split: str, limit: int | None = None) -> dict[str, Any]:
    """How well the best proposal covers each thing: mean IoU, share of things at 0.5 and 0.75."""
    pictures = list(stored_pictures(split, limit))
    found = [proposer(picture.image).masks() for picture in pictures]
    best = [best_iou(f, picture.masks) for f, picture in zip(found, pictures, strict=True)]
    things = np.concatenate(best)
    return {
        "oracle_miou": round(float(things.mean()), 4),
        "recall_50": round(float((things >= 0.5).mean()), 4),
        "recall_75": round(float((things >= 0.75).mean()), 4),
        "masks_per_image": round(float(np.mean([len(masks) for masks in found])), 1),
        "n_things": len(things),
        "n_images": len(pictures),
    }


def ious(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> NDArray[np.float64]:
    """IoU of every mask of a (n, H, W) with every one of b (k, H, W); float64 (n, k)."""
    found = coco_mask.iou(encode_rle(a), encode_rle(b), [False] * len(b))
    return np.asarray(found, np.float64).reshape(len(a), len(b))


def best_iou(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Highest IoU of any found mask (k, H, W) with each true one (n, H, W); float64 (n,)."""
    return ious(truth, found).max(1, initial=0)
