"""Runs of foreground: geometry and run-length codes beside loops and pycocotools."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from tasutils.mask_runs import Runs, changes_of, runs_of

shapes = st.tuples(st.integers(0, 7), st.integers(1, 9), st.integers(1, 9))
stacks = shapes.flatmap(lambda shape: arrays(np.bool_, shape))


def coco_codes(masks):
    return [coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8)) for mask in masks]


def same(a, b):
    parts = ("owner", "start", "stop")
    return (a.n, a.size_hw) == (b.n, b.size_hw) and all(
        np.array_equal(getattr(a, part), getattr(b, part)) for part in parts
    )


@settings(max_examples=300)
@given(stacks)
def test_codes_are_those_of_pycocotools(masks):
    expected = [code["counts"].decode() for code in coco_codes(masks)]
    assert [rle["counts"] for rle in runs_of(masks).rles()] == expected
    assert all(rle["size"] == list(masks.shape[1:]) for rle in runs_of(masks).rles())


def test_codes_of_long_runs(rng):
    """Differences of either sign, of one character up to four."""
    masks = np.zeros((12, 300, 411), bool)
    for index, mask in enumerate(masks):
        for _ in range(index):
            (y, x), (h, w) = rng.integers(0, 300, 2), rng.integers(1, 150, 2)
            mask[y : y + h, x : x + w] ^= True
    masks[-1] = ~masks[-1]
    rles, codes = runs_of(masks).rles(), coco_codes(masks)
    assert [rle["counts"] for rle in rles] == [code["counts"].decode() for code in codes]
    assert {len(rle["counts"]) > 100 for rle in rles} == {True, False}


@settings(max_examples=300)
@given(stacks)
def test_geometry_is_exact(masks):
    runs = runs_of(masks)
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
    runs = runs_of(masks)
    assert same(runs.take(indices), runs_of(masks[indices]))
    both = Runs.joined([runs, runs.take(indices), runs])
    assert same(both, runs_of(np.concatenate([masks, masks[indices], masks])))


def test_any_memory_layout(rng):
    masks = rng.random((3, 5, 8)) < 0.5
    for turned in (masks.transpose(0, 2, 1), np.asfortranarray(masks), masks[:, ::-1, ::2]):
        assert np.array_equal(changes_of(turned), changes_of(turned.copy(order="C")))


def test_other_arrays_are_refused():
    for wrong in (np.ones((2, 3, 4)), np.ones((3, 4), bool)):
        with pytest.raises(ValueError, match="bool"):
            runs_of(wrong)
