"""How well TSEG's maps fit val: alone, cut at a threshold, and as a choice among proposals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from making.clip import embed_text
from making.tseg_pairs import TOKENIZER
from tasutils.baselines.tseg import TsegNet, assign, tiny_maps
from tasutils.datasets.refscenes import load_refscenes
from tasutils.encoders.openclip import tiny_tokenizer
from tasutils.images import read_image
from tasutils.paths import RESULTS

FAMILIES = ("refscenes", "phrasescenes")
THRESHOLDS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
PROPOSALS = RESULTS / "training" / "tseg" / "val_proposals"


@dataclass(frozen=True, eq=False)
class ValPicture:
    """A picture of val with its sentences.

    Attributes:
        image: uint8 (H, W, 3).
        masks: bool (m, H, W), the tiny SAM's proposals; ``truths``: bool (s, H, W).
        coarse, fine: maps of the frozen tower; ``texts``: float32 (s, d).
        families: of each sentence; ``words``: the sentences.
    """

    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    truths: NDArray[np.bool_]
    coarse: torch.Tensor
    fine: torch.Tensor
    texts: torch.Tensor
    families: tuple[str, ...]
    words: tuple[str, ...]


@torch.no_grad()
def val_pictures(images: int, model: Any, folder: Path = PROPOSALS) -> list[ValPicture]:
    """The first pictures of val with all sentences of two families; proposals are kept in a folder.

    Args:
        model: the frozen tiny-RN.
    """
    if images == 0:
        return []
    sets = {family: load_refscenes(family, "val") for family in FAMILIES}
    tokenizer, found = tiny_tokenizer(TOKENIZER), []
    for image_id in sets["refscenes"].image_ids[:images]:
        picture = read_image(sets["refscenes"].images[image_id].path)
        samples = [(f, d, s) for f, d in sets.items() for s in d.samples if s.image_id == image_id]
        words = tuple(sample.text for _, _, sample in samples)
        coarse, fine = tiny_maps(model, torch.from_numpy(picture[None]))
        found.append(
            ValPicture(
                image=picture,
                masks=_proposals(image_id, picture, folder),
                truths=np.stack([data.ground_truth(sample) for _, data, sample in samples]),
                coarse=coarse,
                fine=fine,
                texts=embed_text(model, tokenizer(list(words))),
                families=tuple(family for family, _, _ in samples),
                words=words,
            )
        )
    return found


def _proposals(image_id: str, picture: NDArray[np.uint8], folder: Path) -> NDArray[np.bool_]:
    from tasutils.tas import load

    path = folder / f"{image_id}.npz"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        masks = load("tiny", device="cpu").proposer(picture).masks()
        np.savez_compressed(path, masks=np.packbits(masks, axis=-1))
    with np.load(path) as file:
        return np.unpackbits(file["masks"], axis=-1, count=picture.shape[1]).astype(bool)


@torch.no_grad()
def heatmaps(net: TsegNet, picture: ValPicture) -> NDArray[np.float32]:
    """Assignment of the pixels of a picture to each of its sentences, float32 (s, H, W)."""
    margins = net.margins(net.patches(picture.coarse, picture.fine), net.texts(picture.texts))
    maps = assign(margins).permute(0, 3, 1, 2)
    size_hw = picture.truths.shape[1:]
    return F.interpolate(maps, size_hw, mode="bilinear", align_corners=False)[0].numpy()


def score_tseg(net: TsegNet, pictures: list[ValPicture]) -> dict[str, float]:
    """Mean IoU over both families: of the chosen proposal, and of the map at its best threshold."""
    if not pictures:
        return {}
    table = {row: values["all"] for row, values in score_table(net, pictures).items()}
    best = max((row for row in table if row.startswith("map")), key=lambda row: table[row])
    return {"chosen": round(table["chosen"], 4), "map": round(table[best], 4)}


def score_table(net: TsegNet, pictures: list[ValPicture]) -> dict[str, dict[str, float]]:
    """Mean IoU over sentences, by what answers and by family ("all": both).

    Rows: ``chosen`` (the proposal with the highest mean activation), ``random`` (the mean over all
    proposals), ``oracle`` (the best one), and ``map T``, the map cut at the threshold T.
    """
    rows: dict[str, list[float]] = {}
    families: list[str] = []
    for picture in pictures:
        flat = picture.masks.reshape(len(picture.masks), -1).astype(np.float32)
        maps = heatmaps(net, picture).reshape(len(picture.truths), -1)
        truths = picture.truths.reshape(len(maps), -1).astype(np.float32)
        families += picture.families
        inside = maps @ flat.T / np.maximum(flat.sum(1), 1)
        ious = iou_of(truths, flat)
        rows.setdefault("chosen", []).extend(ious[np.arange(len(ious)), inside.argmax(1)])
        rows.setdefault("random", []).extend(ious.mean(1))
        rows.setdefault("oracle", []).extend(ious.max(1))
        for threshold in THRESHOLDS:
            cut = (maps > threshold).astype(np.float32)
            both = (cut * truths).sum(1)
            either = cut.sum(1) + truths.sum(1) - both
            rows.setdefault(f"map {threshold}", []).extend(both / np.maximum(either, 1))
    of = np.array(families)
    return {
        row: {
            "all": float(np.mean(values)),
            **{f: float(np.mean(np.array(values)[of == f])) for f in FAMILIES},
        }
        for row, values in rows.items()
    }


def iou_of(truths: NDArray[np.float32], flat: NDArray[np.float32]) -> NDArray[np.float32]:
    """IoU of every truth with every mask, (s, m); both are 0 or 1, (.., H * W)."""
    both = truths @ flat.T
    either = truths.sum(1)[:, None] + flat.sum(1)[None] - both
    return np.asarray(both / np.maximum(either, 1), dtype=np.float32)
