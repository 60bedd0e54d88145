"""Graded terms: place, size, relation, order and wholeness as scores instead of halves.

The article's rectifier cuts the picture in two: the leftmost dog of three that stand in the right
half is lost. These terms say *how far* left, large or near a mask is, and the sum decides. Each is
0 for every mask where the sentence does not ask for it (`language.asks`), but for w, a prior.

| term | asked by | value of a mask |
|---|---|---|
| d | a direction | where its centre lies along it, from -1 at one edge to 1 at the other |
| z | a size word | the log of its area against the masks' mean, negative for small |
| r | a relation | how well it stands so to the landmark, any mask that fits its phrase |
| o | an order | minus how many places it is off, counting the masks that fit the thing |
| h | any of these | V of the bare thing less V of the sentence: "cat" for "the biggest cat" |
| w | nothing | minus how far its area is from a thing's, less what it is nested in others |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasutils.config import Part
from tasutils.masks import distinct
from tasutils.terms import Scores, Term, Texts, v_score

if TYPE_CHECKING:
    from tasutils.refer import Expression
    from tasutils.scene import Proposals, Scene

_AXES = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "bottom": (0, 1)}
_SIGNS = {"big": 1, "biggest": 1, "small": -1, "smallest": -1}
_SAME = 0.5  # masks that share more of the smaller one are of one thing


class Relation(Part):
    """softness: of the landmark, in cosines; near_share: of the picture's diagonal, a short way."""

    softness: float = 0.05
    near_share: float = 0.15


class Order(Part):
    """margin: how far below the best a mask still fits, in cosines; softness: of that bound."""

    margin: float = 0.2
    softness: float = 0.05


class Size(Part):
    """bound: of the log of an area against the mean; beyond it larger is not more."""

    bound: float = 1.5


class Wholeness(Part):
    """typical_share: of a thing in the picture; nested: what lying in larger masks costs."""

    typical_share: float = 0.15
    nested: float = 2.5


def d_score(centers_xy: ArrayLike, size_hw: tuple[int, int], directions: tuple[str, ...]) -> Scores:
    """Sum over the directions of a centre's place along each, -1..1; float64 (n,).

    >>> d_score([[0, 0], [4, 1]], (3, 5), ("left",)).tolist()
    [1.0, -1.0]
    """
    height, width = size_hw
    middle = np.array([width - 1, height - 1]) / 2
    places = (np.asarray(centers_xy, np.float64).reshape(-1, 2) - middle) / np.maximum(middle, 0.5)
    return np.sum([places @ _AXES[name] for name in directions], axis=0) + np.zeros(len(places))


def z_score(areas_px: ArrayLike, size: str, bound: float = 1.5) -> Scores:
    """The log of each area less the mean of the logs, its sign turned for small; float64 (n,).

    >>> z_score([1, 9], "small").round(1).tolist(), z_score([1, 9], "").tolist()
    ([1.1, -1.1], [0.0, 0.0])
    """
    logs = np.log(np.maximum(np.asarray(areas_px, np.float64), 1))
    against = logs - logs.mean() if len(logs) else logs
    return 0.0 + _SIGNS.get(size, 0) * np.clip(against, -bound, bound)


def r_score(proposals: Proposals, relation: str, fits: ArrayLike, settings: Relation) -> Scores:
    """How well each mask stands in a relation to the landmark, 0..1; float64 (n,).

    fits: float (k, n), how well each mask fits each of k landmarks, in cosines. The landmark is
    every other mask by its share of a softmax over them, never one of the same thing.
    """
    stands = _stands(proposals, relation, settings)  # (n, n): this one to that one
    scores = np.asarray(fits, np.float64)
    shares = np.exp((scores - scores.max(axis=1, keepdims=True, initial=-1)) / settings.softness)
    weights = shares[:, None, :] * (proposals.overlaps <= _SAME)  # (k, n, n)
    sums = np.maximum(weights.sum(axis=2, keepdims=True), 1e-12)
    return ((weights / sums) * stands).sum(axis=2).mean(axis=0)


