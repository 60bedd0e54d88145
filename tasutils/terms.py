"""The terms of a mask's score, each one pure function, and their sum; numpy only.

E_v, E_t are the image and the text tower, I_m the crop of mask m, C_m its caption, T_r the
expression, T_n the negatives: S_m = V_m + alpha P_m + lambda N_m, where alpha and lambda are the
weights of the terms p and n. A zero vector has cosine 0 with everything, and no score is NaN.

A term of one's own is one entry in `TERMS`: a function of the described picture, the read sentence
and its embeddings. It is 0 for sentences that do not ask for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasutils.config import Part
from tasutils.errors import TasError

if TYPE_CHECKING:
    from tasutils.refer import Expression
    from tasutils.scene import Scene

Scores = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Texts:
    """What one batch through the text tower gives for a sentence; d numbers each.

    sentence: float32 (d,); negatives: (k, d); phrases: what terms asked for, each (d,), by text.
    """

    sentence: NDArray[np.float32]
    negatives: NDArray[np.float32]
    phrases: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Term:
    """A named score of every mask.

    score: of a scene, an expression, its texts and the term's settings: float64 (n_masks,).
    phrases: texts that are embedded with the sentence, e.g. of a landmark; views: those of a mask
    (`crops.VIEWS`) that describe() must have made; settings: what a preset can say beside `weight`.
    """

    score: Callable[[Scene, Expression, Texts, Any], Scores]
    phrases: Callable[[Expression], tuple[str, ...]] = lambda expression: ()
    views: tuple[str, ...] = ()
    settings: type[Part] = Part


def v_score(crops: ArrayLike, text: ArrayLike) -> Scores:
    """Visual score V_m = cos(E_v(I_m), E_t(T_r)), float64 (n,) in -1..1.

    crops: float (n, d), embedded crops; text: float (d,), the embedded expression; neither needs
    to be normalised. Raises TasError if the sizes disagree.

    >>> v_score([[1, 0], [3, 4], [0, 0]], [0, 2]).tolist()
    [0.0, 0.8, 0.0]
    """
    return _cosines(crops, text)


def p_score(captions: ArrayLike, text: ArrayLike) -> Scores:
    """Caption score P_m = cos(E_t(C_m), E_t(T_r)), float64 (n,) in -1..1.

    captions: float (n, d), embedded captions (a zero row for an empty one); text: float (d,).
    """
    return _cosines(captions, text)


def n_score(crops: ArrayLike, negatives: ArrayLike) -> Scores:
    """Negative score N_m = -(1 / |T_n|) * sum over T in T_n of cos(E_v(I_m), E_t(T)), float64 (n,).

    crops: float (n, d); negatives: float (k, d), the embedded negatives; none (k = 0) gives zeros.

    >>> n_score([[1, 0]], [[1, 0], [0, 1]]).tolist(), n_score([[1, 0]], np.zeros((0, 2))).tolist()
    ([-0.5], [0.0])
    """
    columns = [_cosines(crops, negative) for negative in _vectors(negatives, "negatives")]
    if not columns:
        return np.zeros(len(_vectors(crops, "crops")))
    return 0.0 - np.stack(columns, axis=1).mean(axis=1)  # (n, k) -> (n,); 0 - x: never -0.0


def combine(terms: Mapping[str, ArrayLike], weights: Mapping[str, float]) -> Scores:
    """The weighted sum of the terms in their order, float64 (n,).

    terms: float (n,) by name; weights: by name, 0 (or none) leaves a term out, NaN included. Raises
    TasError if a weight is not finite or the lengths disagree.

    >>> combine({"v": [0.5, 0.2], "p": [0, 1]}, {"v": 1, "p": 0.5}).tolist()
    [0.5, 0.7]
    """
    values = {name: np.asarray(term, dtype=np.float64) for name, term in terms.items()}
    shapes = {value.shape for value in values.values()}
    if len(shapes) > 1:
        told = ", ".join(f"{name} {value.shape}" for name, value in values.items())
        raise TasError(f"terms must have one value a mask, not the shapes {told}")
    total = np.zeros(shapes.pop() if shapes else 0)
    for name, value in values.items():
        weight = weights.get(name, 0.0)
        if not np.isfinite(weight):
            raise TasError(f"the weight of {name} must be a finite number, not {weight}")
        total = total + weight * value if weight else total
    return total


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


# by name, in the order of the sum; an entry may be a lazy "module:Name"
TERMS: dict[str, Any] = {
    "v": Term(lambda scene, _, texts, __: v_score(scene.crop_embeddings, texts.sentence)),
    "p": Term(lambda scene, _, texts, __: p_score(scene.caption_embeddings, texts.sentence)),
    "n": Term(lambda scene, _, texts, __: n_score(scene.crop_embeddings, texts.negatives)),
    **{name.lower(): f"tasutils.graded:{name}" for name in "DZROHW"},
}


def _cosines(rows: ArrayLike, vector: ArrayLike) -> Scores:
    """Cosine of each row with one vector; row by row, so that equal rows score exactly equal."""
    units = _normalised(_vectors(rows, "embeddings"))  # (n, d)
    unit = _normalised(_vectors(np.asarray(vector)[None], "text embedding"))  # (1, d)
    if len(units) and units.shape[1] != unit.shape[1]:
        raise TasError(
            f"embeddings of {units.shape[1]} and {unit.shape[1]} numbers cannot be compared:"
            " describe the image again with the encoder that reads the sentence"
        )
    return np.clip((units * unit).sum(axis=1), -1.0, 1.0) if len(units) else np.zeros(0)


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
