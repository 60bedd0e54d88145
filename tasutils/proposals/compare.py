"""What makers of masks reach on a data set: oracle IoU, recall, number of masks and time."""

from collections.abc import Mapping, Sequence
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tasutils.datasets.sample import RefDataset
from tasutils.errors import TasError
from tasutils.images import read_image
from tasutils.masks import intersection_union
from tasutils.metrics import iou

if TYPE_CHECKING:
    from tasutils.proposals import Proposer

# target's share of the picture, upper ends of small, medium and large
SIZE_BOUNDS = {"small": 0.01, "medium": 0.05, "large": 1.0}


def oracle_table(
    proposers: Mapping[str, "Proposer"], dataset: RefDataset, limit: int | None = None
) -> pd.DataFrame:
    """One row a proposer and target, from which the functions below make their tables.

    Args:
        proposers: by the name that the rows carry.
        dataset: a target is what one reference of it means, however many sentences name it.
        limit: only the first so many images; None for all.

    Returns columns proposer, image_id, ref_id, share (of the picture, 0..1), oracle_iou (0..1, 0
    where there is no mask), n_masks and time_s (both of the image). Raises TasError for no
    proposer, no image and pictures that cannot be read.
    """
    images = list(islice(dataset.by_image().items(), limit))
    if not proposers or not images:
        what = "no proposer was given" if images else f"{dataset.name} {dataset.split}: no image"
        raise TasError(f"nothing to compare: {what}; give at least one proposer and one image")
    rows = []
    for image_id, samples in images:
        pixels = read_image(dataset.image_path(image_id))
        targets = {sample.ref_id: sample for sample in samples}
        truths = {ref_id: dataset.gt_mask(sample) for ref_id, sample in targets.items()}
        for name, proposer in proposers.items():
            start = perf_counter()
            proposals = proposer(pixels)
            time_s = perf_counter() - start
            masks = proposals.masks()
            for ref_id, truth in truths.items():
                best = float(iou(*intersection_union(masks, truth)).max(initial=0.0))
                row = (name, image_id, ref_id, float(truth.mean()), best, len(masks), time_s)
                rows.append(row)
    names = ["proposer", "image_id", "ref_id", "share", "oracle_iou", "n_masks", "time_s"]
    return pd.DataFrame(rows, columns=names)


def compare_proposers(
    proposers: Mapping[str, "Proposer"], dataset: RefDataset, limit: int | None = None
) -> pd.DataFrame:
    """One row a proposer, see `summary`; arguments and errors as `oracle_table`."""
    return summary(oracle_table(proposers, dataset, limit))


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """One row a proposer of an `oracle_table`, in its order.

    Columns oracle_miou, recall@0.5 and recall@0.75 (share of targets with a mask of more than that
    IoU), masks and seconds (means over images), n_targets, n_images.
    """
    rows = {}
    for name, part in table.groupby("proposer", sort=False):
        images = part.drop_duplicates("image_id")
        rows[str(name)] = {
            "oracle_miou": part["oracle_iou"].mean(),
            "recall@0.5": (part["oracle_iou"] > 0.5).mean(),
            "recall@0.75": (part["oracle_iou"] > 0.75).mean(),
            "masks": images["n_masks"].mean(),
            "seconds": images["time_s"].mean(),
            "n_targets": len(part),
            "n_images": len(images),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("proposer")


def recall_curve(table: pd.DataFrame, thresholds: Sequence[float] | None = None) -> pd.DataFrame:
    """Recall of an `oracle_table` by IoU threshold (rows) and proposer (columns).

    A target counts where its oracle IoU is over the threshold; 0.05, 0.1 ... 0.95 by default.
    """
    bars = np.round(np.arange(0.05, 0.96, 0.05), 2) if thresholds is None else thresholds
    curves = {
        str(name): [(part["oracle_iou"] > bar).mean() for bar in bars]
        for name, part in table.groupby("proposer", sort=False)
    }
    return pd.DataFrame(curves, index=pd.Index(bars, name="iou"))


def by_size(table: pd.DataFrame) -> pd.DataFrame:
    """Mean oracle IoU of an `oracle_table` by proposer (rows) and size of target (columns).

    Sizes as in `SIZE_BOUNDS`; NaN where no target has the size. The row `n_targets` counts them.
    """
    ends = [0.0, *SIZE_BOUNDS.values()]
    size = pd.cut(table["share"], ends, labels=list(SIZE_BOUNDS), include_lowest=True)
    groups = table.groupby([table["proposer"], size], sort=False, observed=False)["oracle_iou"]
    result = groups.mean().unstack().reindex(table["proposer"].unique())
    result.loc["n_targets"] = groups.size().unstack().iloc[0]
    return result[list(SIZE_BOUNDS)]
