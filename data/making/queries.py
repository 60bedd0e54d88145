"""What an expression means, and its execution on a scene: who is meant, is a reader sure?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from making.categories import by_slug, closure_words
from making.graph import Rendered
from making.sprites import COLORS

AXIS = {
    "left": (0, 1),
    "right": (0, -1),
    "top": (1, 1),
    "bottom": (1, -1),
}  # axis of (x, y), sign towards the word
PLACE_MARGIN_PX = 18.0
ORDINAL_MARGIN_PX = 14.0
SIZE_RATIO = 1.5
NEAR_PX, NEAR_MARGIN_PX = 40.0, 25.0


@dataclass(frozen=True)
class Query:
    """The meaning of an expression.

    Attributes:
        noun: a word for the thing; empty for a pronoun ("the one", "it").
        color: a colour name or None.
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

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        relation = [self.relation[0], self.relation[1].to_dict()] if self.relation else None
        return {
            "noun": self.noun, "color": self.color, "size": self.size, "hidden": self.hidden,
            "place": list(self.place), "ordinal": list(self.ordinal) if self.ordinal else None,
            "relation": relation,
        }  # fmt: skip

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Query:
        """The inverse of `to_dict`."""
        relation = values["relation"]
        ordinal = values["ordinal"]
        return Query(
            noun=values["noun"],
            color=values["color"],
            size=values["size"],
            hidden=values["hidden"],
            place=tuple(values["place"]),
            ordinal=(ordinal[0], ordinal[1]) if ordinal else None,
            relation=(relation[0], Query.from_dict(relation[1])) if relation else None,
        )


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
    _names: dict[tuple[int, str, bool], bool] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.slugs)

    def called(self, index: int, noun: str, *, wide: bool) -> bool:
        """Whether a thing may be called so; ``wide`` adds WordNet's hypernym closure."""
        key = (index, noun, wide)
        if key not in self._names:
            slug = self.slugs[index]
            words = closure_words(slug) if wide else by_slug()[slug].words
            self._names[key] = not noun or noun in words
        return self._names[key]

    def has_color(self, index: int, color: str) -> bool | None:
        """True, False, or None where a reader could not be sure."""
        named = self.colors[index]
        if named is not None:
            return named == color if named == color or self.shares[index][color] < 0.4 else None
        return False if self.shares[index][color] < 0.2 else None


def view_of(rendered: Rendered) -> View:
    """What a reader sees of a rendered scene."""
    visible, full = rendered.visible, rendered.full
    count = len(visible)
    centers, boxes = np.zeros((count, 2)), np.zeros((count, 4))
    covers = np.zeros((count, count), dtype=bool)
    for i in range(count):
        rows, columns = np.nonzero(visible[i])
        centers[i] = columns.mean(), rows.mean()
        boxes[i] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        for j in range(i + 1, count):
            covers[i, j] = (full[i] & visible[j]).sum() > 0.08 * full[i].sum()
    things = rendered.graph.things
    return View(
        slugs=tuple(thing.slug for thing in things),
        colors=tuple(thing.color for thing in things),
        shares=tuple({c: thing.color_share(c) for c in COLORS} for thing in things),
        centers_xy=centers,
        boxes_xyxy=boxes,
        areas_px=visible.sum((1, 2)),
        hidden_fraction=rendered.hidden_fraction,
        covers=covers,
    )


def execute(query: Query, view: View) -> tuple[frozenset[int], bool]:
    """The things a query means, and whether a reader would be sure of it.

    Returns:
        indices of the things, and False where some step was a close call.
    """
    found = [i for i in range(len(view)) if view.called(i, query.noun, wide=True)]
    clear = True
    for step in (_by_color, _by_hidden, _by_relation):
        found, sure = step(query, view, found)
        clear &= sure
    clear &= all(view.called(i, query.noun, wide=False) for i in found)
    for step in (_by_size, _by_place, _by_ordinal):
        found, sure = step(query, view, found)
        clear &= sure
    return frozenset(found), clear


Step = tuple[list[int], bool]


