"""Masks: properties, and slow references."""

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


@given(stacks)
def test_rle_round_trip(masks):
    decoded = m.decode_rle(m.encode_rle(masks), masks.shape[1:])
    assert decoded.dtype == np.bool_
    assert np.array_equal(decoded, masks)


@given(stacks)
def test_geometry_against_loops(masks):
    for index, mask in enumerate(masks):
        y, x = np.nonzero(mask)
        box = (x.min(), y.min(), x.max() + 1, y.max() + 1) if len(x) else (0, 0, 0, 0)
        center = (x.mean(), y.mean()) if len(x) else (0, 0)
        assert m.areas_px(masks)[index] == len(x)
        assert m.boxes_xyxy(masks)[index].tolist() == list(box)
        assert np.allclose(m.centers_xy(masks)[index], center, atol=1e-5)


@settings(max_examples=300, deadline=None)
@given(stacks, st.integers(0, 12), st.sampled_from([0.0, 0.25, 0.4, 0.5, 0.8, 1.0]))
def test_overlap_filter_equals_the_slow_one(masks, min_area_px, max_overlap):
    kept = filtered(masks, min_area_px, max_overlap)
    assert kept.dtype == np.int64
    assert kept.tolist() == slow_overlap_filter(masks, min_area_px, max_overlap)


def test_overlap_filter_is_not_greedy():
    line = np.zeros((3, 1, 10), bool)
    line[0, 0, :2] = line[1, 0, :4] = line[2, 0, 2:9] = True
    # 1 drops 0 although 2 drops 1
    assert filtered(line, 0, 0.4).tolist() == [2]
    assert filtered(line, 0, None).tolist() == [0, 1, 2]
    assert filtered(line, 3, None).tolist() == [1, 2]


def test_equal_masks_keep_the_first():
    assert filtered(np.ones((3, 4, 4), bool), 1, 0.4).tolist() == [0]


def test_overlap_filter_of_hundreds(rng):
    """pycocotools has functions that stop at 255 masks."""
    masks = np.zeros((300, 20, 30), bool)
    for mask in masks:
        (y, x), (h, w) = rng.integers(0, 15, 2), rng.integers(1, 9, 2)
        mask[y : y + h, x : x + w] = True
    kept = filtered(masks, 5, 0.9)
    assert 0 < len(kept) < 300
    assert kept.tolist() == slow_overlap_filter(masks, 5, 0.9)


def test_intersections_are_summed_over_chunks(monkeypatch, masks):
    whole = m.intersections_px(masks, masks)
    monkeypatch.setattr(m, "_CHUNK_PX", 7)
    assert np.array_equal(m.intersections_px(masks, masks), whole)
    assert whole.diagonal().tolist() == m.areas_px(masks).tolist()


@given(stacks)
def test_iou_and_intersection_union(masks):
    for a in masks:
        assert m.iou(a, a) == float(a.any())
        inter, union = m.intersection_union(masks, a)
        assert inter.dtype == union.dtype == np.int64
        for b, i, u in zip(masks, inter, union, strict=True):
            assert (i, u) == ((a & b).sum(), (a | b).sum())
            assert m.iou(a, b) == m.iou(b, a) == (i / u if u else 0.0)


def test_wrong_arrays_are_refused():
    with pytest.raises(ValueError, match="bool"):
        m.areas_px(np.ones((2, 3, 4)))
    with pytest.raises(ValueError, match="ground truth"):
        m.intersection_union(np.ones((1, 3, 4), bool), np.ones((4, 3), bool))


def test_no_masks():
    none = np.zeros((0, 5, 6), bool)
    assert m.encode_rle(none) == []
    assert m.decode_rle([], (5, 6)).shape == (0, 5, 6)
    assert m.boxes_xyxy(none).shape == (0, 4)
    assert m.centers_xy(none).shape == (0, 2)
    assert filtered(none, 1, 0.5).shape == (0,)
    assert m.intersection_union(none, np.ones((5, 6), bool))[0].shape == (0,)
