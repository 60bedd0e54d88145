"""The tables of a run, row by row as sentences are answered, and the metrics computed from them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils.datasets.sample import Sample
from tasutils.masks import intersection_union
from tasutils.metrics import iou
from tasutils.runs import Metric
from tasutils.stats import bootstrap

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.refer import Answer

BOOTSTRAP_SEED = 0
_SCORE_COLUMNS = ("v", "p", "n", "region", "intersection_px", "union_px", "gt_area_px")


class RunTables:
    """Rows of samples.parquet and scores.parquet, and the times, as they come."""

    def __init__(self) -> None:
        self.samples: list[dict[str, Any]] = []
        self.scores: list[dict[str, Any]] = []
        self.times_s: dict[str, float] = {}
        self.n_described = 0
        self.dtype = "float32"

    def count_times(self, times_s: dict[str, float]) -> None:
        """Add the stage times of one description."""
        self.n_described += 1
        for stage, seconds in times_s.items():
            self.times_s[stage] = self.times_s.get(stage, 0.0) + seconds

    def add(
        self,
        sample: Sample,
        masks: NDArray[np.bool_],
        gt: NDArray[np.bool_],
        answer: Answer | None,
        fault: str = "",
    ) -> None:
        """Score one sentence.

        Args:
            sample: what was asked.
            masks: the scene's proposals, bool (n, H, W).
            gt: the ground truth, bool (H, W).
            answer: None for a sentence that cannot be read.
            fault: why it cannot.
        """
        intersection, union = intersection_union(masks, gt)
        area = int(np.count_nonzero(gt))
        chosen = -1 if answer is None or answer.chosen is None else int(answer.chosen)
        best = int(np.argmax(iou(intersection, union))) if len(masks) else -1
        pixels = [
            (int(intersection[k]), int(union[k])) if k >= 0 else (0, area) for k in (chosen, best)
        ]
        fields = asdict(sample)
        flags = fields.pop("flags")
        fields.pop("split")
        self.samples.append({
            **fields,
            "chosen": chosen,
            "n_proposals": len(masks),
            "intersection_px": pixels[0][0],
            "union_px": pixels[0][1],
            "iou": float(iou(*pixels[0])),
            "gt_area_px": area,
            "oracle_intersection_px": pixels[1][0],
            "oracle_union_px": pixels[1][1],
            "oracle_iou": float(iou(*pixels[1])),
            "rectified": answer is not None and bool(answer.rectified),
            "reason": fault if answer is None else answer.reason,
            **flags,
        })  # fmt: skip
        if answer is not None:
            self.scores.append({
                "sample_id": sample.sample_id,
                "v": answer.v, "p": answer.p, "n": answer.n, "region": answer.in_region,
                "intersection_px": intersection, "union_px": union,
                "gt_area_px": np.full(len(masks), area),
            })  # fmt: skip

    def frames(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Both tables."""
        import pandas as pd

        counts = [len(row["v"]) for row in self.scores]
        scores = pd.DataFrame({
            "sample_id": np.repeat([row["sample_id"] for row in self.scores], counts),
            "proposal": np.concatenate([np.arange(0), *(np.arange(count) for count in counts)]),
            **{
                name: np.concatenate([row[name] for row in self.scores]) if counts else []
                for name in _SCORE_COLUMNS
            },
        })  # fmt: skip
        return pd.DataFrame(self.samples), scores


def metrics_of(samples: pd.DataFrame) -> dict[str, Metric]:
    """All metrics of a table of samples with intervals, and as `oracle_...` those of the oracle.

    Args:
        samples: columns image_id, intersection_px, union_px, oracle_intersection_px,
            oracle_union_px.
    """
    image = samples["image_id"].to_numpy(str)
    found: dict[str, Metric] = {}
    for prefix in ("", "oracle_"):
        intersection = samples[f"{prefix}intersection_px"].to_numpy()
        union = samples[f"{prefix}union_px"].to_numpy()
        intervals = bootstrap(intersection, union, image, seed=BOOTSTRAP_SEED)
        found |= {f"{prefix}{name}": Metric.of(value) for name, value in intervals.items()}
    return found
