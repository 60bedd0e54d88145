"""Write referring expressions over a scene: four families, always unambiguous for a reader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from tasutils.world import phrasing
from tasutils.world.captions import choose
from tasutils.world.categories import by_slug
from tasutils.world.queries import Query, View, execute

FAMILIES = ("refscenes", "refscenes+", "refscenesg", "phrasescenes")
SIDES = ("left", "right", "top", "bottom")
DIRECTION_SHARE, ORDINAL_OR_RELATION_SHARE, PRONOUN_SHARE = 0.5, 0.25, 0.1


@dataclass(frozen=True)
class Written:
    """An expression: its words, its meaning, and what kind of help it gives.

    Attributes:
        text: lower-case, no punctuation; ``raw`` as written.
        kind: plain, color, size, hidden, direction, ordinal, relation.
        has_direction: it holds a direction word.
    """

    text: str
    raw: str
    query: Query
    kind: str
    has_direction: bool
    targets: frozenset[int]


class Quota:
    """Keeps running shares of the kinds of expressions near their set values."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def below(self, name: str, total: str, share: float) -> bool:
        """Whether ``name`` makes up less than ``share`` of ``total`` so far."""
        return self.counts.get(name, 0) <= share * self.counts.get(total, 0)

    def add(self, *names: str) -> None:
        """Count one more of each."""
        for name in names:
            self.counts[name] = self.counts.get(name, 0) + 1


def write_expression(
    rng: np.random.Generator, view: View, target: int, family: str, quota: Quota, taken: set[str]
) -> Written | None:
    """One new expression for a target, of the kind its family lacks most; None when none fits.

    Args:
        taken: texts already used for this target.
    """
    for plan in _plans(rng, family, quota):
        for query in _candidates(rng, view, target, plan):
            found, clear = execute(query, view)
            if not clear or found != {target}:
                continue
            raw = phrasing.phrase(rng, query, family)
            text = phrasing.normalise(raw)
            if text in taken:
                continue
            return _count(
                Written(text, raw, query, plan, _has_direction(query), found), family, quota
            )
    return None


def _has_direction(query: Query) -> bool:
    relation = query.relation is not None and query.relation[0] in SIDES
    return bool(query.place or query.ordinal or relation)


def _count(written: Written, family: str, quota: Quota) -> Written:
    names = [family]
    if written.has_direction:
        names.append(f"{family} direction")
        if written.query.ordinal or written.query.relation:
            names.append(f"{family} hard")
    if not written.query.noun:
        names.append(f"{family} pronoun")
    quota.add(*names)
    return written


def _plans(rng: np.random.Generator, family: str, quota: Quota) -> list[str]:
    """Kinds of expressions to try, best first."""
    plain = [choose(rng, ("plain", "color", "size")), "color", "plain", "size"]
    if family == "refscenes":
        if not quota.below("refscenes direction", "refscenes", DIRECTION_SHARE):
            return [*plain, "hidden"]
        hard = ["ordinal", "side relation"] if rng.uniform() < 0.5 else ["side relation", "ordinal"]
        if quota.below("refscenes hard", "refscenes direction", ORDINAL_OR_RELATION_SHARE):
            return [*hard, "direction"]
        return ["direction"]
    if family == "refscenes+":
        return [choose(rng, ("plain", "color", "size", "hidden")), *plain, "hidden"]
    if quota.below("refscenesg pronoun", "refscenesg", PRONOUN_SHARE):
        return ["pronoun", "relation", *plain]
    return [
        choose(rng, ("relation", "side relation", "direction", "color")),
        "relation",
        "side relation",
        *plain,
    ]


def _nouns(rng: np.random.Generator, slug: str) -> list[str]:
    category = by_slug()[slug]
    others = [*category.synonyms, *category.hypernyms]
    others = [others[int(i)] for i in rng.permutation(len(others))]
    return [category.name, *others] if rng.uniform() < 0.55 else [*others, category.name]


def _candidates(rng: np.random.Generator, view: View, target: int, plan: str) -> Iterator[Query]:
    """Queries of one kind that may mean the target, in random order."""
    color = view.colors[target]
    for noun in _nouns(rng, view.slugs[target]):
        base = Query(noun)
        colored = replace(base, color=color) if color else base
        dressed = colored if rng.uniform() < 0.4 else base
        match plan:
            case "plain":
                yield base
            case "color":
                if color:
                    yield colored
            case "size":
                yield from (replace(dressed, size=size) for size in ("largest", "smallest"))
            case "hidden":
                yield replace(dressed, hidden=True)
            case "direction":
                yield from _directions(rng, dressed)
            case "ordinal":
                yield from _ordinals(rng, view, dressed)
            case "side relation":
                yield from _relations(rng, view, target, dressed, SIDES)
            case "relation":
                yield from _relations(rng, view, target, dressed, ("near", "behind", "before"))
    if plan == "pronoun":
        yield from _relations(rng, view, target, Query(""), ("near", "behind", "before", *SIDES))


def _directions(rng: np.random.Generator, base: Query) -> Iterator[Query]:
    places: list[tuple[str, ...]] = [("left",), ("right",), ("top",), ("bottom",)]
    corners = [(v, h) for v in ("top", "bottom") for h in ("left", "right")]
    options = [*corners, *places] if rng.uniform() < 0.2 else places
    for i in rng.permutation(len(options)):
        yield replace(base, place=options[int(i)])


def _ordinals(rng: np.random.Generator, view: View, base: Query) -> Iterator[Query]:
    count = sum(view.called(i, base.noun, wide=True) for i in range(len(view)))
    for i in rng.permutation(4):
        side = SIDES[int(i)]
        yield from (replace(base, ordinal=(k, side)) for k in range(2, min(count, 4)))


def _relations(
    rng: np.random.Generator, view: View, target: int, base: Query, kinds: tuple[str, ...]
) -> Iterator[Query]:
    for kind in (kinds[int(i)] for i in rng.permutation(len(kinds))):
        for anchor in (int(i) for i in rng.permutation(len(view))):
            if anchor == target:
                continue
            name = by_slug()[view.slugs[anchor]].name
            color = view.colors[anchor]
            for query in (Query(name), Query(name, color=color)):
                found, clear = execute(query, view)
                if clear and found == {anchor}:
                    yield replace(base, relation=(kind, query))
                    break


def write_phrase(
    rng: np.random.Generator, view: View, target: int, taken: set[str]
) -> Written | None:
    """A PhraseCut phrase for *every* thing it fits, the target among them; None if unsure."""
    plans: tuple[Callable[[Query], Iterator[Query]], ...] = (
        lambda base: iter([base]),
        lambda base: _relations(
            rng, view, target, base, ("near", "behind", "before", "left", "right")
        ),
    )
    color = view.colors[target]
    for plan in [plans[int(i)] for i in (rng.permutation(2) if rng.uniform() < 0.6 else (0, 1))]:
        for noun in _nouns(rng, view.slugs[target]):
            colored = [Query(noun, color=color)] if color else []
            bases = [Query(noun), *colored] if rng.uniform() < 0.5 else [*colored, Query(noun)]
            for query in (q for base in bases for q in plan(base)):
                found, clear = execute(query, view)
                if not clear or target not in found:
                    continue
                text = phrasing.short_phrase(query, plural=len(found) > 1)
                if text in taken:
                    continue
                kind = "relation" if query.relation else ("color" if query.color else "plain")
                return Written(text, text, query, kind, _has_direction(query), found)
    return None
