"""IoU metrics by every convention in print, and confidence by bootstrap over images; numpy only.

The unit is one (reference, sentence) pair at the image's original size. In every function a union
of 0 is an IoU of 0, or of 1 where the sentence means nothing and so an empty answer is right
(`no_target`); a sample without proposals counts with an intersection of 0 and the ground truth's
area as union; over no samples every metric is 0. Every metric is a ratio of sums over samples.
The sentences of one image are not independent, so images are resampled, all in one matrix product;
intervals are percentile intervals (Efron and Tibshirani 1993, chapter 13).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import pandas as pd

METRIC_VERSION = "1"
GRES_NAMES = ("giou", "ciou", "n_acc", "t_acc", "pr@0.7", "pr@0.8", "pr@0.9")
METRIC_NAMES = ("oiou", "miou", "p@0.5", "p@0.6", "p@0.7", "p@0.8", "p@0.9")
CONVENTION = (
    "every sentence counts once, at the picture's own size, against the whole mask; one without a "
    "proposal has an IoU of 0 and its mask in the union; P@X is IoU > X"
)
EPSILON = 1e-6  # px, of TAS's and CRIS's code
_BLOCK = 100  # resamples at once
Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A metric with its confidence interval, the samples n and the images it rests on."""

    value: float
    low: float
    high: float
    n: int
    n_images: int


def percent(value: float, low: float, high: float, *, signed: bool = False) -> str:
    """Write a fraction with its interval in percent.

    >>> percent(0.5, 0.412, 0.6), percent(0.01, -0.02, 0.04, signed=True)
    ('50.0 [41.2, 60.0]', '+1.0 [-2.0, +4.0]')
    """
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.1f} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


def iou(
    intersection: ArrayLike, union: ArrayLike, epsilon: float = 0.0, no_target: ArrayLike = False
) -> Floats:
    """Intersection over union of each sample, float64 (n,) in 0..1.

    intersection, union: int (n,) px; epsilon: px added to every union, the TAS released code has
    1e-6; no_target: bool (n,), which samples mean nothing: there a union of 0 is an IoU of 1.

    >>> iou([1, 0], [2, 0])
    array([0.5, 0. ])
    """
    inter, outer = np.asarray(intersection, np.float64), np.asarray(union, np.float64)
    empty = np.where(np.broadcast_to(no_target, inter.shape), 1.0, 0.0)
    return np.divide(inter, outer + epsilon, out=empty, where=outer > 0)


def ratio_terms(
    intersection: ArrayLike, union: ArrayLike, name: str, strict: bool = True, epsilon: float = 0.0,
    no_target: ArrayLike = False,
) -> tuple[Floats, Floats]:  # fmt: skip
    """A metric as sum(numerator) / sum(denominator) over samples, float64 (n,) each.

    name: one of `METRIC_NAMES`, or `p@` with any threshold, else ValueError. strict: whether `p@X`
    asks for IoU > X (TAS, CRIS, PhraseCut) or IoU >= X (LAVT). Others as in `iou`; the terms of
    oIoU know neither epsilon nor no_target.
    """
    if name == "oiou":
        return np.asarray(intersection, np.float64), np.asarray(union, np.float64)
    values = iou(intersection, union, epsilon, no_target)
    if name.startswith("p@"):
        threshold = float(name[2:])
        values = (values > threshold if strict else values >= threshold).astype(np.float64)
    elif name != "miou":
        raise ValueError(f"no metric {name!r}; there are {', '.join(METRIC_NAMES)}")
    return values, np.ones_like(values)


def metric(
    intersection: ArrayLike, union: ArrayLike, name: str, strict: bool = True, epsilon: float = 0.0,
    no_target: ArrayLike = False,
) -> float:  # fmt: skip
    """One metric by its name; see `ratio_terms`. Over no samples, or with no px in any union, 0.

    >>> metric([1, 3], [2, 3], "oiou"), metric([1], [2], "p@0.5", strict=False)
    (0.8, 1.0)
    """
    numerator, denominator = ratio_terms(intersection, union, name, strict, epsilon, no_target)
    total = float(denominator.sum())
    return float(numerator.sum()) / total if total > 0 else 0.0


