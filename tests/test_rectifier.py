"""The spatial rectifier: halves of the picture, their mirror images, and who wins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tasutils.errors import TasError
from tasutils.language.directions import find_directions
from tasutils.rectifier import in_region, ranking, rectify

NAMES = ["left", "right", "up", "bottom"]
MIRROR_X = {"left": "right", "right": "left", "up": "up", "bottom": "bottom"}
MIRROR_Y = {"left": "left", "right": "right", "up": "bottom", "bottom": "up"}
SIZES = st.tuples(st.integers(1, 400), st.integers(1, 400))
CHOICES = st.lists(st.sampled_from(NAMES), max_size=3)


@st.composite
def pictures(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, int]]:
    """Centres (n, 2) on a grid of 1/8 px inside a picture, and its size (H, W)."""
    height, width = draw(SIZES)
    n = draw(st.integers(0, 8))
    x = draw(arrays(np.int64, n, elements=st.integers(0, 8 * (width - 1))))
    y = draw(arrays(np.int64, n, elements=st.integers(0, 8 * (height - 1))))
    return np.stack([x, y], axis=1) / 8, (height, width)


@given(pictures(), CHOICES)
def test_mirroring_swaps_left_and_right_and_up_and_bottom(picture, names) -> None:  # type: ignore[no-untyped-def]
    centers, (height, width) = picture
    region = in_region(centers, (height, width), names)
    across = np.array([width - 1, 0]) + centers * [-1, 1]
    np.testing.assert_array_equal(
        region, in_region(across, (height, width), [MIRROR_X[name] for name in names])
    )
    over = np.array([0, height - 1]) + centers * [1, -1]
    np.testing.assert_array_equal(
        region, in_region(over, (height, width), [MIRROR_Y[name] for name in names])
    )


@given(pictures())
def test_no_direction_is_everywhere_and_halves_cover_the_picture(picture) -> None:  # type: ignore[no-untyped-def]
    centers, size = picture
    assert in_region(centers, size, []).all()
    for one, other in (("left", "right"), ("up", "bottom")):
        assert (in_region(centers, size, [one]) | in_region(centers, size, [other])).all()


@given(pictures(), CHOICES)
def test_directions_intersect(picture, names) -> None:  # type: ignore[no-untyped-def]
    centers, size = picture
    each = [in_region(centers, size, [name]) for name in names]
    wanted = np.all([np.ones(len(centers), bool), *each], axis=0)
    np.testing.assert_array_equal(in_region(centers, size, names), wanted)


def test_the_middle_belongs_to_both_halves() -> None:
    # 3 px wide: columns 0, 1, 2; the middle column is 1. 4 px wide: the middle is at 1.5.
    assert in_region([[1, 0]], (1, 3), ["left", "right"]).tolist() == [True]
    assert in_region([[1, 0], [1.5, 0], [2, 0]], (1, 4), ["left"]).tolist() == [True, True, False]
    assert in_region([[0, 0]], (1, 1), NAMES).tolist() == [True]


def test_direction_words_are_taken_as_they_come() -> None:
    words = find_directions("top left zebra")
    assert in_region([[0, 0], [9, 0]], (10, 10), words).tolist() == [True, False]
    with pytest.raises(TasError, match="unknown direction 'north'"):
        in_region([[0, 0]], (1, 1), ["north"])


SCORES = arrays(np.float64, st.integers(0, 8), elements=st.integers(-3, 3).map(float))


@given(SCORES, st.integers(0, 255))
def test_the_winner_is_the_first_best_of_the_region(total: np.ndarray, bits: int) -> None:
    inside = np.array([bool(bits >> i & 1) for i in range(len(total))], dtype=bool)
    allowed = np.flatnonzero(inside if inside.any() else np.ones_like(inside))
    wanted = max(allowed, key=lambda i: (total[i], -i)) if len(total) else None
    assert rectify(total, inside) == wanted
    order = ranking(total, inside)
    assert sorted(order) == list(range(len(total)))
    assert inside[order].tolist() == sorted(inside.tolist(), reverse=True)


@given(SCORES)
def test_without_a_region_it_is_the_argmax(total: np.ndarray) -> None:
    everywhere = np.ones(len(total), dtype=bool)
    wanted = int(np.argmax(total)) if len(total) else None
    assert rectify(total, everywhere) == wanted == rectify(total, ~everywhere)
