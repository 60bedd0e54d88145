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
    with pytest.raises(ValueError, match="no metric 'dice'"):
        metrics.metric([1], [1], "dice")