def gres_ratios(
    intersection: ArrayLike, union: ArrayLike, no_target: ArrayLike, said_none: ArrayLike
) -> dict[str, tuple[Floats, Floats]]:
    """The metrics of generalised sentences as ratios, by `GRES_NAMES`; float64 (n,) each.

    intersection, union: int (n,) px of answer and truth; no_target, said_none: bool (n,), does the
    sentence mean nothing, does the method say so. gIoU is the mean IoU, 1 where both say none,
    else 0 where one does; cIoU is a ratio of sums, of a right none 0 / 0; N-acc and T-acc are the
    shares of sentences without and with a target that are told as such, 0 where all have one;
    pr@X is IoU >= X of those with a target. As in the evaluator of ReLA (Liu et al. 2023).
    """
    inter, outer = np.asarray(intersection, np.float64), np.asarray(union, np.float64)
    none, said = np.asarray(no_target, np.bool_), np.asarray(said_none, np.bool_)
    inter, outer = np.where(none | said, 0, inter), np.where(none & said, 0, outer)
    values = np.divide(inter, outer, out=np.zeros_like(inter), where=outer > 0)
    values[none & said] = 1
    ratios = {
        "giou": (values, np.ones_like(values)), "ciou": (inter, outer),
        "n_acc": (none & said, none), "t_acc": (~none & ~said & none.any(), ~none),
    } | {f"pr@{x:g}": (~none & (values >= x), ~none) for x in (0.7, 0.8, 0.9)}  # fmt: skip
    return {k: (a.astype(np.float64), b.astype(np.float64)) for k, (a, b) in ratios.items()}


def risk_coverage(loss: ArrayLike, confidence: ArrayLike) -> tuple[Floats, Floats]:
    """Share of sentences answered, and their mean loss, the surest first; float64 (n,) each.

    loss: float (n,), such as 1 - IoU; confidence: float (n,), no NaN. Of equal confidences each
    counts with their mean loss, as in random order.

    >>> risk_coverage([1.0, 0.0], [0.1, 0.9])
    (array([0.5, 1. ]), array([0. , 0.5]))
    """
    _, place, counts = np.unique(-np.asarray(confidence), return_inverse=True, return_counts=True)
    losses = np.repeat(np.bincount(place, loss) / counts, counts)
    n = np.arange(1, len(losses) + 1)
    return n / max(len(losses), 1), np.cumsum(losses) / n


