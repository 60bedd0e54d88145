"""Are the outputs of two ways the same? Each answers in words, or raises `Unequal`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasutils.errors import TasError


class Unequal(TasError):
    """Ours and the plain loop do not give the same, so there is nothing to time."""


def equal_masks(ours: NDArray[np.bool_], plain: NDArray[np.bool_]) -> str:
    """Bool (n, H, W) each, pixel by pixel."""
    if ours.shape != plain.shape or not np.array_equal(ours, plain):
        n_other = "other shapes" if ours.shape != plain.shape else f"{(ours != plain).sum()} px"
        raise Unequal(f"the masks differ ({ours.shape} and {plain.shape}, {n_other})")
    return "masks equal"


def near_masks(ours: NDArray[np.bool_], plain: NDArray[np.bool_], least_iou: float) -> str:
    """Bool (n, H, W) each, in the same order, every pair with an IoU of `least_iou` or more."""
    if ours.shape != plain.shape:
        raise Unequal(f"there are masks {ours.shape} and {plain.shape}")
    union = np.maximum((ours | plain).sum(axis=(1, 2)), 1)
    lowest = float(((ours & plain).sum(axis=(1, 2)) / union).min(initial=1.0))
    if lowest < least_iou:
        raise Unequal(f"masks overlap by an IoU of {lowest:.3f} only, less than {least_iou:g}")
    return f"masks equal to an IoU of {least_iou:g}"


def equal_words(ours: Sequence[str], plain: Sequence[str], what: str = "captions") -> str:
    """Texts, letter by letter."""
    if list(ours) != list(plain):
        pairs = [(a, b) for a, b in zip(ours, plain, strict=False) if a != b]
        first = f"; the first: {pairs[0][0]!r} and {pairs[0][1]!r}" if pairs else ""
        n_other = len(pairs) + abs(len(ours) - len(plain))
        raise Unequal(f"{n_other} of {len(plain)} {what} differ{first}")
    return f"{what} equal"


def equal_answers(
    ours: Sequence[int | None],
    plain: Sequence[int | None],
    totals: Sequence[NDArray[np.float64]],
    slack: float,
) -> str:
    """The chosen masks of several sentences.

    totals: the plain loop's sums for each sentence, float (n,); where another mask is chosen, its
    sum has to be within `slack` of the best: a tie, which rounding decides.
    """
    others = [i for i, (a, b) in enumerate(zip(ours, plain, strict=True)) if a != b]
    for index in others:
        a, b, sums = ours[index], plain[index], totals[index]
        if a is None or b is None or not abs(sums[a] - sums[b]) <= slack:
            raise Unequal(f"{len(others)} of {len(plain)} sentences choose another mask")
    ties = f" but for {len(others)} ties within {slack:g}" if others else ""
    return f"chosen masks of {len(plain)} sentences equal{ties}"


def near(ours: ArrayLike, plain: ArrayLike, tolerance: float, what: str = "embeddings") -> str:
    """Numbers of any shape, each within `tolerance` of the other."""
    a, b = np.asarray(ours, np.float64), np.asarray(plain, np.float64)
    if a.shape != b.shape:
        raise Unequal(f"the {what} have shapes {a.shape} and {b.shape}")
    furthest = float(np.abs(a - b).max(initial=0.0))
    if not furthest <= tolerance:  # NaN is not near either
        raise Unequal(f"the {what} differ by up to {furthest:.3g}, more than {tolerance:g}")
    return f"{what} within {tolerance:g}"


def all_of(*words: str) -> str:
    """Several findings as one line, each said once."""
    return "; ".join(dict.fromkeys(words))
