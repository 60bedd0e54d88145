"""How well TSEG's maps fit val: alone, cut at a threshold, and as a choice among proposals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from making.clip import embed_text
from making.pools import TRAINING
from making.scores import ious
from making.tokenizer import TOKENIZER
from tasutils.baselines.tseg import TsegNet, tiny_maps
from tasutils.datasets import load_dataset
from tasutils.encoders.openclip import tiny_tokenizer
from tasutils.images import read_image
from tasutils.tas import load

FAMILIES = ("refscenes", "phrasescenes")
THRESHOLDS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
PROPOSALS = TRAINING / "tseg" / "val_proposals"
SCORE_IMAGES = 30


@dataclass(frozen=True, eq=False)
class ValPicture:
    """A picture of val, uint8 (H, W, 3), with its s sentences (``words``).

    masks: bool (m, H, W), the tiny SAM's proposals; truths: bool (s, H, W); coarse, fine: maps of
    the frozen tower; texts: float32 (s, d).
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
    sets = {family: load_dataset(family, "val") for family in FAMILIES}
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
                truths=np.stack([data.gt_mask(sample) for _, data, sample in samples]),
                coarse=coarse,
                fine=fine,
                texts=embed_text(model, tokenizer(list(words))),
                families=tuple(family for family, _, _ in samples),
                words=words,
            )
        )
    return found


def _proposals(image_id: str, picture: NDArray[np.uint8], folder: Path) -> NDArray[np.bool_]:
    path = folder / f"{image_id}.npz"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, masks=load("tiny", device="cpu").proposer(picture).masks())
    with np.load(path) as file:
        return np.asarray(file["masks"])


@torch.no_grad()
def heatmaps(net: TsegNet, picture: ValPicture) -> NDArray[np.float32]:
    """Assignment of the pixels of a picture to each of its sentences, float32 (s, H, W)."""
    margins = net.margins(net.patches(picture.coarse, picture.fine), net.texts(picture.texts))
    maps = margins.sigmoid().permute(0, 3, 1, 2)
    size_hw = picture.truths.shape[1:]
    return F.interpolate(maps, size_hw, mode="bilinear", align_corners=False)[0].numpy()


def score_tseg(net: TsegNet, pictures: list[ValPicture]) -> dict[str, float]:
    """Mean IoU over both families: of the chosen proposal, and of the map at its best threshold."""
    table = score_table(net, pictures)["all"].round(4)
    return {"chosen": float(table["chosen"]), "map": float(table.filter(like="map").max())}


def score_table(net: TsegNet, pictures: list[ValPicture]) -> pd.DataFrame:
    """Mean IoU over sentences, by what answers (rows) and by family (columns; "all": both).

    Rows: ``chosen`` (the proposal with the highest mean activation), ``random`` (the mean over all
    proposals), ``oracle`` (the best one), and ``map T``, the map cut at the threshold T.
    """
    rows = []
    for picture in pictures:
        flat = picture.masks.reshape(len(picture.masks), -1).astype(np.float32)
        maps = heatmaps(net, picture)
        inside = maps.reshape(len(maps), -1) @ flat.T / np.maximum(flat.sum(1), 1)
        of = ious(picture.truths, picture.masks)
        found = {"chosen": of[np.arange(len(of)), inside.argmax(1)]}
        found |= {"random": of.mean(1), "oracle": of.max(1)}
        for cut in THRESHOLDS:
            both = (maps > cut) & picture.truths
            either = (maps > cut) | picture.truths
            found[f"map {cut}"] = both.sum((1, 2)) / np.maximum(either.sum((1, 2)), 1)
        rows.append(pd.DataFrame(found).assign(family=picture.families))
    table = pd.concat(rows)
    by_family = table.groupby("family").mean().T[list(FAMILIES)]
    by_family.insert(0, "all", table.drop(columns="family").mean())
    return by_family
