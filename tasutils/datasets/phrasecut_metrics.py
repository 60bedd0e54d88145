"""PhraseCut's numbers as its own evaluator defines them (utils/evaluator.py, utils/subset.py).

Ground truth: the union of all instances, polygon points truncated to int, outline and fill
(`polygon_mask(..., raster="outline")`, which `load_dataset("phrasecut", ...)` uses). IoU is 0 where
the intersection is 0; accuracy is strictly above .5 to .9; the mean IoU weighs every task alike and
the cumulative IoU is the sum of intersections over the sum of unions. A task without a prediction
is left out there, in silence; here it counts as an empty mask unless `missing="left_out"`, and n
stands beside every number either way.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from tasutils.datasets.sample import RefDataset, Sample
from tasutils.errors import TasError
from tasutils.masks import intersection_union
from tasutils.metrics import THRESHOLDS, summary

if TYPE_CHECKING:
    import pandas as pd

Missing = Literal["counted", "left_out"]
MANY, SMALL, LARGE = 5, 0.02, 0.2


def subsets(samples: pd.DataFrame, disjoint: bool = False) -> dict[str, NDArray[np.bool_]]:
    """Which tasks belong to each published subset that the annotations alone decide.

    By instances (i_single 1, i_multi 2 and more, i_many 5 and more), by the phrase (p_att,
    p_attm: attributes; p_rel, p_relm: relations; p_att_rel; p_name, p_att+, p_rel+, p_verbose: what
    was needed to tell the target apart) and by the target's share of the image (s_small below 2 %,
    s_large above 20 %). The subsets by frequency of words and by lists of words are not here.

    Args:
        samples: samples.parquet of a run on PhraseCut, or `predictions_table`.
        disjoint: whether i_many is taken out of i_multi, as the published code does against its
            own description.

    Returns:
        By name, bool (n,).

    Raises:
        TasError: the table is of another data set.
    """
    needed = ("n_instances", "n_attributes", "n_relations", "phrase_type", "image_area_px")
    lacking = [name for name in needed if name not in samples]
    if lacking:
        raise TasError(f"no column {lacking[0]}: the subsets are those of PhraseCut's layout")
    instances, kind = samples["n_instances"].to_numpy(int), samples["phrase_type"].to_numpy(str)
    attributes, relations = (samples[f"n_{n}"].to_numpy(int) for n in ("attributes", "relations"))
    share = samples["gt_area_px"].to_numpy(float) / samples["image_area_px"].to_numpy(float)
    multi = (instances > 1) & (instances < MANY) if disjoint else instances > 1
    return {
        "all": np.ones(len(samples), np.bool_),
        "i_single": instances == 1,
        "i_multi": multi,
        "i_many": instances >= MANY,
        "p_name": kind == "name",
        "p_att": attributes > 0,
        "p_att+": kind == "attribute",
        "p_rel": relations > 0,
        "p_rel+": kind == "relation",
        "p_verbose": kind == "verbose",
        "p_attm": attributes > 1,
        "p_relm": relations > 1,
        "p_att_rel": (attributes > 0) & (relations > 0),
        "s_small": share < SMALL,
        "s_mid": (share >= SMALL) & (share <= LARGE),
        "s_large": share > LARGE,
    }


def scores(
    samples: pd.DataFrame, missing: Missing = "counted", disjoint: bool = False
) -> pd.DataFrame:
    """PhraseCut's numbers for every subset.

    Args:
        samples: as in `subsets`, with chosen (-1 where there is no prediction), intersection_px,
            union_px and gt_area_px.
        missing: whether a task without a prediction counts as an empty mask or is left out.
        disjoint: see `subsets`.

    Returns:
        One row a subset: n, n_missing, mean_iou, cum_iou, acc@0.5 ... acc@0.9, all in 0..1 and 0
        over no tasks.
    """
    import pandas as pd

    there = samples["chosen"].to_numpy(int) >= 0
    intersection, union = (samples[f"{n}_px"].to_numpy(int) for n in ("intersection", "union"))
    rows = {}
    for name, member in subsets(samples, disjoint).items():
        counted = member & there if missing == "left_out" else member
        found = summary(intersection[counted], union[counted])
        rows[name] = {
            "n": int(counted.sum()),
            "n_missing": int((member & ~there).sum()),
            "mean_iou": found["miou"],
            "cum_iou": found["oiou"],
            **{f"acc@{t}": found[f"p@{t}"] for t in THRESHOLDS},
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def predictions_table(
    data: RefDataset, predict: Callable[[Sample], NDArray[np.bool_] | None]
) -> pd.DataFrame:
    """A table for `scores` of any predictor.

    Args:
        data: a split of PhraseCut.
        predict: the predicted mask of a task, bool (H, W), or None when there is none; such as
            `prediction_files(folder)`.
    """
    import pandas as pd

    rows = []
    for sample in data.samples:
        gt, mask = data.gt_mask(sample), predict(sample)
        area = int(np.count_nonzero(gt))
        pixels = (np.zeros(1, int), np.array([area]))
        if mask is not None:
            pixels = intersection_union(mask[None], gt)
        rows.append({
            "sample_id": sample.sample_id,
            "image_id": sample.image_id,
            **sample.flags,
            "chosen": -1 if mask is None else 0,
            "intersection_px": int(pixels[0][0]),
            "union_px": int(pixels[1][0]),
            "gt_area_px": area,
        })  # fmt: skip
    return pd.DataFrame(rows)


def prediction_files(folder: Path | str) -> Callable[[Sample], NDArray[np.bool_] | None]:
    """Predictions as PhraseCut's evaluator takes them: `<task_id>.png`, what is not 0 is predicted.

    Raises:
        TasError: there is no such folder; later, a file that is no picture.
    """
    from tasutils.datasets.own_masks import read_labels

    place = Path(folder)
    if not place.is_dir():
        raise TasError(f"{place}: no folder of predictions; `tas evaluate ... --masks` writes one")

    def predict(sample: Sample) -> NDArray[np.bool_] | None:
        path = place / f"{sample.sample_id}.png"
        if not path.is_file():
            return None
        labels = read_labels(path)
        mask = labels.any(axis=2) if labels.ndim == 3 else labels != 0
        return np.asarray(mask, np.bool_)

    return predict