def _by_color(query: Query, view: View, found: list[int]) -> Step:
    if query.color is None:
        return found, True
    answers = {i: view.has_color(i, query.color) for i in found}
    return [i for i in found if answers[i]], all(answer is not None for answer in answers.values())


def _by_hidden(query: Query, view: View, found: list[int]) -> Step:
    if not query.hidden:
        return found, True
    share = view.hidden_fraction
    return [i for i in found if share[i] > 0.2], all(
        share[i] > 0.2 or share[i] < 0.04 for i in found
    )


def _by_size(query: Query, view: View, found: list[int]) -> Step:
    if query.size is None or not found:
        return found, True
    ranked = sorted(
        found,
        key=lambda i: -int(view.areas_px[i]) if query.size == "largest" else int(view.areas_px[i]),
    )
    if len(ranked) == 1:
        return ranked, True
    first, second = (float(view.areas_px[i]) for i in ranked[:2])
    return ranked[:1], max(first, second) >= SIZE_RATIO * min(first, second)


def _by_place(query: Query, view: View, found: list[int]) -> Step:
    sure = True
    winners = set(found)
    for word in query.place:
        if not found:
            break
        axis, sign = AXIS[word]
        position = {i: sign * float(view.centers_xy[i, axis]) for i in found}
        best = min(found, key=lambda i: position[i])
        margin = 0.0 if len(query.place) > 1 else PLACE_MARGIN_PX
        sure &= all(position[i] - position[best] >= margin for i in found if i != best)
        winners &= {best}
    return sorted(winners), sure


def _by_ordinal(query: Query, view: View, found: list[int]) -> Step:
    if query.ordinal is None:
        return found, True
    rank, side = query.ordinal
    axis, sign = AXIS[side]
    ranked = sorted(found, key=lambda i: sign * float(view.centers_xy[i, axis]))
    gaps = np.diff(sorted(float(view.centers_xy[i, axis]) for i in found))
    return ranked[rank - 1 : rank], bool((gaps >= ORDINAL_MARGIN_PX).all())


def _by_relation(query: Query, view: View, found: list[int]) -> Step:
    if query.relation is None:
        return found, True
    kind, anchor_query = query.relation
    anchors, sure = execute(anchor_query, view)
    if len(anchors) != 1:
        return [], False
    (anchor,) = anchors
    others = [i for i in found if i != anchor]
    if kind == "near":
        return _nearest(view, others, anchor, sure)
    if kind in ("behind", "before"):
        pairs = {i: (view.covers[i, anchor], view.covers[anchor, i]) for i in others}
        return [i for i in others if pairs[i][0 if kind == "behind" else 1]], sure
    axis, sign = AXIS[kind]
    answers: dict[int, bool | None] = {}
    for i in others:
        along = sign * float(view.centers_xy[anchor, axis] - view.centers_xy[i, axis])
        across = abs(float(view.centers_xy[anchor, 1 - axis] - view.centers_xy[i, 1 - axis]))
        answers[i] = (
            True if along >= 18 and along > 0.6 * across else (False if along < 4 else None)
        )
    return [i for i in others if answers[i]], sure and all(
        answer is not None for answer in answers.values()
    )


def _nearest(view: View, found: list[int], anchor: int, sure: bool) -> Step:
    gaps = {i: box_gap_px(view.boxes_xyxy[i], view.boxes_xyxy[anchor]) for i in found}
    near = [i for i in found if gaps[i] <= NEAR_PX]
    edge = max((gaps[i] for i in near), default=0.0)
    rest = [gaps[i] for i in found if i not in near]
    return near, sure and all(gap >= edge + NEAR_MARGIN_PX for gap in rest)


def box_gap_px(first: np.ndarray, second: np.ndarray) -> float:
    """Distance between two boxes (x0, y0, x1, y1), 0 where they touch or overlap."""
    gap = np.maximum(0, np.maximum(first[:2] - second[2:], second[:2] - first[2:]))
    return float(np.sqrt(gap[0] ** 2 + gap[1] ** 2))
