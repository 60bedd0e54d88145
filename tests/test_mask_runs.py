"""Runs of foreground: geometry and run-length codes beside loops and pycocotools."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from tasutils.mask_runs import Runs, changes_of, fills, runs_of

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
    assert same(Runs.joined([runs]), runs)
    both = Runs.joined([runs, runs.take(indices), runs])
    assert same(both, runs_of(np.concatenate([masks, masks[indices], masks])))


def test_any_memory_layout(rng):
    masks = rng.random((3, 5, 8)) < 0.5
    for turned in (masks.transpose(0, 2, 1), np.asfortranarray(masks), masks[:, ::-1, ::2]):
        assert np.array_equal(changes_of(turned), changes_of(turned.copy(order="C")))


def test_other_arrays_are_refused():
    for wrong in (np.ones((2, 3, 4)), np.ones((3, 4), bool)):
        with pytest.raises(ValueError) as caught:
            runs_of(wrong)
        shape = f"{wrong.dtype} {wrong.shape}"
        assert str(caught.value) == f"masks must be bool (n, H, W), not {shape}"


def test_changes_are_places_down_the_columns():
    masks = np.zeros((2, 2, 3), bool)
    masks[0, 1, 0] = masks[0, :, 1] = masks[1, 0, 0] = masks[1, 1, 2] = True
    # of the first mask places 1 to 3, of the second 0 and 5, in steps of 2 * 3 + 1 a mask
    found = changes_of(masks)
    assert found.dtype == np.int64
    assert found.tolist() == [1, 4, 7 + 0, 7 + 1, 7 + 5, 7 + 6]


def slow_fills(texts, n_px):
    """Each text read character by character, as maskApi.c does; at most 7 make a count."""
    for text in texts:
        counts, bits, size = [], 0, 0
        for code in text:
            if not 48 <= code <= 48 + 63:
                return False
            bits |= ((code - 48) & 31) << 5 * size
            size += 1
            if size > 7:
                return False
            if not (code - 48) & 32:
                if (code - 48) & 16:
                    bits -= 1 << 5 * size
                counts.append(bits + (counts[-2] if len(counts) > 2 else 0))
                bits, size = 0, 0
        if size or not counts or min(counts) < 0 or sum(counts) != n_px:
            return False
    return True


@settings(max_examples=200, deadline=None)
@given(stacks, st.data())
def test_fills_is_the_slow_reading_of_the_characters(masks, data):
    texts = [rle["counts"].encode() for rle in runs_of(masks).rles()]
    n_px = masks.shape[1] * masks.shape[2]
    assert fills(texts, n_px) and slow_fills(texts, n_px)
    for _ in range(4):
        other = list(texts) or [b"1"]
        k = data.draw(st.integers(0, len(other) - 1))
        text = bytearray(other[k])
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.integers(0, 1))] = data.draw(
            st.binary(max_size=2) | st.sampled_from([b"1", b"O", b"o", b"0", b"P1", b"\x2f", b"p"])
        )
        other[k] = bytes(text)
        assert fills(other, n_px) == slow_fills(other, n_px), other


def written(counts):
    """The characters of counts, each alone as maskApi.c writes it."""
    text = bytearray()
    for index, count in enumerate(counts):
        rest = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            low, rest = rest & 31, rest >> 5
            more = rest != (-1 if low & 16 else 0)
            text.append(low + 48 + 32 * more)
    return bytes(text)


@pytest.mark.parametrize(
    ("counts", "fit"),
    [
        ([9], True),
        ([0, 9], True),
        ([4, 0, 5], True),
        ([1, 2, 3, 1, 2], True),
        ([1, 2, 3, -1, 4], False),  # a negative run that the sum hides
        ([10, -1], False),
        ([-1, 10], False),
        ([8], False),
        ([10], False),
        ([3, 3, 3, 0, 0, 0, 0], True),
    ],
    ids=str,
)
def test_runs_must_fill_the_mask_and_none_be_negative(counts, fit):
    text = written(counts)
    assert fills([text], 9) == fit == slow_fills([text], 9)
    whole = written([0, 9])
    for texts in ([whole, text], [text, whole], [whole, text, whole]):
        assert fills(texts, 9) == fit, texts


def test_the_longest_counts():
    """Seven characters hold 34 bits and a sign; eight are refused, a last one that goes on too."""
    for n_px in (2**34 - 1, 2**29, 2**29 - 1, 2**10, 15, 16, 0):
        assert fills([written([n_px])], n_px) and fills([written([0, n_px])] * 2, n_px), n_px
    assert not fills([written([2**34])], 2**34)
    steps = [5, 2**32, 7, 3, 2**20, 2**32]
    assert fills([written(steps), written([sum(steps)])], sum(steps))
    assert fills([b"oooooo0"], 2**30 - 1) and not fills([b"ooooooo0"], 2**30 - 1)
    assert not fills([b"o", b"0"], 31)  # a count may not go on in the next text
    assert not fills([b"P"], 0) and not fills([b"P", b"0"], 0) and not fills([b"P0", b"0P"], 0)
    for text in (b"/", b"p", b"\x80", b"\xff"):
        assert not fills([text], 0) and not fills([text], 0xFF - 48)
    assert fills([], 9) and fills([], 0) and not fills([b""], 0) and not fills([b"0", b""], 0)
