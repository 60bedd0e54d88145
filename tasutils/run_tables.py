"""The tables and masks of a run, as sentences are answered, and the metrics computed from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils.datasets.sample import Sample
from tasutils.errors import TasError
from tasutils.masks import intersection_union
from tasutils.metrics import iou
from tasutils.paths import name_part
from tasutils.runs import Metric
from tasutils.stats import bootstrap

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.refer import TasAnswer

BOOTSTRAP_SEED = 0
_TAS_COLUMNS = ("v", "p", "n", "region", "yields", "intersection_px", "union_px", "gt_area_px")


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Pixels of each of n masks against one ground truth; NaN where there is none.

    intersection_px, union_px: int64 (n,), or NaN; gt_area_px: of the ground truth; refer: the same
    by REFER's overlap rule, None where the whole split is the same by it.
    """

    intersection_px: NDArray[np.generic]
    union_px: NDArray[np.generic]
    gt_area_px: float
    refer: Overlaps | None = None

    @classmethod
    def of(cls, masks: NDArray[np.bool_], gt: NDArray[np.bool_] | None) -> Overlaps:
        """Of bool (n, H, W) with bool (H, W), or with None for no ground truth."""
        if gt is None:
            nothing = np.full(len(masks), np.nan)
            return cls(nothing, nothing, np.nan)
        return cls(*intersection_union(masks, gt), int(np.count_nonzero(gt)))

    def pixels(self, chosen: int) -> tuple[float, float]:
        """Intersection and union of one mask, of none with -1."""
        if np.isnan(self.gt_area_px):
            return np.nan, np.nan
        if chosen < 0:
            return 0, self.gt_area_px
        return self.intersection_px[chosen].item(), self.union_px[chosen].item()

    def best(self, epsilon: float) -> int:
        """The mask with the highest IoU, the first of equal ones; -1 without masks."""
        values = iou(self.intersection_px, self.union_px, epsilon)
        return int(np.argmax(values)) if len(values) else -1

    def columns(self, chosen: int, epsilon: float) -> dict[str, float]:
        """Pixels of the chosen mask and of the best one, with the ground truth's own."""
        own, best = self.pixels(chosen), self.pixels(self.best(epsilon))
        return {
            "intersection_px": own[0],
            "union_px": own[1],
            "gt_area_px": self.gt_area_px,
            "oracle_intersection_px": best[0],
            "oracle_union_px": best[1],
        }


@dataclass(frozen=True, eq=False)
class Choice:
    """What a method chose for a sentence: chosen, -1 for no mask; columns, its numbers by mask.

    A sentence that cannot be read has no columns, and its fault as reason.
    """

    chosen: int
    reason: str
    rectified: bool = False
    columns: dict[str, NDArray[np.generic]] = field(default_factory=dict)

    @classmethod
    def of_answer(
        cls, answer: TasAnswer, others: Mapping[str, NDArray[np.generic]] | None = None
    ) -> Choice:
        """The choice of TAS, with v, p, n, region and yields; others: from `alternatives`."""
        columns: dict[str, NDArray[np.generic]] = {
            "v": answer.v,
            "p": answer.p,
            "n": answer.n,
            "region": answer.in_region,
            "yields": answer.yields,
            **(others or {}),
        }
        chosen = -1 if answer.best is None else int(answer.best)
        return cls(chosen, answer.reason, bool(answer.rectified), columns)

    @classmethod
    def of_scores(cls, name: str, scores: NDArray[np.float64]) -> Choice:
        """The first highest of a method's scores, float64 (n,)."""
        if not len(scores):
            return cls(-1, "no mask was proposed", columns={"score": scores})
        best = int(np.argmax(scores))
        reason = f"mask {best} has the highest score of {name}: {scores[best]:.4g}"
        return cls(best, reason, columns={"score": scores})

    @classmethod
    def refused(cls, fault: str) -> Choice:
        """No choice, for a sentence that cannot be read."""
        return cls(-1, fault)


