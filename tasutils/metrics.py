"""Metrics on tables of intersections and unions, pure numpy.

The unit is one (reference, sentence) pair at the image's original size. Zero-case conventions, the
same in every function: a union of 0 is an IoU of 0; a sample without proposals counts with an
intersection of 0 and the ground truth's area as union; over no samples every metric is 0 (print n
beside it).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

METRIC_VERSION = "1"
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
METRIC_NAMES = ("oiou", "miou", *(f"p@{threshold}" for threshold in THRESHOLDS))
CONVENTION = (
    "every sentence counts once, at the picture's own size, against the whole mask; one without a "
    "proposal has an IoU of 0 and its mask in the union; P@X is IoU > X"
)


def iou(intersection: ArrayLike, union: ArrayLike, epsilon: float = 0.0) -> NDArray[np.float64]:
    """Intersection over union of each sample.

    Args:
        intersection: int (n,) px.
        union: int (n,) px.
        epsilon: px added to every union; the TAS released code has 1e-6.

    Returns:
        float64 (n,) in 0..1; 0 where the union is 0.

    >>> iou([1, 0], [2, 0])
    array([0.5, 0. ])
    """
    inter, outer = np.asarray(intersection, np.float64), np.asarray(union, np.float64)
    return np.divide(inter, outer + epsilon, out=np.zeros_like(inter), where=outer > 0)


def ratio_terms(
    intersection: ArrayLike,
    union: ArrayLike,
    name: str,
    strict: bool = True,
    epsilon: float = 0.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A metric as sum(numerator) / sum(denominator) over samples, the form that is resampled.

    Args:
        intersection: int (n,) px.
        union: int (n,) px.
        name: one of `METRIC_NAMES`, or `p@` with any threshold.
        strict: whether `p@X` asks for IoU > X (TAS, CRIS, PhraseCut) or IoU >= X (LAVT).
        epsilon: see `iou`; the terms of oIoU know none.

    Returns:
        Numerators and denominators, float64 (n,) each.

    Raises:
        ValueError: another name.
    """
    if name == "oiou":
        return np.asarray(intersection, np.float64), np.asarray(union, np.float64)
    values = iou(intersection, union, epsilon)
    if name == "miou":
        return values, np.ones_like(values)
    if name.startswith("p@"):
        threshold = float(name[2:])
        hits = values > threshold if strict else values >= threshold
        return hits.astype(np.float64), np.ones_like(values)
    raise ValueError(f"no metric {name!r}; there are {', '.join(METRIC_NAMES)}")


def metric(
    intersection: ArrayLike,
    union: ArrayLike,
    name: str,
    strict: bool = True,
    epsilon: float = 0.0,
) -> float:
    """One metric by its name; see `ratio_terms`. Over no samples, or with no px in any union, 0.

    >>> metric([1, 3], [2, 3], "oiou")
    0.8
    """
    numerator, denominator = ratio_terms(intersection, union, name, strict, epsilon)
    total = float(denominator.sum())
    return float(numerator.sum()) / total if total > 0 else 0.0


def oiou(intersection: ArrayLike, union: ArrayLike) -> float:
    """Overall IoU, also called cIoU: sum of intersections over sum of unions."""
    return metric(intersection, union, "oiou")


def miou(intersection: ArrayLike, union: ArrayLike) -> float:
    """Mean of the samples' IoU, each sample with the same weight."""
    return metric(intersection, union, "miou")


def precision_at(
    intersection: ArrayLike, union: ArrayLike, threshold: float, strict: bool = True
) -> float:
    """Fraction of samples with IoU > threshold, or >= threshold where `strict` is False.

    >>> precision_at([1], [2], 0.5), precision_at([1], [2], 0.5, strict=False)
    (0.0, 1.0)
    """
    return metric(intersection, union, f"p@{threshold}", strict)


def summary(intersection: ArrayLike, union: ArrayLike, strict: bool = True) -> dict[str, float]:
    """All of `METRIC_NAMES` at once."""
    return {name: metric(intersection, union, name, strict) for name in METRIC_NAMES}


def oracle(
    sample: ArrayLike, intersection: ArrayLike, union: ArrayLike, n_samples: int
) -> NDArray[np.int64]:
    """The best proposal of each sample: the upper bound that the proposals allow.

    Args:
        sample: int (m,), which sample a proposal belongs to, ascending.
        intersection: int (m,) px.
        union: int (m,) px.
        n_samples: number of samples, those without proposals included.

    Returns:
        int64 (n_samples,): row of the proposal with the highest IoU, the first of equal ones; -1
        for a sample without proposals.
    """
    return segment_argmax(np.asarray(sample), iou(intersection, union), n_samples)


def segment_argmax(
    segment: NDArray[np.integer], values: NDArray[np.floating], n_segments: int
) -> NDArray[np.int64]:
    """Row of each segment's first highest value.

    Args:
        segment: int (m,), ascending, in 0..n_segments - 1.
        values: float (m,), no NaN.
        n_segments: number of segments, empty ones included.

    Returns:
        int64 (n_segments,): row in 0..m - 1; -1 for an empty segment.

    >>> segment_argmax(np.array([0, 0, 2, 2]), np.array([1.0, 1.0, 0.0, 5.0]), 3)
    array([ 0, -1,  3])
    """
    best = np.full(n_segments, -1)
    if len(values) == 0:
        return best
    # stable sort: within a segment the highest value first, equal ones in the order of their rows
    order = np.lexsort((np.arange(len(values)), -values, segment))
    firsts = np.unique(segment[order], return_index=True)
    best[firsts[0]] = order[firsts[1]]
    return best
