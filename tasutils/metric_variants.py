"""One run by every convention in print: the same pixels, other rules, other numbers.

Each convention differs from the house's in one rule, so what a rule is worth is read off the rows.
Published code counts every sentence of a reference by itself (TAS, Global-Local, LAVT, CRIS); the
two conventions by reference are here because tables are sometimes read as if they were that.
Sources: TAS released code; Global-Local (Our_method_with_free_solo.py, utils.py); LAVT (test.py);
CRIS (engine/engine.py); PhraseCut (utils/evaluator.py); REFER (refer.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils.errors import TasError
from tasutils.metrics import CONVENTION, METRIC_NAMES, iou, ratio_terms, segment_argmax
from tasutils.run_lines import run_scope, run_subject
from tasutils.score_table import Rules
from tasutils.stats import bootstrap_ratios

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.runs import Run

EPSILON = 1e-6  # px, of TAS's and CRIS's code


@dataclass(frozen=True)
class Convention:
    """A way to count: its name, what it says, and in what it differs from the house's.

    unit: what is counted; names: the metrics it is told for; prefix: of the columns with its
    pixels, where they are others.
    """

    name: str
    says: str
    unit: str = "sentence"
    names: tuple[str, ...] = METRIC_NAMES
    strict: bool = True
    epsilon: float = 0.0
    prefix: str = ""


CONVENTIONS = (
    Convention("sentence", f"{CONVENTION} (TAS, and PhraseCut for tasks with a prediction)"),
    Convention(
        "not strict",
        "as sentence, but P@X is IoU >= X (LAVT)",
        names=METRIC_NAMES[2:],
        strict=False,
    ),
    Convention(
        "epsilon",
        f"as sentence, but IoU = I / (U + {EPSILON:g}) (TAS released code, CRIS)",
        names=METRIC_NAMES[1:],
        epsilon=EPSILON,
    ),
    Convention(
        "answered",
        "as sentence, but sentences without an answer are left out, and with them the hard ones "
        "(Global-Local's pictures without masks; PhraseCut's tasks without a prediction)",
    ),
    Convention(
        "size-weighted",
        "as sentence, but the mean IoU weighs each sentence by the area of its ground truth; "
        "sometimes printed as mIoU",
        names=("miou",),
    ),
    Convention(
        "reference",
        "every reference counts once, by the mean over its sentences; no published code that we "
        "know does so",
        unit="reference",
    ),
    Convention(
        "best sentence",
        "every reference counts once, by the sentence with the highest IoU, which needs the ground "
        "truth: an upper bound, no score",
        unit="reference",
    ),
    Convention(
        "REFER overlap",
        "as sentence, but pixels under two polygons of one annotation are background (REFER sums "
        "the polygons, and Global-Local keeps the pixels equal to 1)",
        prefix="refer_",
    ),
)


def metric_variants(run: Run) -> pd.DataFrame:
    """All metrics of a run by all conventions; a convention that its tables do not tell is absent.

    Returns:
        One row a convention and metric: convention, unit, metric, value, low, high (95 %, bootstrap
        over images), oracle, n (of the unit), n_without_proposals (of these), n_images, says. All
        values are fractions.

    Raises:
        TasError: no sentence has a ground truth.
    """
    import pandas as pd

    samples = run.samples()
    samples = samples[samples["gt_area_px"].notna()]
    if samples.empty:
        raise TasError(f"{run.folder.name} has no metric: its data set has no ground truth")
    told = [c for c in CONVENTIONS if f"{c.prefix}union_px" in samples]
    return pd.DataFrame([row for convention in told for row in _rows(convention, samples)])


def _rows(convention: Convention, samples: pd.DataFrame) -> list[dict[str, object]]:
    """The rows of one convention."""
    if convention.name == "answered":
        samples = samples[samples["chosen"] >= 0]
    pairs = {}
    for who in ("", "oracle_"):
        inter, union = (
            samples[f"{convention.prefix}{who}{what}_px"].to_numpy(np.float64)
            for what in ("intersection", "union")
        )
        weight = _weights(convention, samples, iou(inter, union))
        for name in convention.names:
            terms = ratio_terms(inter, union, name, convention.strict, convention.epsilon)
            pairs[f"{who}{name}"] = (terms[0] * weight, terms[1] * weight)
    found = bootstrap_ratios(pairs, samples["image_id"].to_numpy(str))
    units = _units(convention, samples)
    without = samples["n_proposals"].to_numpy(int) == 0
    return [
        {
            "convention": convention.name,
            "unit": convention.unit,
            "metric": name,
            "value": found[name].value,
            "low": found[name].low,
            "high": found[name].high,
            "oracle": found[f"oracle_{name}"].value,
            "n": len(np.unique(units)),
            "n_without_proposals": len(np.unique(units[without])),
            "n_images": found[name].n_images,
            "says": convention.says,
        }
        for name in convention.names
    ]


def _units(convention: Convention, samples: pd.DataFrame) -> NDArray[np.intp]:
    """Which unit each sentence belongs to, (n,)."""
    if convention.unit == "sentence":
        return np.arange(len(samples))
    return np.unique(samples["ref_id"].to_numpy(str), return_inverse=True)[1].reshape(-1)


def _weights(
    convention: Convention, samples: pd.DataFrame, ious: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What each sentence weighs, float64 (n,); of one reference together 1."""
    if convention.name == "size-weighted":
        return samples["gt_area_px"].to_numpy(np.float64)
    units = _units(convention, samples)
    if convention.name == "best sentence":
        best = segment_argmax(units, ious, int(units.max(initial=-1)) + 1)
        return np.isin(np.arange(len(samples)), best).astype(np.float64)
    return 1 / np.bincount(units)[units]


def variants_text(run: Run, table: pd.DataFrame) -> str:
    """A table of `metric_variants` for reading, in per cent, with what each convention says."""
    import pandas as pd

    spans = table[["low", "high"]].to_numpy(np.float64)
    first = ~table.duplicated("convention")
    shown = pd.DataFrame({
        "convention": table["convention"].where(first, ""),
        "metric": [name.replace("iou", "IoU").replace("p@", "P@") for name in table["metric"]],
        "value": [f"{100 * value:.2f}" for value in table["value"]],
        "95 % interval": [f"[{100 * low:.2f}, {100 * high:.2f}]" for low, high in spans],
        "oracle": [f"{100 * value:.2f}" for value in table["oracle"]],
        "n": [f"{n} {unit}s" for n, unit in zip(table["n"], table["unit"], strict=True)],
        "without a proposal": table["n_without_proposals"],
    })  # fmt: skip
    own = "epsilon" if Rules.of(run).epsilon else "sentence"
    head = f"{run_subject(run.record)} ({run_scope(run.record)}), recorded by convention {own}"
    says = [f"{row['convention']}: {row['says']}" for _, row in table[first].iterrows()]
    absent = [c.name for c in CONVENTIONS if c.name not in set(table["convention"])]
    if absent:
        says.append(
            f"{', '.join(absent)}: not told apart in this run: no annotation of its split has "
            "several polygons, or it is older than these columns"
        )
    return "\n".join([head, shown.to_string(index=False), "", *says])