class RunTables:
    """Rows of samples.parquet and scores.parquet, and the times, as they come.

    epsilon: of the IoU, see `metrics.iou`. wall_s: spent on the run; answer_s: of it, by the
    method on described scenes; times_s: of it, by stages of description.
    """

    def __init__(self, epsilon: float = 0.0) -> None:
        self.epsilon = epsilon
        self.samples: list[dict[str, Any]] = []
        self.scores: list[dict[str, Any]] = []
        self.wall_s = self.answer_s = 0.0
        self.times_s: dict[str, float] = {}
        self.n_described = 0
        self.dtype = "float32"

    def count_times(self, times_s: dict[str, float]) -> None:
        """Add the stage times of one description."""
        self.n_described += 1
        for stage, seconds in times_s.items():
            self.times_s[stage] = self.times_s.get(stage, 0.0) + seconds

    def add(self, sample: Sample, overlaps: Overlaps, choice: Choice, picture: str = "") -> None:
        """Score one sentence: what was asked, the scene's masks against its truth, the choice.

        picture: `images.pixel_digest` of the picture.
        """
        intersection, union = overlaps.intersection_px, overlaps.union_px
        pixels = overlaps.columns(choice.chosen, self.epsilon)
        refer = overlaps.refer.columns(choice.chosen, self.epsilon) if overlaps.refer else {}
        fields = asdict(sample)
        flags = fields.pop("flags")
        fields.pop("split")
        fields.pop("ann_ids")
        self.samples.append({
            **fields,
            "chosen": choice.chosen,
            "n_proposals": len(union),
            "intersection_px": pixels["intersection_px"],
            "union_px": pixels["union_px"],
            "iou": self._iou(pixels),
            "gt_area_px": pixels["gt_area_px"],
            "oracle_intersection_px": pixels["oracle_intersection_px"],
            "oracle_union_px": pixels["oracle_union_px"],
            "oracle_iou": self._iou(pixels, "oracle_"),
            "rectified": choice.rectified,
            "reason": choice.reason,
            "image_digest": picture,
            **{f"refer_{name}": value for name, value in refer.items()},
            **flags,
        })  # fmt: skip
        if choice.columns:
            self.scores.append({
                "sample_id": sample.sample_id,
                **choice.columns,
                "intersection_px": intersection, "union_px": union,
                "gt_area_px": np.full(len(union), overlaps.gt_area_px),
            })  # fmt: skip

    def _iou(self, pixels: dict[str, float], prefix: str = "") -> float:
        if np.isnan(pixels["gt_area_px"]):
            return np.nan
        inter, union = pixels[f"{prefix}intersection_px"], pixels[f"{prefix}union_px"]
        return float(iou(inter, union, self.epsilon))

    def frames(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Both tables."""
        import pandas as pd

        counts = [len(row["union_px"]) for row in self.scores]
        first = self.scores[0] if self.scores else dict.fromkeys(("sample_id", *_TAS_COLUMNS))
        scores = pd.DataFrame({
            "sample_id": np.repeat([row["sample_id"] for row in self.scores], counts),
            "proposal": np.concatenate([np.arange(0), *(np.arange(count) for count in counts)]),
            **{
                name: np.concatenate([row[name] for row in self.scores]) if counts else []
                for name in list(first)[1:]
            },
        })  # fmt: skip
        return pd.DataFrame(self.samples), scores


def metrics_of(samples: pd.DataFrame, epsilon: float = 0.0) -> dict[str, Metric]:
    """All metrics of a table of samples with intervals, and as `oracle_...` those of the oracle.

    Args:
        samples: columns image_id, gt_area_px, intersection_px, union_px, oracle_intersection_px,
            oracle_union_px.

    Returns:
        By name; of the samples that have a ground truth, and empty when none has.
    """
    samples = samples[samples["gt_area_px"].notna()]
    if samples.empty:
        return {}
    image = samples["image_id"].to_numpy(str)
    found: dict[str, Metric] = {}
    for prefix in ("", "oracle_"):
        intersection = samples[f"{prefix}intersection_px"].to_numpy()
        union = samples[f"{prefix}union_px"].to_numpy()
        intervals = bootstrap(intersection, union, image, epsilon=epsilon, seed=BOOTSTRAP_SEED)
        found |= {f"{prefix}{name}": Metric.of(value) for name, value in intervals.items()}
    return found


def write_mask(folder: Path, sample_id: str, mask: NDArray[np.bool_]) -> None:
    """Write the chosen mask of a sentence, bool (H, W), as a PNG of 0 and 255.

    Raises:
        TasError: the disk refuses.
    """
    from PIL import Image

    name = name_part(sample_id)
    try:
        folder.mkdir(exist_ok=True)
        Image.fromarray(mask.astype("uint8") * 255).save(folder / f"{name}.png", "PNG")
    except OSError as error:
        raise TasError(
            f"{folder}: a mask cannot be written ({error.strerror or error}); make room"
        ) from None
