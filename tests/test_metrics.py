"""Metrics against a slow reference in plain Python, and their zero cases."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasutils import metrics

PAIRS = st.lists(
    st.integers(0, 60).flatmap(lambda union: st.tuples(st.integers(0, union), st.just(union))),
    max_size=30,
)


def slow(pairs, name, strict=True):
    """A metric with exact fractions, straight from its definition."""
    if name == "oiou":
        inter, union = sum(i for i, _ in pairs), sum(u for _, u in pairs)
        return Fraction(inter, union) if union else Fraction(0)
    ious = [Fraction(i, u) if u else Fraction(0) for i, u in pairs]
    if not ious:
        return Fraction(0)
    if name == "miou":
        return sum(ious) / len(ious)
    threshold = Fraction(name[2:])
    hits = [x > threshold if strict else x >= threshold for x in ious]
    return Fraction(sum(hits), len(hits))


@settings(deadline=None)
@given(PAIRS, st.booleans())
def test_against_slow_reference(pairs, strict):
    inter, union = ([p[k] for p in pairs] for k in (0, 1))
    found = metrics.summary(inter, union, strict)
    assert list(found) == ["oiou", "miou", "p@0.5", "p@0.6", "p@0.7", "p@0.8", "p@0.9"]
    for name, value in found.items():
        assert value == pytest.approx(float(slow(pairs, name, strict)), abs=1e-12), name


def test_thresholds_are_exact_at_equality():
    for k in range(5, 10):
        assert metrics.precision_at([k], [10], k / 10) == 0
        assert metrics.precision_at([k], [10], k / 10, strict=False) == 1


def test_zero_cases():
    assert metrics.iou([0, 5], [0, 5]).tolist() == [0, 1]
    assert set(metrics.summary([], []).values()) == {0.0}
    assert set(metrics.summary([0], [0]).values()) == {0.0}
    # a sample without proposals: its ground truth of 10 px stays in the union
    assert metrics.oiou([10, 0], [10, 10]) == 0.5
    assert metrics.miou([10, 0], [10, 10]) == 0.5


def test_oiou_weighs_by_area_and_miou_does_not():
    assert metrics.oiou([100, 0], [100, 10]) == pytest.approx(100 / 110)
    assert metrics.miou([100, 0], [100, 10]) == 0.5


def test_sums_beyond_32_bit_are_exact():
    big = np.full(3000, 2_000_000, np.int32)
    assert metrics.oiou(big, big) == 1.0


@settings(deadline=None)
@given(st.lists(PAIRS, max_size=6))
def test_oracle_against_slow_reference(groups):
    rows = [(k, i, u) for k, pairs in enumerate(groups) for i, u in pairs]
    sample, inter, union = (np.array([row[c] for row in rows], np.int64) for c in range(3))
    expected, row = [], 0
    for pairs in groups:
        ious = [i / u if u else 0.0 for i, u in pairs]
        expected.append(row + ious.index(max(ious)) if ious else -1)
        row += len(pairs)
    assert metrics.oracle(sample, inter, union, len(groups)).tolist() == expected


@settings(deadline=None)
@given(PAIRS.filter(len))
def test_no_answer_beats_the_oracle(pairs):
    inter, union = (np.array(column) for column in zip(*pairs, strict=True))
    best = metrics.oracle(np.zeros(len(pairs), int), inter, union, 1)[0]
    assert metrics.iou(inter, union).max() == metrics.iou(inter[best], union[best])


def test_unknown_metric():
    names = "oiou, miou, p@0.5, p@0.6, p@0.7, p@0.8, p@0.9"
    with pytest.raises(ValueError) as caught:
        metrics.metric([1], [1], "dice")
    assert str(caught.value) == f"no metric 'dice'; there are {names}"


def test_equality_counts_only_where_it_is_asked_for():
    """By default P@X is IoU > X, in every function that has the choice."""
    for strict, hit in (({}, 0.0), ({"strict": True}, 0.0), ({"strict": False}, 1.0)):
        assert metrics.summary([1], [2], **strict)["p@0.5"] == hit
        assert metrics.metric([1], [2], "p@0.5", **strict) == hit
        assert metrics.precision_at([1], [2], 0.5, **strict) == hit
        assert metrics.ratio_terms([1], [2], "p@0.5", **strict)[0].tolist() == [hit]


def test_any_threshold():
    inter = [99, 100, 7]
    assert metrics.metric(inter, [100] * 3, "p@1") == 0
    assert metrics.metric(inter, [100] * 3, "p@1", strict=False) == pytest.approx(1 / 3)
    assert metrics.metric(inter, [100] * 3, "p@0.05") == 1
    assert metrics.metric(inter, [100] * 3, "p@0.975") == pytest.approx(2 / 3)


def test_epsilon_lowers_every_iou_and_leaves_the_overall_one():
    assert metrics.iou([2], [4], 1.0).tolist() == [0.4]
    assert metrics.iou([0], [0], 1.0).tolist() == [0.0]
    assert metrics.metric([2, 6], [4, 9], "miou", epsilon=1.0) == pytest.approx(0.5)
    assert metrics.metric([2], [4], "p@0.45", epsilon=1.0) == 0
    assert metrics.metric([2], [4], "oiou", epsilon=1.0) == 0.5
    for name in metrics.METRIC_NAMES:
        without = metrics.ratio_terms([2], [4], name)
        assert np.array_equal(without, metrics.ratio_terms([2], [4], name, epsilon=0.0)), name
    # 1e-6 px would be lost in a union of single precision
    assert metrics.iou(np.float32([1]), np.float32([2]), 1e-6)[0] == 1 / (2 + 1e-6)


@pytest.mark.parametrize("name", metrics.METRIC_NAMES)
@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.int64, np.float32, bool])
def test_terms_are_doubles_of_whatever_numbers(name, kind):
    inter, union = np.array([1, 0, 1], kind), np.array([1, 1, 1], kind)
    terms = metrics.ratio_terms(inter, union, name)
    assert [part.dtype for part in terms] == [np.float64, np.float64]
    assert [part.tolist() for part in terms] == [[1, 0, 1], [1, 1, 1]]
    assert metrics.oracle([0, 0, 0], inter, union, 2).dtype == np.int64
