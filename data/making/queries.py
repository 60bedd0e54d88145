"""What an expression means, and its execution on a scene: who is meant, is a reader sure?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from making.categories import by_slug, closure_words
from making.render import Rendered
from making.sprites import shares
from tasutils.masks import boxes_xyxy

#: axis of (x, y), sign towards the word
AXIS = {"left": (0, 1), "right": (0, -1), "top": (1, 1), "bottom": (1, -1)}
PLACE_MARGIN_PX = 18.0
ORDINAL_MARGIN_PX = 14.0
SIZE_RATIO = 1.5
NEAR_PX, NEAR_MARGIN_PX = 40.0, 25.0


@dataclass(frozen=True)
class Query:
    """The meaning of an expression.

    Attributes:
        noun: a word for the thing; empty for a pronoun ("the one", "it").
        size: "largest", "smallest" or None; ``hidden``: "partly hidden".
        place: outermost towards these words, for example ("left",) or ("top", "left").
        ordinal: (k, side), the k-th from that side, k from 1.
        relation: (kind, anchor), kind one of left, right, top, bottom, near, behind, before.
    """

    noun: str
    color: str | None = None
    size: str | None = None
    hidden: bool = False
    place: tuple[str, ...] = ()
    ordinal: tuple[int, str] | None = None
    relation: tuple[str, Query] | None = None


@dataclass(frozen=True, eq=False)
class View:
    """What a reader sees of a scene: one entry a thing.

    Attributes:
        slugs: categories; ``colors``: their colour names, None where unclear.
        shares: share of each colour name in their pixels, 0..1.
        centers_xy: float (n, 2), mean of the visible pixels; ``boxes_xyxy``: (n, 4) of them.
        areas_px: int (n,), visible; ``hidden_fraction``: float (n,).
        covers: bool (n, n), [i, j] true where j hides a good part of i.
    """

    slugs: tuple[str, ...]
    colors: tuple[str | None, ...]
    shares: tuple[dict[str, float], ...]
    centers_xy: np.ndarray
    boxes_xyxy: np.ndarray
    areas_px: np.ndarray
    hidden_fraction: np.ndarray
    covers: np.ndarray

    def __len__(self) -> int:
        return len(self.slugs)

    def called(self, index: int, noun: str, *, wide: bool) -> bool:
        """Whether a thing may be called so; ``wide`` adds WordNet's hypernym closure."""
        slug = self.slugs[index]
        return not noun or noun in (closure_words(slug) if wide else by_slug()[slug].words)

    def has_color(self, index: int, color: str) -> bool | None:
        """True, False, or None where a reader could not be sure."""
        named, share = self.colors[index], self.shares[index][color]
        if named == color:
            return True
        return False if share < (0.2 if named is None else 0.4) else None


def view_of(rendered: Rendered) -> View:
    """What a reader sees of a rendered scene."""
    visible, full = rendered.visible, rendered.full
    covers = np.zeros((len(visible),) * 2, dtype=bool)
    for i, whole in enumerate(full):
        covers[i, i + 1 :] = (whole & visible[i + 1 :]).sum((1, 2)) > 0.08 * whole.sum()
    things = rendered.graph.things
    return View(
        slugs=tuple(thing.slug for thing in things),
        colors=tuple(thing.color for thing in things),
        shares=tuple(shares(thing.style, thing.slug, thing.paint) for thing in things),
        hidden_fraction=rendered.hidden_fraction,
        covers=covers,
        **places_of(visible),
    )


def places_of(visible: np.ndarray) -> dict[str, Any]:
    """Centres, boxes and areas, as `View` has them, of masks bool (n, H, W), none of them empty."""
    centers = [np.argwhere(mask).mean(0)[::-1] for mask in visible]
    return {
        "centers_xy": np.array(centers).reshape(-1, 2),
        "boxes_xyxy": boxes_xyxy(visible).astype(np.float64),
        "areas_px": visible.sum((1, 2)),
    }


#: whether each thing is meant, None where a reader could not tell
Answers = dict[int, bool | None]


