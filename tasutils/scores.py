"""The three scores of a mask and their sum, as the article writes them; numpy only.

E_v, E_t are the image and the text tower, I_m the crop of mask m, C_m its caption, T_r the
expression, T_n the negatives. A zero vector has cosine 0 with everything, and no score is NaN,
unless the released code's NaN are asked for by name (`strict_official`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasutils.errors import TasError

Scores = NDArray[np.float64]


def v_score(crops: ArrayLike, text: ArrayLike) -> Scores:
    """Visual score V_m = cos(E_v(I_m), E_t(T_r)).

    crops: float (n, d), embedded crops; text: float (d,), the embedded expression; neither needs
    to be normalised. Returns float64 (n,) in -1..1. Raises TasError if the sizes disagree.

    >>> v_score([[1, 0], [3, 4], [0, 0]], [0, 2]).tolist()
    [0.0, 0.8, 0.0]
    """
    return _cosines(crops, text)


def p_score(captions: ArrayLike, text: ArrayLike) -> Scores:
    """Caption score P_m = cos(E_t(C_m), E_t(T_r)).

    captions: float (n, d), embedded captions (a zero row for an empty one); text: float (d,).
    Returns float64 (n,) in -1..1.
    """
    return _cosines(captions, text)


def n_score(crops: ArrayLike, negatives: ArrayLike, strict_official: bool = False) -> Scores:
    """Negative score N_m = -(1 / |T_n|) * sum over T in T_n of cos(E_v(I_m), E_t(T)).

    crops: float (n, d); negatives: float (k, d), the embedded negatives; none (k = 0) gives zeros,
    or with `strict_official` NaN, the mean of nothing. Returns float64 (n,) in -1..1.

    >>> n_score([[1, 0]], [[1, 0], [0, 1]]).tolist(), n_score([[1, 0]], np.zeros((0, 2))).tolist()
    ([-0.5], [0.0])
    """
    negatives = _vectors(negatives, "negatives")
    columns = [_cosines(crops, negative) for negative in negatives]
    if not columns:
        nothing = np.nan if strict_official else 0.0
        return np.full(len(_vectors(crops, "crops")), nothing)
    return 0.0 - np.stack(columns, axis=1).mean(axis=1)  # (n, k) -> (n,); 0 - x: never -0.0


def combine(v: ArrayLike, p: ArrayLike, n: ArrayLike, alpha: float, lam: float) -> Scores:
    """The sum S_m = V_m + alpha P_m + lambda N_m, float64 (n,).

    v, p, n: float (n,). A weight of 0 leaves its score out, NaN included. Raises TasError if a
    weight is not finite or the lengths disagree.
    """
    if not (np.isfinite(alpha) and np.isfinite(lam)):
        raise TasError(f"alpha and lambda must be finite numbers, not {alpha} and {lam}")
    visual, caption, negative = (np.asarray(x, dtype=np.float64) for x in (v, p, n))
    if not visual.shape == caption.shape == negative.shape:
        shapes = f"{visual.shape}, {caption.shape}, {negative.shape}"
        raise TasError(f"V, P and N must have one value a mask, not the shapes {shapes}")
    total = visual + alpha * caption if alpha else visual.copy()
    return total + lam * negative if lam else total


def min_max_softmax(total: ArrayLike, strict_official: bool = False) -> Scores:
    """The sums of one sentence stretched to 0..1, then as shares of 1 (released code).

    total: float (n,). The order stays. Sums that do not differ, those of a single mask among them,
    become equal shares, or with `strict_official` NaN, the 0 / 0 of their stretching. NaN stay NaN.

    >>> min_max_softmax([7.0]).tolist(), min_max_softmax([3.0, 3.0]).tolist()
    ([1.0], [0.5, 0.5])
    """
    sums = np.asarray(total, dtype=np.float64)
    if not len(sums):
        return sums.copy()
    span = float(sums.max() - sums.min())
    if span == 0 and strict_official:
        return np.full_like(sums, np.nan)
    shares = np.exp((sums - sums.min()) / (span or 1.0))
    return shares / shares.sum()


def _cosines(rows: ArrayLike, vector: ArrayLike) -> Scores:
    """Cosine of each row with one vector; row by row, so that equal rows score exactly equal."""
    units = _normalised(_vectors(rows, "embeddings"))  # (n, d)
    unit = _normalised(_vectors(np.asarray(vector)[None], "text embedding"))  # (1, d)
    if len(units) and units.shape[1] != unit.shape[1]:
        raise TasError(
            f"embeddings of {units.shape[1]} and {unit.shape[1]} numbers cannot be compared:"
            " describe the image again with the encoder that reads the sentence"
        )
    if not len(units):
        return np.zeros(0)
    return np.clip((units * unit).sum(axis=1), -1.0, 1.0)


def _vectors(rows: ArrayLike, what: str) -> NDArray[np.float64]:
    array = np.asarray(rows, dtype=np.float64)
    if array.ndim != 2:
        raise TasError(f"{what} must be an array (number, size), not of shape {array.shape}")
    if not np.isfinite(array).all():
        raise TasError(f"{what} hold NaN or infinite values: the encoder failed; embed them again")
    return array


def _normalised(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0.0)
    scaled = rows / np.where(largest > 0, largest, 1.0)  # no overflow, no underflow below
    norms = np.sqrt((scaled * scaled).sum(axis=1, keepdims=True))
    return scaled / np.maximum(norms, 1.0)  # the largest number is 1: a norm is 0, or at least 1
