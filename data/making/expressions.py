"""Write referring expressions over a scene: four families, always unambiguous for a reader."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from making.categories import by_slug
from making.queries import Query, View, execute
from making.words import choose

FAMILIES = ("refscenes", "refscenes+", "refscenesg", "phrasescenes")
SIDES = ("left", "right", "top", "bottom")
DIRECTION_SHARE, ORDINAL_OR_RELATION_SHARE, PRONOUN_SHARE = 0.5, 0.25, 0.1

ORDINALS = {2: "second", 3: "third", 4: "fourth"}
ORDINAL_FORMS = ("{k} {np} from the {side}", "{np} {k} from {side}", "the {k} {np} from {side}")
PLACE_FORMS = {
    side: (
        f"{side} {{np}}", f"{{np}} on the {side}", f"{side}most {{np}}", f"{{np}} on {side}",
        f"{{np}} {side}", f"{{np}} far {side}",
    )
    for side in ("left", "right")
} | {
    "top": (
        "top {np}", "upper {np}", "{np} at the top", "topmost {np}", "{np} up high", "{np} on top",
    ),
    "bottom": (
        "bottom {np}", "lower {np}", "{np} at the bottom", "{np} bottom", "lowest {np}",
        "{np} down low",
    ),
}  # fmt: skip
CORNER_FORMS = ("{corner} {np}", "{np} {corner}", "{np} in the {corner} corner", "{np} {other}")
RELATIONS = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "top": ("above",),
    "bottom": ("below", "under"),
    "near": ("next to", "beside", "by"),
    "behind": ("behind",),
    "before": ("in front of",),
}
LONG_RELATIONS = {
    "left": ("to the left of", "that is left of", "standing to the left of"),
    "right": ("to the right of", "that is right of", "standing to the right of"),
    "top": ("above", "that is above", "placed higher up than"),
    "bottom": ("below", "that is below", "underneath"),
    "near": ("that sits next to", "beside", "which is right beside", "close to"),
    "behind": ("that is partly hidden behind", "standing behind", "behind"),
    "before": ("that stands in front of", "in front of", "covering part of"),
}
SIZES = {
    "largest": ("biggest", "largest", "big", "large"),
    "smallest": ("smallest", "small", "tiny", "little"),
}
POSTURES = {"near": "sits next to", "behind": "stands behind", "before": "stands in front of"}


@dataclass(frozen=True)
class Written:
    """An expression: its words (``text``: lower-case, no punctuation; ``raw``: as written).

    kind: plain, color, size, hidden, direction, ordinal, relation: the help that it gives.
    """

    text: str
    raw: str
    query: Query
    kind: str
    targets: frozenset[int]

    @property
    def has_direction(self) -> bool:
        """Whether it holds a direction word."""
        relation = self.query.relation
        sided = relation is not None and relation[0] in SIDES
        return bool(self.query.place or self.query.ordinal or sided)


class Quota:
    """Keeps running shares of the kinds of expressions near their set values."""

    def __init__(self, counts: dict[str, int] | None = None) -> None:
        self.counts = dict(counts or {})

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
            raw = phrase(rng, query, family)
            if (text := normalise(raw)) not in taken:
                written = Written(text, raw, query, plan, found)
                hard = written.has_direction and (query.ordinal or query.relation)
                kinds = {"direction": written.has_direction, "hard": hard}
                kinds["pronoun"] = not query.noun
                quota.add(family, *(f"{family} {kind}" for kind, holds in kinds.items() if holds))
                return written
    return None


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
    first = choose(rng, ("relation", "side relation", "direction", "color"))
    return [first, "relation", "side relation", *plain]


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
                yield from (replace(dressed, size=size) for size in SIZES)
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
    places: list[tuple[str, ...]] = [(side,) for side in SIDES]
    corners = [(v, h) for v in ("top", "bottom") for h in ("left", "right")]
    options = [*corners, *places] if rng.uniform() < 0.2 else places
    yield from (replace(base, place=options[int(i)]) for i in rng.permutation(len(options)))


def _ordinals(rng: np.random.Generator, view: View, base: Query) -> Iterator[Query]:
    count = sum(view.called(i, base.noun, wide=True) for i in range(len(view)))
    for i in rng.permutation(4):
        yield from (replace(base, ordinal=(k, SIDES[int(i)])) for k in range(2, min(count, 4)))


def _relations(
    rng: np.random.Generator, view: View, target: int, base: Query, kinds: tuple[str, ...]
) -> Iterator[Query]:
    for kind in (kinds[int(i)] for i in rng.permutation(len(kinds))):
        for anchor in (int(i) for i in rng.permutation(len(view))):
            if anchor == target:
                continue
            name = by_slug()[view.slugs[anchor]].name
            for query in (Query(name), Query(name, color=view.colors[anchor])):
                found, clear = execute(query, view)
                if clear and found == {anchor}:
                    yield replace(base, relation=(kind, query))
                    break


def write_phrase(
    rng: np.random.Generator, view: View, target: int, taken: set[str]
) -> Written | None:
    """A PhraseCut phrase for *every* thing it fits, the target among them; None if unsure."""
    kinds, color = ("near", "behind", "before", "left", "right"), view.colors[target]
    for related in rng.permutation(2) if rng.uniform() < 0.6 else (0, 1):
        for noun in _nouns(rng, view.slugs[target]):
            colored = [Query(noun, color=color)] if color else []
            bases = [Query(noun), *colored] if rng.uniform() < 0.5 else [*colored, Query(noun)]
            for base in bases:
                for query in _relations(rng, view, target, base, kinds) if related else [base]:
                    found, clear = execute(query, view)
                    if not clear or target not in found:
                        continue
                    text = short_phrase(query, plural=len(found) > 1)
                    if text not in taken:
                        kind = "color" if query.color else "plain"
                        kind = "relation" if query.relation else kind
                        return Written(text, text, query, kind, found)
    return None


def normalise(raw: str) -> str:
    """Lower case, no punctuation, single spaces: the data set's ``sent`` field.

    >>> normalise("The red car, on the left.")
    'the red car on the left'
    """
    return re.sub(r"\s+", " ", re.sub(r"[^a-z0-9' -]", "", raw.lower())).strip()


def noun_phrase(query: Query, size_word: str | None = None) -> str:
    """Adjectives and noun, without article: "small red car", "one"."""
    words = [size_word, "partly hidden" if query.hidden else None, query.color, query.noun or "one"]
    return " ".join(word for word in words if word)


def phrase(rng: np.random.Generator, query: Query, family: str) -> str:
    """Write a query in the manner of a family, capitals and full stop included now and then."""
    size_word = choose(rng, SIZES[query.size]) if query.size else None
    write = _sentence if family == "refscenesg" else _short
    text = write(rng, query, noun_phrase(query, size_word))
    if rng.uniform() < 0.3:
        text = text[0].upper() + text[1:]
    return f"{text}." if rng.uniform() < (0.6 if family == "refscenesg" else 0.1) else text


def _placed(rng: np.random.Generator, query: Query, np_text: str) -> str:
    if len(query.place) == 1:
        return choose(rng, PLACE_FORMS[query.place[0]]).format(np=np_text)
    vertical, side = query.place
    other = f"{'upper' if vertical == 'top' else 'lower'} {side}"
    corner = f"{vertical} {side}"
    return choose(rng, CORNER_FORMS).format(np=np_text, corner=corner, other=other)


def _short(rng: np.random.Generator, query: Query, np_text: str) -> str:
    if query.ordinal:
        rank, side = query.ordinal
        return choose(rng, ORDINAL_FORMS).format(k=ORDINALS[rank], np=np_text, side=side)
    if query.place:
        return _placed(rng, query, np_text)
    if query.relation:
        kind, anchor = query.relation
        return f"{np_text} {choose(rng, RELATIONS[kind])} the {noun_phrase(anchor)}"
    return f"the {np_text}" if rng.uniform() < 0.3 else np_text


def _sentence(rng: np.random.Generator, query: Query, np_text: str) -> str:
    if query.relation:
        kind, anchor = query.relation
        anchor_text = f"the {noun_phrase(anchor)}"
        if not query.noun and kind in POSTURES and rng.uniform() < 0.4:
            return f"it {POSTURES[kind]} {anchor_text}"
        start = "the one" if not query.noun else f"{choose(rng, ('the', 'the', 'a'))} {np_text}"
        text = f"{start} {choose(rng, LONG_RELATIONS[kind])} {anchor_text}"
        return re.sub(r"\ba (?=[aeio])", "an ", text)
    if query.place:
        side = query.place[-1]
        where = {"top": "at the top", "bottom": "at the bottom"}.get(side, f"on the {side} side")
        corner = f"in the {' '.join(query.place)} corner" if len(query.place) == 2 else where
        return f"the {np_text} {choose(rng, ('that is ', '', 'seen '))}{corner} of the picture"
    ending = choose(rng, ("in the picture", "that can be seen here", "among the things"))
    return f"the {np_text} {ending}"


def plural_of(noun: str) -> str:
    """The plural of a word of the category table; regular where the table does not say.

    >>> plural_of("bus"), plural_of("puppy"), plural_of("article of clothing")
    ('buses', 'puppies', 'articles of clothing')
    """
    known = {"person": "people"}
    known |= {category.name: category.plural for category in reversed(by_slug().values())}
    if noun in known:
        return known[noun]
    if noun in ("people", "clothing", "furniture", "food", "fruit", "garlic", "ginger"):
        return noun
    first, of, rest = noun.partition(" of ")
    if of:
        return f"{plural_of(first)} of {rest}"
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("man"):
        return f"{noun[:-3]}men"
    return f"{noun[:-1]}ies" if re.search(r"[^aeiou]y$", noun) else f"{noun}s"


def short_phrase(query: Query, *, plural: bool) -> str:
    """PhraseCut's form: attribute, category, relation, no article."""
    noun = plural_of(query.noun) if plural else query.noun
    text = f"{query.color} {noun}" if query.color else noun
    if query.relation:
        kind, anchor = query.relation
        text += f" {RELATIONS[kind][0]} {noun_phrase(anchor)}"
    return text