def aurc(
    loss: ArrayLike, confidence: ArrayLike, image: ArrayLike, n_resamples: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Area under the risk-coverage curve, and how far it lies below that of a random order.

    Mean risk over 1..n sentences answered (Geifman, Uziel and El-Yaniv 2019), as `aurc`; the mean
    loss less it as `gain`; with 95 % intervals over images. Arguments as in `risk_coverage`.
    """
    losses, images = np.asarray(loss, np.float64), np.asarray(image)
    names, codes = np.unique(images, return_inverse=True)
    rows = [np.flatnonzero(codes == k) for k in range(len(names))]
    rng, found = np.random.default_rng(seed), list[tuple[float, float]]()
    sure = np.asarray(confidence, np.float64)
    for draw in range(n_resamples + 1):  # the first is the sample itself
        chosen = rng.integers(len(names), size=len(names)) if draw else range(len(names))
        who = np.concatenate([rows[k] for k in chosen])
        area = float(risk_coverage(losses[who], sure[who])[1].mean())
        found.append((area, float(losses[who].mean()) - area))
    low, high = np.quantile(found[1:], [0.025, 0.975], axis=0).tolist()
    return {
        name: Interval(found[0][k], low[k], high[k], len(losses), len(names))
        for k, name in enumerate(("aurc", "gain"))
    }


def segment_argmax(
    segment: NDArray[np.integer], values: NDArray[np.floating], n_segments: int
) -> NDArray[np.int64]:
    """Row of each segment's first highest value, int64 (n_segments,); -1 for an empty segment.

    segment: int (m,), in 0..n_segments - 1; values: float (m,), no NaN.

    >>> segment_argmax(np.array([0, 0, 2, 2]), np.array([1.0, 1.0, 0.0, 5.0]), 3)
    array([ 0, -1,  3])
    """
    best = np.full(n_segments, -1)
    order = np.lexsort((-values, segment))  # stable: equal values stay in the order of their rows
    found, firsts = np.unique(segment[order], return_index=True)
    best[found] = order[firsts]
    return best


def bootstrap(
    intersection: ArrayLike, union: ArrayLike, image: ArrayLike,
    names: tuple[str, ...] = METRIC_NAMES, *, strict: bool = True, epsilon: float = 0.0,
    no_target: ArrayLike = False, n_resamples: int = 1000, seed: int = 0,
) -> dict[str, Interval]:  # fmt: skip
    """Metrics by name with their 95 % percentile intervals; over no samples all are 0.

    intersection, union: int (n,) px; image: (n,) ids, samples of one image stay together; the same
    images give the same resamples for every method. Others as in `ratio_terms`.
    """
    rules = (strict, epsilon, no_target)
    pairs = {name: ratio_terms(intersection, union, name, *rules) for name in names}
    return bootstrap_ratios(pairs, image, n_resamples=n_resamples, seed=seed)


def bootstrap_ratios(
    pairs: Mapping[str, tuple[Floats, Floats]],
    image: ArrayLike,
    minus: Mapping[str, tuple[Floats, Floats]] | None = None,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """`bootstrap` of ratios of sums: by name numerators and denominators, float64 (n,) each.

    minus: ratios of the same names and samples, which are taken off in every resample.
    """
    groups = [pairs] if minus is None else [pairs, minus]
    terms = np.stack([t for group in groups for pair in group.values() for t in pair], axis=1)
    names, codes = np.unique(np.asarray(image), return_inverse=True)
    sums = np.zeros((len(names), terms.shape[1]))  # (images, 2 ratios)
    np.add.at(sums, codes.reshape(-1), terms)
    totals, rng = [terms.sum(0)[None]], np.random.default_rng(seed)
    shares = np.full(len(names), 1 / max(len(names), 1))
    for start in range(0, n_resamples, _BLOCK) if len(names) else ():
        size = min(_BLOCK, n_resamples - start)
        totals.append(rng.multinomial(len(names), shares, size=size) @ sums)
    numerator, denominator = (np.concatenate(totals)[:, k::2] for k in (0, 1))
    ratios = np.divide(
        numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0
    )  # (1 + n_resamples, ratios), the first that of all samples
    if minus is not None:
        ratios = ratios[:, : len(pairs)] - ratios[:, len(pairs) :]
    draws = ratios[1:] if len(names) else ratios
    low, high = np.quantile(draws, [0.025, 0.975], axis=0).tolist()
    rows = zip(ratios[0].tolist(), low, high, strict=True)
    return {
        name: Interval(*row, len(terms), len(names)) for name, row in zip(pairs, rows, strict=True)
    }


def paired_difference(
    first: tuple[ArrayLike, ArrayLike], second: tuple[ArrayLike, ArrayLike], image: ArrayLike,
    names: tuple[str, ...] = METRIC_NAMES, *, strict: bool = True,
    epsilons: tuple[float, float] = (0.0, 0.0), no_target: ArrayLike = False,
    n_resamples: int = 1000, seed: int = 0,
) -> dict[str, Interval]:  # fmt: skip
    """Metrics by name of the first method minus the second's, with 95 % intervals; see `bootstrap`.

    first, second: intersections and unions, int (n,) px each, of the same samples, else ValueError;
    epsilons: px added to every union of the first and of the second method.
    """
    if np.shape(first[0]) != np.shape(second[0]):
        raise ValueError(
            f"paired methods with {np.shape(first[0])} and {np.shape(second[0])} "
            "samples; give both on the same samples"
        )
    pairs, minus = (
        {name: ratio_terms(*method, name, strict, epsilon, no_target) for name in names}
        for method, epsilon in zip((first, second), epsilons, strict=True)
    )
    return bootstrap_ratios(pairs, image, minus, n_resamples=n_resamples, seed=seed)


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


# Published code counts every sentence of a reference by itself (TAS, Global-Local, LAVT, CRIS);
# the two by reference are here because tables are sometimes read as if they were that. Sources:
# TAS released code; Global-Local (Our_method_with_free_solo.py, utils.py); LAVT (test.py); CRIS
# (engine/engine.py); PhraseCut (utils/evaluator.py); REFER (refer.py).
CONVENTIONS = (
    Convention("sentence", f"{CONVENTION} (TAS, and PhraseCut for tasks with a prediction)"),
    Convention("not strict", "as sentence, but P@X is IoU >= X (LAVT)",
               names=METRIC_NAMES[2:], strict=False),
    Convention("epsilon", f"as sentence, but IoU = I / (U + {EPSILON:g}) (TAS released code, CRIS)",
               names=METRIC_NAMES[1:], epsilon=EPSILON),
    Convention(
        "answered",
        "as sentence, but sentences without an answer are left out, and with them the hard ones "
        "(Global-Local's pictures without masks; PhraseCut's tasks without a prediction)",
    ),
    Convention(
        "size-weighted",
        "as sentence, but the mean IoU weighs each sentence by the area of its ground truth; "
        "sometimes printed as mIoU", names=("miou",),
    ),
    Convention(
        "reference",
        "every reference counts once, by the mean over its sentences; no published code that we "
        "know does so", unit="reference",
    ),
    Convention(
        "best sentence",
        "every reference counts once, by the sentence with the highest IoU, which needs the ground "
        "truth: an upper bound, no score", unit="reference",
    ),
    Convention(
        "worst sentence",
        "every reference counts once, by the sentence with the lowest IoU, and P@X is IoU >= X: "
        "is a target found whatever it is called (All@X of InstanceBench)",
        unit="reference", names=("miou", "p@0.5", "p@0.7", "p@0.9"), strict=False,
    ),
    Convention(
        "GRES",
        "sentences without a target count in gIoU, 1 if the answer is empty (gRefCOCO's evaluator, "
        "which brings pictures to 480 x 480 px before)", names=GRES_NAMES,
    ),
    Convention(
        "REFER overlap",
        "as sentence, but pixels under two polygons of one annotation are background (REFER sums "
        "the polygons, and Global-Local keeps the pixels equal to 1)",
        prefix="refer_",
    ),
)  # fmt: skip


def metric_variants(samples: pd.DataFrame) -> pd.DataFrame:
    """All metrics of a run by all conventions; a convention that its table does not tell is absent.

    samples: the table of samples of a run, of which those with a ground truth count. One row a
    convention and metric: convention, unit, metric, value, low, high (95 %, bootstrap over images),
    oracle, n (of the unit), n_without_proposals (of these), n_images, says; values are fractions.
    """
    import pandas as pd

    samples = samples[samples["gt_area_px"].notna()]
    told = [
        c for c in CONVENTIONS
        if f"{c.prefix}union_px" in samples and (c.name != "GRES" or "no_target" in samples)
    ]  # fmt: skip
    return pd.DataFrame([row for convention in told for row in _rows(convention, samples)])


def _rows(convention: Convention, samples: pd.DataFrame) -> list[dict[str, object]]:
    if convention.name == "answered":
        samples = samples[(samples["chosen"] >= 0) | samples.get("own_mask", False)]
    pairs = {
        f"{who}{name}": pair
        for who in ("", "oracle_")
        for name, pair in convention_ratios(convention, samples, who).items()
    }
    found = bootstrap_ratios(pairs, samples["image_id"].to_numpy(str))
    units, without = _units(convention, samples), samples["n_proposals"].to_numpy(int) == 0
    return [
        {
            "convention": convention.name, "unit": convention.unit, "metric": name,
            "value": found[name].value, "low": found[name].low, "high": found[name].high,
            "oracle": found[f"oracle_{name}"].value, "n": len(np.unique(units)),
            "n_without_proposals": len(np.unique(units[without])),
            "n_images": found[name].n_images, "says": convention.says,
        }
        for name in convention.names if pairs[name][1].any()  # else it is not defined
    ]  # fmt: skip


def convention_ratios(
    convention: Convention, samples: pd.DataFrame, who: str = ""
) -> dict[str, tuple[Floats, Floats]]:
    """Its metrics by name as ratios of sums, for `bootstrap_ratios`; of samples with a truth.

    who: "oracle_" for the best masks.
    """
    inter, union = (
        samples[f"{convention.prefix}{who}{what}_px"].to_numpy(np.float64)
        for what in ("intersection", "union")
    )
    no_target = samples["no_target"].to_numpy(bool) if "no_target" in samples else False
    if convention.name == "GRES":
        said_none = (inter == 0) & (union == samples["gt_area_px"].to_numpy(np.float64))
        return gres_ratios(inter, union, no_target, said_none)
    ious = iou(inter, union, 0.0, no_target)
    weight = _weights(convention, samples, _units(convention, samples), ious)
    rules = convention.strict, convention.epsilon, no_target
    pairs = {name: ratio_terms(inter, union, name, *rules) for name in convention.names}
    return {name: (a * weight, b * weight) for name, (a, b) in pairs.items()}


def _units(convention: Convention, samples: pd.DataFrame) -> NDArray[np.intp]:
    """Which unit each sentence belongs to, (n,)."""
    if convention.unit == "sentence":
        return np.arange(len(samples))
    return np.unique(samples["ref_id"].to_numpy(str), return_inverse=True)[1].reshape(-1)


def _weights(
    convention: Convention, samples: pd.DataFrame, units: NDArray[np.intp], ious: Floats
) -> Floats:
    """What each sentence weighs, float64 (n,); of one reference together 1."""
    if convention.name == "size-weighted":
        return samples["gt_area_px"].to_numpy(np.float64)
    if convention.name not in ("best sentence", "worst sentence"):
        return 1 / np.bincount(units)[units]
    sign = 1 if convention.name == "best sentence" else -1
    best = segment_argmax(units, sign * ious, len(np.unique(units)))
    return np.bincount(best, minlength=len(units)).astype(np.float64)