def _stands(proposals: Proposals, relation: str, settings: Relation) -> NDArray[np.float64]:
    """How well mask i stands in the relation to mask j, 0..1: float64 (n, n)."""
    boxes, centers = np.asarray(proposals.boxes_xyxy, np.float64), proposals.centers_xy
    diagonal = np.hypot(*proposals.size_hw)
    way = np.asarray(centers[:, None] - centers[None], np.float64)  # (n, n, 2): from j to i
    length = np.maximum(np.hypot(*np.moveaxis(way, 2, 0)), 1e-9)
    lows, highs = boxes[:, :2], boxes[:, 2:]
    gaps = np.maximum(0, np.maximum(lows[:, None] - highs[None], lows[None] - highs[:, None]))
    near = np.exp(-np.hypot(*np.moveaxis(gaps, 2, 0)) / (settings.near_share * diagonal))
    lower = 1 / (1 + np.exp((boxes[None, :, 3] - boxes[:, None, 3]) / (0.05 * diagonal)))
    sides = {"left of": "left", "right of": "right", "above": "up", "below": "bottom",
             "under": "bottom", "on": "up"}  # fmt: skip
    if relation in sides:
        along = np.clip(way @ _AXES[sides[relation]] / length, 0, 1)
        return along * near if relation == "on" else along
    if relation == "inside":
        return proposals.overlaps * (proposals.areas_px[:, None] < proposals.areas_px[None])
    return near * {"in front of": lower, "behind": 1 - lower}.get(relation, 1.0)


def o_score(
    proposals: Proposals, order: tuple[int, str], fits: ArrayLike, settings: Order
) -> Scores:
    """Minus how many places each mask is off its place in the order, at most 2; float64 (n,).

    fits: float (n,), how well each mask fits the thing, in cosines. Counted are the masks that
    fit, softly, and of those that overlap only the best.
    """
    scores, (k, where) = np.asarray(fits, np.float64), order
    same = proposals.overlaps > _SAME
    best = np.argsort(-scores, kind="stable")
    kept = best[distinct(proposals.overlaps[np.ix_(best, best)], _SAME, len(best))]
    least = scores.max(initial=-1) - settings.margin
    counts = 1 / (1 + np.exp((least - scores[kept]) / settings.softness))
    logs = np.log(np.maximum(proposals.areas_px, 1))
    ranks = {"biggest": -logs, "smallest": logs, "middle": proposals.centers_xy[:, 0]}
    if where in _AXES:
        ranks[where] = -(proposals.centers_xy @ _AXES[where])
    at = ranks[where]
    counts = counts * ~same[:, kept]  # (n, kept)
    before = (counts * (at[kept] < at[:, None])).sum(axis=1)
    after = (counts * (at[kept] > at[:, None])).sum(axis=1)
    off = before - after if where == "middle" else before - (k - 1)
    return -np.minimum(np.abs(off), 2.0)


def w_score(proposals: Proposals, settings: Wholeness) -> Scores:
    """Minus how far the log of each area is from a thing's, and what it is nested; float64 (n,)."""
    areas = np.maximum(np.asarray(proposals.areas_px, np.float64), 1)
    typical = settings.typical_share * np.prod(proposals.size_hw)
    larger = areas[None] > 1.25 * areas[:, None]
    nested = ((proposals.overlaps > 0.8) & larger).sum(axis=1)
    return -np.abs(np.log(areas / typical)) - settings.nested * np.minimum(nested, 3) / 3


def _d(scene: Scene, expression: Expression, texts: Texts, settings: Part) -> Scores:
    return d_score(scene.proposals.centers_xy, scene.size_hw, expression.asks.directions)


def _z(scene: Scene, expression: Expression, texts: Texts, settings: Size) -> Scores:
    return z_score(scene.proposals.areas_px, expression.asks.size, settings.bound)


def _r(scene: Scene, expression: Expression, texts: Texts, settings: Relation) -> Scores:
    asks = expression.asks
    if not asks.relation:
        return np.zeros(len(scene.proposals))
    fits = [v_score(scene.crop_embeddings, texts.phrases[name]) for name in asks.landmarks]
    return r_score(scene.proposals, asks.relation, fits, settings)


def _o(scene: Scene, expression: Expression, texts: Texts, settings: Order) -> Scores:
    asks = expression.asks
    if asks.order is None:
        return np.zeros(len(scene.proposals))
    fits = v_score(scene.crop_embeddings, texts.phrases.get(asks.thing, texts.sentence))
    return o_score(scene.proposals, asks.order, fits, settings)


def _things(expression: Expression) -> tuple[str, ...]:
    asks = expression.asks
    graded = asks.directions or asks.size or asks.relation or asks.order
    return (asks.thing,) if graded and asks.thing else ()


def _h(scene: Scene, expression: Expression, texts: Texts, settings: Part) -> Scores:
    if not _things(expression):
        return np.zeros(len(scene.proposals))
    bare = v_score(scene.crop_embeddings, texts.phrases[expression.asks.thing])
    return bare - v_score(scene.crop_embeddings, texts.sentence)


D, Z = Term(_d), Term(_z, settings=Size)
R = Term(_r, phrases=lambda expression: expression.asks.landmarks, settings=Relation)
O = Term(_o, phrases=_things, settings=Order)  # noqa: E741
H = Term(_h, phrases=_things)
W = Term(lambda scene, _, __, settings: w_score(scene.proposals, settings), settings=Wholeness)
