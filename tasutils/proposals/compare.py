"""What makers of masks reach on a data set: oracle IoU, recall, number of masks and time."""

from collections.abc import Mapping, Sequence
from itertools import islice
from time import perf_counter

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from tasutils.datasets.sample import RefDataset
from tasutils.errors import TasError
from tasutils.images import read_image
from tasutils.masks import intersection_union
from tasutils.metrics import iou
from tasutils.proposals import Proposer, as_proposals


def oracle_table(
    proposers: Mapping[str, Proposer], dataset: RefDataset, limit: int | None = None
) -> pd.DataFrame:
    """One row a proposer, by its name, and target: what one reference of the data set means.

    limit: only the first so many images. Returns columns proposer, image_id, ref_id, share (of the
    picture, 0..1), hidden (share of the target behind others, NaN where the data set does not say),
    crowding (see `crowding`), intersection_px and union_px with its best mask (0 and its own area
    where there is none), oracle_iou (0..1), n_masks and time_s (both of the image). Raises TasError
    for no proposer, no image and pictures that cannot be read.
    """
    images = list(islice(dataset.by_image().items(), limit))
    if not proposers or not images:
        what = "no proposer was given" if images else f"{dataset.name} {dataset.split}: no image"
        raise TasError(f"nothing to compare: {what}; give at least one proposer and one image")
    rows = []
    for image_id, samples in images:
        pixels = read_image(dataset.image_path(image_id))
        targets = {sample.ref_id: sample for sample in samples}
        truths = [dataset.gt_mask(sample) for sample in targets.values()]
        crowds = crowding(truths)
        for name, proposer in proposers.items():
            start = perf_counter()
            proposals = as_proposals(proposer(pixels), pixels)
            time_s = perf_counter() - start
            masks = proposals.masks()
            for sample, truth, crowd in zip(targets.values(), truths, crowds, strict=True):
                pixels_of = intersection_union(masks, truth)
                best = int(np.argmax(iou(*pixels_of))) if len(masks) else -1
                inter, union = (
                    (px[best].item() for px in pixels_of) if best >= 0 else (0, truth.sum())
                )
                rows.append({
                    "proposer": name, "image_id": image_id, "ref_id": sample.ref_id,
                    "share": float(truth.mean()),
                    "hidden": sample.flags.get("hidden_fraction", np.nan), "crowding": crowd,
                    "intersection_px": inter, "union_px": int(union),
                    "oracle_iou": float(iou(inter, union)), "n_masks": len(masks), "time_s": time_s,
                })  # fmt: skip
    return pd.DataFrame(rows)


def crowding(masks: Sequence[NDArray[np.bool_]]) -> list[float]:
    """Of each target's box the share that other targets cover, 0..1; masks: bool (H, W) each."""
    shares = []
    for index, mask in enumerate(masks):
        others = np.zeros(mask.shape, bool)
        for other in (*masks[:index], *masks[index + 1 :]):
            others |= other & ~mask
        boxes = ndimage.find_objects(mask.astype(int))  # none of an empty mask
        shares.append(float(others[boxes[0]].mean()) if boxes else 0.0)
    return shares


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """One row a proposer of an `oracle_table`, in its order.

    Columns oracle_miou, oracle_oiou (sums over targets), recall@0.5 and recall@0.75 (share of
    targets with a mask of more than that IoU), masks and seconds (means over images), n_targets,
    n_images.
    """
    rows = {}
    for name, part in table.groupby("proposer", sort=False):
        images = part.drop_duplicates("image_id")
        rows[str(name)] = {
            "oracle_miou": part["oracle_iou"].mean(),
            "oracle_oiou": part["intersection_px"].sum() / part["union_px"].sum(),
            "recall@0.5": (part["oracle_iou"] > 0.5).mean(),
            "recall@0.75": (part["oracle_iou"] > 0.75).mean(),
            "masks": images["n_masks"].mean(),
            "seconds": images["time_s"].mean(),
            "n_targets": len(part),
            "n_images": len(images),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("proposer")
