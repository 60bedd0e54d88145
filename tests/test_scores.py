"""V, P, N and their sum against a slow reference, and what they promise at the edges."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tasutils.errors import TasError
from tasutils.scores import combine, n_score, p_score, v_score

D = 5
NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False)
VECTOR = arrays(np.float64, D, elements=NUMBERS)
ROWS = st.integers(0, 6).flatmap(lambda n: arrays(np.float64, (n, D), elements=NUMBERS))


def slow_cosine(a: np.ndarray, b: np.ndarray) -> float:
    norm_a, norm_b = math.hypot(*a), math.hypot(*b)
    if norm_a == 0 or norm_b == 0:
        return 0.0
    return math.fsum(x / norm_a * (y / norm_b) for x, y in zip(a, b, strict=True))


@given(ROWS, VECTOR)
def test_v_and_p_are_cosines(rows: np.ndarray, text: np.ndarray) -> None:
    wanted = [slow_cosine(row, text) for row in rows]
    for score in (v_score, p_score):
        found = score(rows, text)
        assert found.shape == (len(rows),) and found.dtype == np.float64
        np.testing.assert_allclose(found, wanted, atol=1e-9)
        assert (np.abs(found) <= 1).all()


@given(ROWS, ROWS)
def test_n_is_minus_the_mean_cosine(crops: np.ndarray, negatives: np.ndarray) -> None:
    found = n_score(crops, negatives)
    wanted = [
        -sum(slow_cosine(crop, negative) for negative in negatives) / max(len(negatives), 1)
        for crop in crops
    ]
    assert found.shape == (len(crops),)
    np.testing.assert_allclose(found, wanted, atol=1e-9)


@given(ROWS, ROWS, VECTOR, st.randoms(use_true_random=False))
def test_permuting_masks_permutes_scores_exactly(
    crops: np.ndarray, negatives: np.ndarray, text: np.ndarray, random: object
) -> None:
    order = np.random.default_rng(random.getrandbits(32)).permutation(len(crops))  # type: ignore[attr-defined]
    np.testing.assert_array_equal(v_score(crops[order], text), v_score(crops, text)[order])
    np.testing.assert_array_equal(
        n_score(crops[order], negatives), n_score(crops, negatives)[order]
    )


@given(ROWS, VECTOR, st.floats(1e-3, 1e3))
def test_scale_does_not_matter(rows: np.ndarray, text: np.ndarray, scale: float) -> None:
    np.testing.assert_allclose(v_score(rows * scale, text), v_score(rows, text), atol=1e-9)


@given(ROWS, VECTOR)
def test_weights_of_zero_leave_v(rows: np.ndarray, text: np.ndarray) -> None:
    v = v_score(rows, text)
    np.testing.assert_array_equal(combine(v, v * 0.3, -v, 0, 0), v)


def test_the_sum() -> None:
    assert combine([1.0], [2.0], [-3.0], 0.5, 0.1).tolist() == pytest.approx([1.7])


def test_zero_vectors_and_nothing_at_all() -> None:
    assert v_score(np.zeros((2, D)), np.ones(D)).tolist() == [0.0, 0.0]
    assert v_score(np.ones((2, D)), np.zeros(D)).tolist() == [0.0, 0.0]
    assert n_score(np.ones((2, D)), np.zeros((0, D))).tolist() == [0.0, 0.0]
    assert n_score(np.zeros((0, D)), np.ones((3, D))).shape == (0,)
    assert combine([], [], [], 0.1, 0.1).shape == (0,)


def test_extreme_lengths_neither_overflow_nor_vanish() -> None:
    for size in (1e-300, 1e300):
        np.testing.assert_allclose(v_score(np.full((1, D), size), np.full(D, 1 / size)), [1.0])


def test_mistakes_are_named() -> None:
    with pytest.raises(TasError, match="embeddings of 5 and 4 numbers"):
        v_score(np.ones((1, 5)), np.ones(4))
    with pytest.raises(TasError, match="NaN"):
        v_score(np.full((1, 2), np.nan), np.ones(2))
    with pytest.raises(TasError, match="must be finite"):
        combine([1], [1], [1], math.inf, 0)
    with pytest.raises(TasError, match="one value a mask"):
        combine([1], [1, 2], [1], 0, 0)
    with pytest.raises(TasError, match="crops must be an array"):
        n_score(np.ones(3), np.zeros((0, 3)))
