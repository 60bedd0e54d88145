"""The released rectifier's four parts: against a slow version, by hand, and at the edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasutils import rectifier, terms
from tasutils.errors import TasError
from tasutils.rectifier_released import PARTS, in_parts, part_of


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
    centers, shares = table[:, :2], terms.min_max_softmax(table[:, 2])
    inside, yields = in_parts(centers, (7, 7), parts, cut)
    at = (3, 3) if cut == "middle" else tuple(np.median(centers, axis=0))
    for worth in (shares, np.full_like(shares, np.nan)):
        wanted = slow_four_parts(worth, centers, at, parts)
        assert rectifier.rectify(worth, inside, yields) == wanted
        order = rectifier.ranking(worth, inside, yields)
        assert order[0] == wanted and sorted(order) == list(range(len(worth)))


def test_parts_by_hand_ties_and_empty_parts():
    # medians of four corners: 5 and 5; a point on a cut lies right of it, or below
    corners = [[0, 0], [0, 10], [10, 0], [10, 10]]
    assert part_of(corners, (99, 99), "median").tolist() == [0, 1, 2, 3]
    assert part_of([[5, 5], *corners], (99, 99), "median").tolist() == [3, 0, 1, 2, 3]
    assert part_of(corners, (21, 21), "middle").tolist() == [0, 1, 2, 3]
    assert part_of([], (9, 9), "median").shape == (0,)

    def winner(worth, parts):
        return rectifier.rectify(worth, *in_parts(corners, (99, 99), parts, "median"))

    assert winner([0.4, 0.1, 0.3, 0.2], ("top left", "bottom left")) == 0
    assert winner([0.3, 0.3, 0.2, 0.2], ("top left", "bottom left")) == 1  # not strictly higher
    assert winner([0.1, 0.2, 0.3, 0.4], ("top left",)) == 0
    alone = [[0, 0], [0, 0], [0, 0]]  # all on the medians: bottom right
    inside, yields = in_parts(alone, (9, 9), ("top left", "top right"), "median")
    assert not inside.any() and rectifier.rectify([0.2, 0.5, 0.3], inside, yields) == 1


def test_other_points_decide_where_the_plane_is_cut():
    centers = [[0, 0], [4, 8], [6, 20]]  # medians 4 and 8
    points = [[5, 9], [9, 9], [3, 7], [8, 8]]  # medians 6.5 and 8.5
    assert part_of(points, (99, 99), "median").tolist() == [1, 3, 0, 2]
    assert part_of(points, (99, 99), "median", centers).tolist() == [3, 3, 0, 3]
    assert part_of(points, (17, 9), "middle", centers).tolist() == [3, 3, 0, 3]
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
    found = part_of(points, (9, 9), "median", centers)
    assert found.tolist() == [1] and found.dtype == np.int64  # left of the cut, and on it


def test_an_unknown_part_is_named_with_those_there_are():
    with pytest.raises(TasError) as caught:
        in_parts([[1, 2]], (9, 9), ("top left", "middle", "centre"), "median")
    assert str(caught.value) == (
        "unknown part 'middle'; choose among top left, bottom left, top right, bottom right"
    )
