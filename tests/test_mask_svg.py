"""Outlines of masks: exact before they are smoothed, near afterwards, small masks on top."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from light import discs, grey, scene_of

from tasutils.mask_svg import backdrop, borders, coarse, mask_svg, outlines, picture_class


def filled(loops: list[np.ndarray], size_hw: tuple[int, int]) -> np.ndarray:
    """Bool (H, W): which pixels' centres lie inside closed polygons, by the even-odd rule."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]] + 0.5
    inside = np.zeros(size_hw, bool)
    for loop in loops:
        for (x0, y0), (x1, y1) in zip(loop, np.roll(loop, -1, axis=0), strict=True):
            if y0 != y1:
                crosses = ((y0 <= y) != (y1 <= y)) & (x < x0 + (y - y0) / (y1 - y0) * (x1 - x0))
                inside ^= crosses
    return inside


def drawn_loops(path: str) -> list[np.ndarray]:
    """The polygons of an SVG path of absolute points."""
    assert re.fullmatch(r"(M\d+( \d+)+z)*", path)
    return [np.array(part.split(), int).reshape(-1, 2) for part in re.findall(r"M([^z]+)z", path)]


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_filled_borders_are_the_mask_again(mask):
    loops = borders(mask)
    assert (filled(loops, mask.shape) == mask).all()
    for loop in loops:  # corners only, along rows and columns in turn
        steps = np.abs(np.diff(np.vstack([loop, loop[:1]]), axis=0))
        assert ((steps == 0).sum(axis=1) == 1).all()


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9)), st.integers(1, 4))
def test_a_coarse_mask_has_every_square_that_is_touched(mask, step):
    small = coarse(mask, step)
    assert small.shape == (-(-mask.shape[0] // step), -(-mask.shape[1] // step))
    for y, x in np.ndindex(small.shape):
        square = mask[y * step : (y + 1) * step, x * step : (x + 1) * step]
        assert small[y, x] == square.any()


@pytest.mark.parametrize("side", [240, 1000])
def test_the_drawn_outlines_follow_the_masks(side):
    size_hw = (side, side + 7)
    masks = discs(size_hw, [(side // 3, side // 3), (side // 2, side // 2)], side // 4)
    masks[0] &= ~discs(size_hw, [(side // 3, side // 3)], side // 9)[0]  # a hole
    shapes = outlines(scene_of(masks))
    for mask, path, (x, y) in zip(masks, shapes.paths, shapes.points_xy, strict=True):
        found = filled(drawn_loops(path), size_hw)
        assert (found & mask).sum() / (found | mask).sum() > 0.95
        assert mask[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3].any()
        assert len(path) < 8 * 4 * side


def test_no_mask_is_too_small_to_be_drawn():
    masks = np.zeros((2, 1900, 2500), bool)
    masks[0, 1899, 2499] = True
    masks[1, 10:14, 20] = True
    shapes = outlines(scene_of(masks))
    for path in shapes.paths:
        (loop,) = drawn_loops(path)
        assert (np.ptp(loop, axis=0) > 0).all() and (loop <= (2500, 1900)).all()


def test_small_masks_lie_on_top_and_each_tells_its_own():
    masks = discs((60, 80), [(40, 30), (40, 30), (40, 30)], 5)
    masks[1] |= discs((60, 80), [(40, 30)], 20)[0]
    masks[2] |= discs((60, 80), [(40, 30)], 11)[0]
    svg = mask_svg(outlines(scene_of(masks)), [2, 1, 3], [True, True, False], list("abc"), "l", 0)
    root = ElementTree.fromstring(svg)
    paths = root.findall("path")
    assert [path.findtext("title") for path in paths] == ["b", "c", "a"]
    assert [path.get("class") for path in paths] == ["m1 first", "m2 out near", "m0 near picked"]
    assert [text.text for text in root.findall("text")] == ["1", "2", "3"]


def test_a_picture_has_a_name_of_its_own():
    scene, image = scene_of(discs((60, 80), [(20, 20)], 9)), grey((60, 80))
    other = image.copy()
    other[:30] = 0
    names = {picture_class(image, scene), picture_class(other, scene)}
    names.add(picture_class(image, scene_of(discs((60, 80), [(21, 20)], 9))))
    assert len(names) == 3 and all(re.fullmatch(r"tas-[0-9a-f]{8}", name) for name in names)
    assert picture_class(image.copy(), scene) in names
    sheet = backdrop(np.tile(image, (30, 30, 1)), scene)
    assert sheet.count("data:image/jpeg;base64,") == 1 and "http" not in sheet
    assert "</" not in sheet.removesuffix("</style>")
