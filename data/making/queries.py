"""What an expression means, and its execution on a scene: who is meant, is a reader sure?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from making.categories import by_slug, closure_words
from making.render import Rendered
from making.sprites import shares

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
    count, things = len(visible), rendered.graph.things
    places = [np.nonzero(mask)[::-1] for mask in visible]
    covers = np.zeros((count, count), dtype=bool)
    for i in range(count):
        for j in range(i + 1, count):
            covers[i, j] = (full[i] & visible[j]).sum() > 0.08 * full[i].sum()
    return View(
        slugs=tuple(thing.slug for thing in things),
        colors=tuple(thing.color for thing in things),
        shares=tuple(shares(thing.style, thing.slug, thing.paint) for thing in things),
        centers_xy=np.array([(x.mean(), y.mean()) for x, y in places]).reshape(-1, 2),
        boxes_xyxy=boxes_of(places),
        areas_px=visible.sum((1, 2)),
        hidden_fraction=rendered.hidden_fraction,
        covers=covers,
    )


def boxes_of(places: list[tuple[np.ndarray, ...]]) -> np.ndarray:
    """float (n, 4): x0, y0, x1, y1, end-exclusive, of the pixels (x, y) of each thing."""
    boxes = [(x.min(), y.min(), x.max() + 1, y.max() + 1) for x, y in places]
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


Step = tuple[list[int], bool]


def execute(query: Query, view: View) -> tuple[frozenset[int], bool]:
    """The things a query means, and False where some step was a close call for a reader."""
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


def _by_color(query: Query, view: View, found: list[int]) -> Step:
    if query.color is None:
        return found, True
    return _told({i: view.has_color(i, query.color) for i in found})


def _told(answers: dict[int, bool | None]) -> Step:
    return [i for i, answer in answers.items() if answer], None not in answers.values()


def _by_hidden(query: Query, view: View, found: list[int]) -> Step:
    if not query.hidden:
        return found, True
    share = view.hidden_fraction
    sure = all(share[i] > 0.2 or share[i] < 0.04 for i in found)
    return [i for i in found if share[i] > 0.2], sure


def _by_size(query: Query, view: View, found: list[int]) -> Step:
    if query.size is None or len(found) < 2:
        return found, True
    sign = -1 if query.size == "largest" else 1
    ranked = sorted(found, key=lambda i: sign * int(view.areas_px[i]))
    first, second = (float(view.areas_px[i]) for i in ranked[:2])
    return ranked[:1], max(first, second) >= SIZE_RATIO * min(first, second)


def _by_place(query: Query, view: View, found: list[int]) -> Step:
    sure, winners = True, set(found)
    margin = 0.0 if len(query.place) > 1 else PLACE_MARGIN_PX
    for word in query.place if found else ():
        axis, sign = AXIS[word]
        position = {i: sign * float(view.centers_xy[i, axis]) for i in found}
        best = min(found, key=lambda i: position[i])
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
    if kind == "behind":
        return [i for i in others if view.covers[i, anchor]], sure
    if kind == "before":
        return [i for i in others if view.covers[anchor, i]], sure
    if kind == "near":
        near, clear = _nearest(view, others, anchor)
    else:
        near, clear = _told({i: _lies(kind, view.centers_xy[anchor] - view.centers_xy[i])
                             for i in others})  # fmt: skip
    return near, sure and clear


def _lies(kind: str, offset_xy: np.ndarray) -> bool | None:
    """Whether a thing lies on a side of another, by the way from it there; None where unsure."""
    axis, sign = AXIS[kind]
    along, across = sign * float(offset_xy[axis]), abs(float(offset_xy[1 - axis]))
    if along >= 18 and along > 0.6 * across:
        return True
    return False if along < 4 else None


def _nearest(view: View, found: list[int], anchor: int) -> Step:
    gaps = {i: _box_gap_px(view.boxes_xyxy[i], view.boxes_xyxy[anchor]) for i in found}
    near = [i for i in found if gaps[i] <= NEAR_PX]
    edge = max((gaps[i] for i in near), default=0.0)
    return near, all(gaps[i] >= edge + NEAR_MARGIN_PX for i in found if i not in near)


def _box_gap_px(first: np.ndarray, second: np.ndarray) -> float:
    """Distance between two boxes (x0, y0, x1, y1), 0 where they touch or overlap."""
    gap = np.maximum(0, np.maximum(first[:2] - second[2:], second[:2] - first[2:]))
    return float(np.sqrt(gap[0] ** 2 + gap[1] ** 2))
