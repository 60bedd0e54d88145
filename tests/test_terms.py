"""V, P, N and their sum against a slow reference, and what they promise at the edges."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tasutils.errors import TasError
from tasutils.terms import combine, min_max_softmax, n_score, p_score, v_score

D = 5
NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False)
VECTOR = arrays(np.float64, D, elements=NUMBERS)
ROWS = st.integers(0, 6).flatmap(lambda n: arrays(np.float64, (n, D), elements=NUMBERS))


def slow_cosine(a: np.ndarray, b: np.ndarray) -> float:
    norm_a, norm_b = math.hypot(*a), math.hypot(*b)
    if norm_a == 0 or norm_b == 0:
        return 0.0
    return math.fsum(x / norm_a * (y / norm_b) for x, y in zip(a, b, strict=True))


def summed(v, p, n, alpha: float, lam: float) -> np.ndarray:
    return combine({"v": v, "p": p, "n": n}, {"v": 1, "p": alpha, "n": lam})


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


def test_zero_vectors_and_nothing_at_all() -> None:
    assert v_score(np.zeros((2, D)), np.ones(D)).tolist() == [0.0, 0.0]
    assert v_score(np.ones((2, D)), np.zeros(D)).tolist() == [0.0, 0.0]
    assert n_score(np.ones((2, D)), np.zeros((0, D))).tolist() == [0.0, 0.0]
    assert n_score(np.zeros((0, D)), np.ones((3, D))).shape == (0,)
    assert summed([], [], [], 0.1, 0.1).shape == (0,)


def test_mistakes_are_named() -> None:
    failed = "hold NaN or infinite values: the encoder failed; embed them again"
    shape = "must be an array (number, size), not of shape"
    weights = "must be a finite number, not"
    for refused, line in (
        (
            lambda: v_score(np.ones((1, 5)), np.ones(4)),
            "embeddings of 5 and 4 numbers cannot be compared: describe the image again with the"
            " encoder that reads the sentence",
        ),
        (lambda: v_score([[1, np.nan]], [1, 1]), f"embeddings {failed}"),
        (lambda: v_score([[1, 1]], [1, -np.inf]), f"text embedding {failed}"),
        (lambda: n_score([[1, 1]], [[1, np.nan]]), f"negatives {failed}"),
        (lambda: v_score(np.ones(3), np.ones(3)), f"embeddings {shape} (3,)"),
        (lambda: summed([1], [1], [1], math.inf, 0), f"the weight of p {weights} inf"),
        (lambda: summed([1], [1], [1], 0, math.nan), f"the weight of n {weights} nan"),
        (
            lambda: summed([1], [1, 2], [1], 0, 0),
            "terms must have one value a mask, not the shapes v (1,), p (2,), n (1,)",
        ),
    ):
        with pytest.raises(TasError) as caught:
            refused()
        assert str(caught.value) == line


def test_a_weight_of_zero_leaves_nan_out_and_copies() -> None:
    v, nan = np.array([1.0, 2.0]), np.full(2, np.nan)
    assert summed(v, nan, [1, 1], 0, 2).tolist() == [3.0, 4.0]
    assert summed(v, [1, 1], nan, 2, 0).tolist() == [3.0, 4.0]
    found = summed(v, nan, nan, 0, 0)
    found[0] = 9
    assert v[0] == 1
    assert np.isnan(summed(v, nan, v, 0.1, 0.1)).all()


TOTALS = st.lists(st.floats(-1e3, 1e3, allow_subnormal=False), max_size=6)


@given(TOTALS, st.booleans())
def test_shares_are_a_slow_softmax_of_what_is_stretched(totals: list[float], strict: bool) -> None:
    found = min_max_softmax(totals, strict)
    assert found.shape == (len(totals),)
    low, high = min(totals, default=0), max(totals, default=0)
    if low == high:
        wanted = math.nan if strict else 1 / max(len(totals), 1)
        np.testing.assert_array_equal(found, [wanted] * len(totals))
        return
    powers = [math.exp((total - low) / (high - low)) for total in totals]
    np.testing.assert_allclose(found, [power / math.fsum(powers) for power in powers], rtol=1e-12)
