"""Ablations from stored scores alone: V, V+P, V+N, V+P+N, each with and without the rectifier.

Nothing is described or encoded again; a variant is array work on scores.parquet. With the weights
of the run, `V+P+N` with the rectifier gives exactly the answers of samples.parquet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tasutils.metrics import iou
from tasutils.score_table import OWN, Rules, ScoreTable

if TYPE_CHECKING:
    import pandas as pd

VARIANTS = {"V": (0, 0), "V+P": (1, 0), "V+N": (0, 1), "V+P+N": (1, 1)}


def variants(
    scores: pd.DataFrame,
    samples: pd.DataFrame,
    alpha: float,
    lam: float,
    rules: Rules | None = None,
) -> pd.DataFrame:
    """The answers of all variants.

    Args:
        scores: scores.parquet of a run.
        samples: its samples.parquet.
        alpha: weight of P where a variant has it.
        lam: weight of N where a variant has it.
        rules: of the run.

    Returns:
        One row a variant, rectifier setting and sentence, sentences in the order of `samples`:
        variant, rectifier, sample_id, image_id, chosen (-1 for none), intersection_px, union_px,
        iou.

    Raises:
        TasError: the tables belong to different runs.
    """
    import pandas as pd

    table = ScoreTable(scores, samples, rules)
    parts = []
    for name, (with_p, with_n) in VARIANTS.items():
        for rectifier in (False, True):
            form = OWN if rectifier else "none"
            rows = table.choose(alpha * with_p, lam * with_n, form)
            intersection, union = table.pixels(rows)
            chosen = np.full(len(rows), -1, np.int64)
            chosen[rows >= 0] = table.proposal[rows[rows >= 0]]
            parts.append(pd.DataFrame({
                "variant": name,
                "rectifier": rectifier,
                "sample_id": table.sample_ids,
                "image_id": samples["image_id"].to_numpy(),
                "chosen": chosen,
                "intersection_px": intersection,
                "union_px": union,
                "iou": iou(intersection, union, table.rules.epsilon),
            }))  # fmt: skip
    return pd.concat(parts, ignore_index=True)
