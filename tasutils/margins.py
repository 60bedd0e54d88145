"""By how much a choice is the best: where rounding, hence another device, may choose otherwise.

A device adds the same numbers in another order, which moves a total by less than half of
`TOLERANCE` (the largest difference between float32 and float64 networks, embeddings kept as float16
both times, was 2.3e-5 over 107 sentences of RefScenes testS with the preset tiny). So the choice
among the same masks with the same captions agrees across devices wherever the best total exceeds
the second by more than `TOLERANCE`; the others are counted. Masks and captions that differ between
devices are no matter of margins.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasutils.rectifier import ranking
from tasutils.terms import combine

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.runs import Run, RunRecord

TOLERANCE = 1e-4  # of a total in cosines, or of a peer's score
_LOGIT_SCALE = 100.0  # the largest that CLIP's training allows; a smaller one counts more as close


class CloseCalls(NamedTuple):
    """Choices whose margin is within the tolerance, of n that were made; `tolerance` as applied."""

    n_close: int
    n: int
    tolerance: float

    def __str__(self) -> str:
        share = 100 * self.n_close / max(self.n, 1)
        return (
            f"{self.n_close} of {self.n} choices ({share:.1f} %) have a margin of "
            f"{self.tolerance:g} or less, the best total minus the second: there another device "
            "may choose otherwise"
        )


def close_calls(run: Run) -> CloseCalls:
    """How many choices of a run are within the tolerance of another mask."""
    scaled = run.record.config.get("scores", {}).get("logit_scale", False)
    tas = run.record.method in ("tas", "clip_only", "text_only")
    tolerance = TOLERANCE * (_LOGIT_SCALE if scaled and tas else 1)
    found = margins(run.scores(), run.record)
    return CloseCalls(int((found["margin"] <= tolerance).sum()), len(found), tolerance)


def margins(scores: pd.DataFrame, record: RunRecord) -> pd.DataFrame:
    """The margin of each choice.

    Args:
        scores: scores.parquet of a run.
        record: of the run, for the weights of TAS.

    Returns:
        One row a sentence with proposals, in their order: sample_id, chosen (the first best mask
        among those that the rectifier leaves), margin (its total minus the next one's there,
        float64; infinite where there is no other, and where totals are NaN by rule).
    """
    import pandas as pd

    ids = scores["sample_id"].to_numpy(str)
    total = _totals(scores, record)
    inside, yields = (
        scores[name].to_numpy(bool) if name in scores else np.full(len(ids), name == "region")
        for name in ("region", "yields")
    )
    edges = np.unique([0, *(np.flatnonzero(ids[1:] != ids[:-1]) + 1), len(ids)])
    rows = []
    for start, end in pairwise(edges):
        mine = slice(start, end)
        order = ranking(total[mine], inside[mine], yields[mine])
        best, rivals = order[0], order[1:][inside[mine][order[1:]] == inside[mine][order[0]]]
        margin = total[mine][best] - total[mine][rivals[0]] if len(rivals) else np.inf
        rows.append((ids[start], best, np.inf if np.isnan(margin) else margin))
    return pd.DataFrame(rows, columns=["sample_id", "chosen", "margin"])


def _totals(scores: pd.DataFrame, record: RunRecord) -> NDArray[np.float64]:
    """What was compared, float64 (rows,); of TAS before normalisation, which keeps the order."""
    if "score" in scores:
        return scores["score"].to_numpy(np.float64)
    return combine(
        {name: scores[name] for name in "vpn"}, {"v": 1, "p": record.alpha, "n": record.lam}
    )
