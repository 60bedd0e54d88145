"""Masks: properties, and slow references."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tasutils import masks as m

shapes = st.tuples(st.integers(0, 7), st.integers(1, 9), st.integers(1, 9))
stacks = shapes.flatmap(lambda shape: arrays(np.bool_, shape))


def filtered(masks, *rule):
    return m.overlap_filter(m.encode_rle(masks), m.areas_px(masks), *rule)


def slow_overlap_filter(masks, min_area_px, max_overlap):
    large = [i for i in range(len(masks)) if masks[i].sum() >= min_area_px]
    kept = []
    for i in large:
        dropped = False
        for j in large:
            a, b = int(masks[i].sum()), int(masks[j].sum())
            smaller = a < b or (a == b and i > j)
            if i != j and smaller and a > 0:
                dropped |= int((masks[i] & masks[j]).sum()) / a > max_overlap
        if not dropped:
            kept.append(i)
    return kept


@settings(max_examples=300, deadline=None)
@given(stacks, st.integers(0, 12), st.sampled_from([0.0, 0.25, 0.4, 0.5, 0.8, 1.0]))
def test_overlap_filter_equals_the_slow_one(masks, min_area_px, max_overlap):
    kept = filtered(masks, min_area_px, max_overlap)
    assert kept.dtype == np.int64
    assert kept.tolist() == slow_overlap_filter(masks, min_area_px, max_overlap)


def slow_greedy(masks, min_area_px, max_overlap):
    """From the largest on, the first of equals first: what no mask that stays covers too much."""
    area = [int(mask.sum()) for mask in masks]
    kept = []
    for i in sorted(range(len(masks)), key=lambda i: (-area[i], i)):
        covered = any((masks[i] & masks[j]).sum() > max_overlap * area[i] for j in kept)
        if area[i] >= min_area_px and not covered:
            kept.append(i)
    return sorted(kept)


@settings(max_examples=200, deadline=None)
@given(stacks, st.integers(0, 9), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_greedy_overlap_filter_equals_the_slow_one(masks, min_area_px, max_overlap):
    assert filtered(masks, min_area_px, max_overlap, True).tolist() == slow_greedy(
        masks, min_area_px, max_overlap
    )


@settings(max_examples=200, deadline=None)
@given(stacks, st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.integers(0, 5))
def test_distinct_masks_have_no_double_and_every_other_one_has(masks, nms_thresh, limit):
    table = m.rle_ious(m.encode_rle(masks))
    assert table.shape == (len(masks), len(masks))
    for i, a in enumerate(masks):
        for j, b in enumerate(masks):
            if a.any() and b.any():
                assert table[i, j] == m.iou(a, b)
    kept = m.distinct(table, nms_thresh, limit)
    assert kept.dtype == np.int64 and len(kept) <= limit
    assert kept.tolist() == sorted(set(kept.tolist()))
    for i in range(len(masks)):
        doubles = [j for j in kept if j < i and table[i, j] > nms_thresh]
        full = (kept < i).sum() == limit
        assert (i in kept) == (not doubles and not full)


def test_wrong_arrays_are_refused():
    for wrong in (np.ones((2, 3, 4)), np.ones((3, 4), bool)):
        for asked in (m.areas_px, m.encode_rle, m.runs_of, partial(m.intersection_union, gt=wrong)):
            with pytest.raises(ValueError) as caught:
                asked(wrong)
            shape = f"{wrong.dtype} {wrong.shape}"
            assert str(caught.value) == f"masks must be bool (n, H, W), not {shape}"
    with pytest.raises(ValueError) as caught:
        m.intersection_union(np.ones((1, 3, 4), bool), np.ones((4, 3), bool))
    assert str(caught.value) == "masks are (3, 4) but the ground truth is (4, 3); (H, W)"


def test_no_masks():
    none = np.zeros((0, 5, 6), bool)
    assert m.encode_rle(none) == []
    assert m.decode_rle([], (5, 6)).shape == (0, 5, 6)
    assert m.decode_rle([]).shape == (0, 0, 0)
    assert m.decode_rle([]).dtype == m.decode_rle([], (5, 6)).dtype == np.bool_
    assert m.rle_ious([]).shape == (0, 0)
    assert m.distinct(np.zeros((0, 0)), 0.5, 3).tolist() == []
    assert m.boxes_xyxy(none).shape == (0, 4)
    assert filtered(none, 1, 0.5).shape == (0,)
    assert m.intersection_union(none, np.ones((5, 6), bool))[0].shape == (0,)


def same(a, b):
    parts = ("owner", "start", "stop")
    return (a.n, a.size_hw) == (b.n, b.size_hw) and all(
        np.array_equal(getattr(a, part), getattr(b, part)) for part in parts
    )


@settings(max_examples=300)
@given(stacks)
def test_geometry_is_exact(masks):
    runs = m.runs_of(masks)
    areas, boxes, centers = runs.areas_px(), runs.boxes_xyxy(), runs.centers_xy()
    assert areas.dtype == np.int64 and boxes.dtype == centers.dtype == np.float32
    assert boxes.shape == (len(masks), 4) and centers.shape == (len(masks), 2)
    for mask, area, box, center in zip(masks, areas, boxes, centers, strict=True):
        y, x = np.nonzero(mask)
        assert area == len(x)
        if not len(x):
            assert not box.any() and not center.any()
            continue
        assert box.tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
        mean = np.array([x.sum() / len(x), y.sum() / len(y)])
        assert np.array_equal(center, mean.astype(np.float32))


@given(stacks, st.data())
def test_take_and_joined_are_those_of_the_pixels(masks, data):
    picks = st.lists(st.integers(0, len(masks) - 1), max_size=9) if len(masks) else st.just([])
    indices = np.array(data.draw(picks), np.int64)
    runs = m.runs_of(masks)
    assert same(runs.take(indices), m.runs_of(masks[indices]))
    assert same(m.Runs.joined([runs]), runs)
    both = m.Runs.joined([runs, runs.take(indices), runs])
    assert same(both, m.runs_of(np.concatenate([masks, masks[indices], masks])))
