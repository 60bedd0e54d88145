"""The spatial rectifier: halves of the picture, four parts, and who wins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tasutils.errors import TasError
from tasutils.language import find_directions
from tasutils.rectifier import PARTS, cut_xy, in_parts, in_region, ranking, rectify
from tasutils.terms import min_max_softmax

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
    with pytest.raises(TasError) as caught:
        in_region([[0, 0]], (1, 1), ["left", "north"])
    assert str(caught.value) == ("unknown direction 'north'; choose among left, right, up, bottom")


def slow_region(points, at, names, closed):  # type: ignore[no-untyped-def]
    """Point by point; the first halves own their border only where both do."""
    kept = []
    for x, y in points:
        in_half = {
            "left": x < at[0] or (closed and x == at[0]),
            "right": x >= at[0],
            "up": y < at[1] or (closed and y == at[1]),
            "bottom": y >= at[1],
        }
        kept.append(all(in_half[name] for name in names))
    return kept


@given(pictures(), pictures(), CHOICES, st.sampled_from(["middle", "median"]))
def test_regions_equal_the_slow_version(picture, other, names, cut) -> None:  # type: ignore[no-untyped-def]
    (points, size), (centers, _) = picture, other
    middle = ((size[1] - 1) / 2, (size[0] - 1) / 2)
    for deciding, given_centers in ((points, None), (centers, centers)):
        at = middle
        if cut == "median" and len(deciding):
            at = tuple(np.median(deciding, axis=0))
        assert cut_xy(deciding, size, cut) == at
        found = in_region(points, size, names, cut, given_centers)
        assert found.tolist() == slow_region(points, at, names, cut == "middle")


def test_a_median_belongs_to_right_and_bottom_alone() -> None:
    points = [[0, 5], [2, 5], [4, 5]]
    where = {name: in_region(points, (99, 99), [name], "median").tolist() for name in NAMES}
    assert where == {
        "left": [True, False, False], "right": [False, True, True],
        "up": [False] * 3, "bottom": [True] * 3,
    }  # fmt: skip
    assert in_region([[2, 5]], (99, 99), ["left"], "median", [[3, 0]]).tolist() == [True]
    assert in_region([[2, 5]], (99, 99), ["left"], "median", [[1, 0]]).tolist() == [False]


def test_medians_of_single_precision_are_double() -> None:
    centers = np.float32([[2**24, 0], [2**24 + 2, 3]])  # nothing lies between them in float32
    assert cut_xy(centers, (9, 9), "median") == (2**24 + 1, 1.5)


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


@given(SCORES, st.integers(0, 255), st.integers(0, 255))
def test_who_yields_loses_ties_and_nothing_else(total: np.ndarray, bits: int, more: int) -> None:
    inside, yields = (
        np.array([bool(b >> i & 1) for i in range(len(total))], dtype=bool) for b in (bits, more)
    )
    order = ranking(total, inside, yields)
    wanted = sorted(range(len(total)), key=lambda i: (not inside[i], -total[i], yields[i], i))
    assert order.tolist() == wanted and order.dtype == np.int64
    # nothing beats NaN: those that yield count as outside, the rest is in the order of the masks
    blank = ranking(np.full_like(total, np.nan), inside, yields)
    assert blank.tolist() == sorted(range(len(total)), key=lambda i: not inside[i] or yields[i])
    assert rectify(total, inside, yields) == (wanted[0] if wanted else None)


def test_one_nan_makes_all_totals_alike() -> None:
    inside, yields = [False, True, True], [False, True, False]
    assert ranking([5, np.nan, 1], inside, yields).tolist() == [2, 0, 1]
    assert rectify([5, np.nan, 1], inside, yields) == 2
    # by default nobody yields
    assert ranking([5, np.nan, 1], inside).tolist() == [1, 2, 0]
    assert rectify([np.nan] * 3, inside) == 1


def test_any_kind_of_number_and_nothing_at_all() -> None:
    assert rectify(np.array([1, 2], np.uint8), [1, 1]) == 1
    assert rectify([True, False], [True, True]) == 0
    assert rectify([1, 2, 3], [0, 1, 0]) == 1
    assert rectify([], []) is None and ranking([], []).dtype == np.int64


# --- the released code's four parts ---


def part_of(points, size_hw, cut, centers=None):
    """The one part of the plane that holds each point."""
    held = [in_parts(points, size_hw, [part], cut, centers)[0] for part in PARTS]
    assert (np.sum(held, axis=0) == 1).all()
    return np.argmax(held, axis=0).tolist() if len(points) else []


def slow_four_parts(worth, centers, at, parts):
    """The rule as it is described, with scores that are all above 0 or all NaN."""
    everyone = int(np.argmax(worth))
    best = {}
    for part in PARTS:
        vertical, horizontal = part.split()
        inside = []
        for i, (x, y) in enumerate(centers):
            row = "top" if y < at[1] else "bottom"
            column = "left" if x < at[0] else "right"
            if (row, column) == (vertical, horizontal):
                inside.append(i)
        winner, score = everyone, 0.0
        for k, i in enumerate(inside):
            if k == 0 or worth[i] > score:
                winner, score = i, worth[i]
        best[part] = score, winner
    if not parts:
        return everyone
    if len(parts) == 1:
        return best[parts[0]][1]
    (score_a, a), (score_b, b) = best[parts[0]], best[parts[1]]
    return a if score_a > score_b else b


PLANS = st.sampled_from(
    [(), *((part,) for part in PARTS), PARTS[:2], PARTS[2:], PARTS[::2], PARTS[1::2]]
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=8
    ),
    PLANS,
    st.sampled_from(["median", "middle"]),
)
def test_four_parts_equal_the_slow_version(rows, parts, cut):
    table = np.array(rows, float)
    centers, shares = table[:, :2], min_max_softmax(table[:, 2])
    inside, yields = in_parts(centers, (7, 7), parts, cut)
    at = (3, 3) if cut == "middle" else tuple(np.median(centers, axis=0))
    for worth in (shares, np.full_like(shares, np.nan)):
        wanted = slow_four_parts(worth, centers, at, parts)
        assert rectify(worth, inside, yields) == wanted
        order = ranking(worth, inside, yields)
        assert order[0] == wanted and sorted(order) == list(range(len(worth)))


def test_parts_by_hand_ties_and_empty_parts():
    # medians of four corners: 5 and 5; a point on a cut lies right of it, or below
    corners = [[0, 0], [0, 10], [10, 0], [10, 10]]
    assert part_of(corners, (99, 99), "median") == [0, 1, 2, 3]
    assert part_of([[5, 5], *corners], (99, 99), "median") == [3, 0, 1, 2, 3]
    assert part_of(corners, (21, 21), "middle") == [0, 1, 2, 3]
    assert part_of([], (9, 9), "median") == []

    def winner(worth, parts):
        return rectify(worth, *in_parts(corners, (99, 99), parts, "median"))

    assert winner([0.4, 0.1, 0.3, 0.2], ("top left", "bottom left")) == 0
    assert winner([0.3, 0.3, 0.2, 0.2], ("top left", "bottom left")) == 1  # not strictly higher
    assert winner([0.1, 0.2, 0.3, 0.4], ("top left",)) == 0
    alone = [[0, 0], [0, 0], [0, 0]]  # all on the medians: bottom right
    inside, yields = in_parts(alone, (9, 9), ("top left", "top right"), "median")
    assert not inside.any() and rectify([0.2, 0.5, 0.3], inside, yields) == 1


def test_other_points_decide_where_the_plane_is_cut():
    centers = [[0, 0], [4, 8], [6, 20]]  # medians 4 and 8
    points = [[5, 9], [9, 9], [3, 7], [8, 8]]  # medians 6.5 and 8.5
    assert part_of(points, (99, 99), "median") == [1, 3, 0, 2]
    assert part_of(points, (99, 99), "median", centers) == [3, 3, 0, 3]
    assert part_of(points, (17, 9), "middle", centers) == [3, 3, 0, 3]
    inside, yields = in_parts(points, (99, 99), ("top left", "bottom right"), "median", centers)
    assert inside.all() and yields.tolist() == [False, False, True, False]


def test_no_part_is_everywhere_and_none_yields():
    for points in ([], [[1, 2]], [[1, 2], [3, 4]]):
        inside, yields = in_parts(points, (9, 9), (), "median")
        assert inside.dtype == yields.dtype == np.bool_
        assert inside.shape == yields.shape == (len(points),)
        assert inside.all() and not yields.any()


def test_points_of_single_precision_are_compared_in_double():
    x = float(np.float32(0.1))
    centers = np.array([[x + 1e-9, 0.0]])  # single precision does not tell them apart
    points = np.float32([[0.1, 0.0]])
    assert part_of(points, (9, 9), "median", centers) == [1]  # left of the cut, and on it


def test_an_unknown_part_is_named_with_those_there_are():
    with pytest.raises(TasError) as caught:
        in_parts([[1, 2]], (9, 9), ("top left", "middle", "centre"), "median")
    assert str(caught.value) == (
        "unknown part 'middle'; choose among top left, bottom left, top right, bottom right"
    )
