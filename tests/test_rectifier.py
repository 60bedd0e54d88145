"""The spatial rectifier: halves of the picture, four parts, and who wins."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

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


def test_the_middle_belongs_to_both_halves() -> None:
    # 3 px wide: columns 0, 1, 2; the middle column is 1. 4 px wide: the middle is at 1.5.
    assert in_region([[1, 0]], (1, 3), ["left", "right"]).tolist() == [True]
    assert in_region([[1, 0], [1.5, 0], [2, 0]], (1, 4), ["left"]).tolist() == [True, True, False]
    assert in_region([[0, 0]], (1, 1), NAMES).tolist() == [True]


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


SCORES = arrays(np.float64, st.integers(0, 8), elements=st.integers(-3, 3).map(float))


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


# --- the released code's four parts ---


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
