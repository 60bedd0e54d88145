"""Confidence by bootstrap over images: the sentences of one image are not independent.

Every metric is a ratio of sums over samples (`metrics.ratio_terms`). The sums of each image are
taken once; a resample is then a vector of multinomial weights over images, and all resamples are
one matrix product. Intervals are percentile intervals (Efron and Tibshirani 1993, chapter 13).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasutils.metrics import METRIC_NAMES, ratio_terms

N_RESAMPLES = 1000
LEVEL = 0.95
_BLOCK = 100


class Interval(NamedTuple):
    """A metric with its confidence interval, the samples n and the images it rests on."""

    value: float
    low: float
    high: float
    n: int
    n_images: int


class _Resampler:
    """The same resampled images for any number of metrics."""

    def __init__(self, image: ArrayLike, n_resamples: int, seed: int) -> None:
        names, codes = np.unique(np.asarray(image), return_inverse=True)
        self.codes = codes.reshape(-1)
        self.n_images, self.n_resamples, self.seed = len(names), n_resamples, seed

    def totals(self, terms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums over all resamples: (n, k) terms of samples -> (n_resamples, k)."""
        sums = np.zeros((self.n_images, terms.shape[1]))
        np.add.at(sums, self.codes, terms)
        rng = np.random.default_rng(self.seed)
        shares = np.full(self.n_images, 1 / max(self.n_images, 1))
        blocks = []
        for start in range(0, self.n_resamples if self.n_images else 0, _BLOCK):
            size = min(_BLOCK, self.n_resamples - start)
            weights = rng.multinomial(self.n_images, shares, size=size)
            blocks.append(weights @ sums)
        return np.concatenate(blocks) if blocks else np.zeros((1, terms.shape[1]))


def _ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def _limits(values: NDArray[np.float64], level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap(
    intersection: ArrayLike,
    union: ArrayLike,
    image: ArrayLike,
    names: tuple[str, ...] = METRIC_NAMES,
    *,
    strict: bool = True,
    epsilon: float = 0.0,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> dict[str, Interval]:
    """Metrics with their percentile intervals, images resampled.

    Args:
        intersection: int (n,) px.
        union: int (n,) px.
        image: (n,) ids; samples of one image stay together.
        names: metrics, see `metrics.ratio_terms`.
        strict: whether `p@X` asks for IoU > X or IoU >= X.
        epsilon: px added to every union, see `metrics.iou`.
        n_resamples: number of resamples.
        seed: of the resamples; the same images give the same resamples for every method.
        level: of the interval, 0..1.

    Returns:
        By metric name, the value on all samples with its interval; over no samples all are 0.
    """
    pairs = {name: ratio_terms(intersection, union, name, strict, epsilon) for name in names}
    return bootstrap_ratios(pairs, image, n_resamples=n_resamples, seed=seed, level=level)


def bootstrap_ratios(
    pairs: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
    image: ArrayLike,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> dict[str, Interval]:
    """Ratios of sums with their percentile intervals, the same images resampled for all.

    Args:
        pairs: by name, numerators and denominators, float64 (n,) each.
        image, n_resamples, seed, level: see `bootstrap`.
    """
    terms = np.stack([part for pair in pairs.values() for part in pair], axis=1)  # (n, 2 ratios)
    sampler = _Resampler(image, n_resamples, seed)
    resampled, full = sampler.totals(terms), terms.sum(axis=0, keepdims=True)
    values = _ratio(full[:, 0::2], full[:, 1::2])[0]
    draws = _ratio(resampled[:, 0::2], resampled[:, 1::2])
    return {
        name: Interval(float(values[k]), *_limits(draws[:, k], level), len(terms), sampler.n_images)
        for k, name in enumerate(pairs)
    }


def paired_difference(
    first: tuple[ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike],
    image: ArrayLike,
    names: tuple[str, ...] = METRIC_NAMES,
    *,
    strict: bool = True,
    epsilons: tuple[float, float] = (0.0, 0.0),
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> dict[str, Interval]:
    """Metric of the first method minus the second's, on the same resampled images.

    Args:
        first: intersections and unions, int (n,) px each, of the first method.
        second: those of the second method on the same samples in the same order.
        image: (n,) ids.
        names: metrics, see `metrics.ratio_terms`.
        strict: whether `p@X` asks for IoU > X or IoU >= X.
        epsilons: px added to every union of the first and of the second method.
        n_resamples: number of resamples.
        seed: of the resamples.
        level: of the interval, 0..1.

    Returns:
        By metric name, the difference with its interval.

    Raises:
        ValueError: the two methods have different numbers of samples.
    """
    if np.shape(first[0]) != np.shape(second[0]):
        raise ValueError(
            f"paired methods with {np.shape(first[0])} and {np.shape(second[0])} "
            "samples; give both on the same samples"
        )
    pairs = [
        ratio_terms(*method, name, strict, epsilon)
        for method, epsilon in zip((first, second), epsilons, strict=True)
        for name in names
    ]
    terms = np.stack([part for pair in pairs for part in pair], axis=1)  # (n, 4 metrics)
    sampler = _Resampler(image, n_resamples, seed)

    def differences(totals: NDArray[np.float64]) -> NDArray[np.float64]:
        ratios = _ratio(totals[:, 0::2], totals[:, 1::2])
        return ratios[:, : len(names)] - ratios[:, len(names) :]

    draws = differences(sampler.totals(terms))
    values = differences(terms.sum(axis=0, keepdims=True))[0]
    return {
        name: Interval(float(values[k]), *_limits(draws[:, k], level), len(terms), sampler.n_images)
        for k, name in enumerate(names)
    }


def bootstrap_ci(
    intersection: ArrayLike, union: ArrayLike, image: ArrayLike, name: str, seed: int = 0
) -> tuple[float, float]:
    """Low and high end of one metric's 95 % interval; see `bootstrap`."""
    interval = bootstrap(intersection, union, image, (name,), seed=seed)[name]
    return interval.low, interval.high