def execute(query: Query, view: View) -> frozenset[int] | None:
    """The things that a query means, perhaps none; None where a step is a close call for a reader.

    Each part that the query has chooses among what the parts before left, in the order of `STEPS`.
    """
    found = [i for i in range(len(view)) if view.called(i, query.noun, wide=True)]
    for part, step in STEPS.items():
        if asked := getattr(query, part):
            answers = step(asked, view, found)
            if answers is None or None in answers.values():
                return None
            found = [i for i, meant in answers.items() if meant]
    return frozenset(found)


def _by_color(color: str, view: View, found: list[int]) -> Answers:
    return {i: view.has_color(i, color) for i in found}


def _by_hidden(hidden: bool, view: View, found: list[int]) -> Answers:
    share = view.hidden_fraction
    return {i: hidden if share[i] > 0.2 else False if share[i] < 0.04 else None for i in found}


def _by_relation(relation: tuple[str, Query], view: View, found: list[int]) -> Answers | None:
    kind, anchors = relation[0], execute(relation[1], view)
    if anchors is None or len(anchors) != 1:
        return None
    (anchor,) = anchors
    others = [i for i in found if i != anchor]
    match kind:
        case "behind":
            return {i: bool(view.covers[i, anchor]) for i in others}
        case "before":
            return {i: bool(view.covers[anchor, i]) for i in others}
        case "near":
            gaps = {i: _box_gap_px(view.boxes_xyxy[i], view.boxes_xyxy[anchor]) for i in others}
            far = max((gap for gap in gaps.values() if gap <= NEAR_PX), default=0) + NEAR_MARGIN_PX
            return {i: gap <= NEAR_PX or (None if gap < far else False) for i, gap in gaps.items()}
    return {i: _lies(kind, view.centers_xy[anchor] - view.centers_xy[i]) for i in others}


def _by_noun(noun: str, view: View, found: list[int]) -> Answers:
    """Who is called so by WordNet alone is a close call."""
    return {i: view.called(i, noun, wide=False) or None for i in found}


def _by_size(size: str, view: View, found: list[int]) -> Answers | None:
    ranked = sorted(found, key=view.areas_px.__getitem__, reverse=size == "largest")
    first_two = view.areas_px[ranked[:2]]
    if len(ranked) > 1 and first_two.max() < SIZE_RATIO * first_two.min():
        return None
    return {i: i == ranked[0] for i in found}


def _along(side: str, view: View, found: list[int]) -> list[tuple[float, int]]:
    """Places of things from a side on, px, the first first."""
    axis, sign = AXIS[side]
    return sorted((sign * float(view.centers_xy[i, axis]), i) for i in found)


def _by_place(place: tuple[str, ...], view: View, found: list[int]) -> Answers | None:
    answers: Answers = dict.fromkeys(found, True)
    for ranked in (_along(side, view, found) for side in place):
        if len(place) == 1 < len(ranked) and ranked[1][0] - ranked[0][0] < PLACE_MARGIN_PX:
            return None
        answers |= {i: False for _, i in ranked[1:]}
    return answers


def _by_ordinal(ordinal: tuple[int, str], view: View, found: list[int]) -> Answers | None:
    rank, side = ordinal
    ranked = _along(side, view, found)
    if any(b - a < ORDINAL_MARGIN_PX for (a, _), (b, _) in pairwise(ranked)):
        return None
    return {i: number == rank for number, (_, i) in enumerate(ranked, 1)}


STEPS: dict[str, Callable[[Any, View, list[int]], Answers | None]] = {
    "color": _by_color,
    "hidden": _by_hidden,
    "relation": _by_relation,
    "noun": _by_noun,
    "size": _by_size,
    "place": _by_place,
    "ordinal": _by_ordinal,
}


def _lies(kind: str, offset_xy: np.ndarray) -> bool | None:
    """Whether a thing lies on a side of another, by the way from it there; None where unsure."""
    axis, sign = AXIS[kind]
    along, across = sign * float(offset_xy[axis]), abs(float(offset_xy[1 - axis]))
    if along >= 18 and along > 0.6 * across:
        return True
    return False if along < 4 else None


def _box_gap_px(first: np.ndarray, second: np.ndarray) -> float:
    """Distance between two boxes (x0, y0, x1, y1), 0 where they touch or overlap."""
    gap = np.maximum(0, np.maximum(first[:2] - second[2:], second[:2] - first[2:]))
    return float(np.sqrt(gap[0] ** 2 + gap[1] ** 2))
