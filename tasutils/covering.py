"""What each mask of a run covers: the thing asked for in its picture that it overlaps best.

Only things that some sentence of the run asks for are known, so a mask that covers none of them
may still be a good mask of something else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils.metrics import iou, segment_argmax

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.study import Part

GOOD = 0.5  # IoU above which a mask covers a thing


def covering(part: Part) -> pd.DataFrame:
    """The best target of each mask.

    Returns:
        One row an image and proposal, index (image_id, proposal): ref_id, category, iou, inside
        (share of the mask that lies on the target, 0..1), covers (bool: IoU above `GOOD`).
    """
    import pandas as pd

    table, samples = part.scores, part.samples
    area_px = table.intersection_px + table.union_px - table.gt_area_px[table.segment]
    rows = samples[["image_id", "ref_id", "category"]].iloc[table.segment]
    rows = rows.assign(
        proposal=table.proposal,
        iou=mask_ious(part),
        inside=table.intersection_px / np.maximum(area_px, 1),
    )
    rows = rows.sort_values("iou", ascending=False, kind="stable")
    best = rows.drop_duplicates(["image_id", "proposal"])
    best = best.assign(covers=best["iou"] > GOOD)
    return pd.DataFrame(best.set_index(["image_id", "proposal"]).sort_index())


def mask_ious(part: Part) -> NDArray[np.float64]:
    """IoU of each row of the scores with its sentence's target, float64 (rows,)."""
    table = part.scores
    return iou(table.intersection_px, table.union_px, table.rules.epsilon)


def wanted(part: Part) -> NDArray[np.int64]:
    """Row of the best mask of each sentence, int64 (n,); -1 where none covers the target."""
    ious = mask_ious(part)
    best = segment_argmax(part.scores.segment, ious, len(part.samples))
    best[best >= 0] = np.where(ious[best[best >= 0]] > GOOD, best[best >= 0], -1)
    return best


def is_right(part: Part, chosen: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each chosen row (-1: none) covers its sentence's target, bool (n,)."""
    right = np.zeros(len(chosen), bool)
    right[chosen >= 0] = mask_ious(part)[chosen[chosen >= 0]] > GOOD
    return right
