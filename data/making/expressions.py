"""Write referring expressions over a scene: four families, always unambiguous for a reader."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from making.categories import by_slug
from making.queries import Query, View, execute
from making.words import choose, shuffled

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
#: kinds: short links, the first one PhraseCut's; links of whole sentences
RELATIONS = {
    "left": (
        ("left of", "to the left of"),
        ("to the left of", "that is left of", "standing to the left of"),
    ),
    "right": (
        ("right of", "to the right of"),
        ("to the right of", "that is right of", "standing to the right of"),
    ),
    "top": (("above",), ("above", "that is above", "placed higher up than")),
    "bottom": (("below", "under"), ("below", "that is below", "underneath")),
    "near": (
        ("next to", "beside", "by"),
        ("that sits next to", "beside", "which is right beside", "close to"),
    ),
    "behind": (("behind",), ("that is partly hidden behind", "standing behind", "behind")),
    "before": (
        ("in front of",), ("that stands in front of", "in front of", "covering part of"),
    ),
}  # fmt: skip
POSTURES = {"near": "sits next to", "behind": "stands behind", "before": "stands in front of"}
SIZES = {
    "largest": ("biggest", "largest", "big", "large"),
    "smallest": ("smallest", "small", "tiny", "little"),
}


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


class Quota(Counter[str]):
    """Counts of the kinds of expressions, to keep their running shares near set values."""

    def below(self, name: str, total: str, share: float) -> bool:
        """Whether ``name`` makes up less than ``share`` of ``total`` so far."""
        return self[name] <= share * self[total]


def write_expression(
    rng: np.random.Generator, view: View, target: int, family: str, quota: Quota, taken: set[str]
) -> Written | None:
    """One new expression for a target, of the kind its family lacks most; None when none fits.

    Args:
        taken: texts already used for this target.
    """
    for plan in _plans(rng, family, quota):
        for query in candidates(rng, view, target, plan):
            if execute(query, view) != {target}:
                continue
            raw = phrase(rng, query, family)
            if (text := normalise(raw)) not in taken:
                written = Written(text, raw, query, plan, frozenset({target}))
                hard = written.has_direction and (query.ordinal or query.relation)
                kinds = {
                    "direction": written.has_direction,
                    "hard": hard,
                    "pronoun": not query.noun,
                }
                quota.update([family, *(f"{family} {kind}" for kind in kinds if kinds[kind])])
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
    """All words for a category in random order, its name first or last."""
    category = by_slug()[slug]
    others = shuffled(rng, (*category.synonyms, *category.hypernyms))
    return [category.name, *others] if rng.uniform() < 0.55 else [*others, category.name]


def candidates(rng: np.random.Generator, view: View, target: int, plan: str) -> Iterator[Query]:
    """Queries of one kind that may mean the target, in random order."""
    color = view.colors[target]
    for noun in _nouns(rng, view.slugs[target]):
        base = Query(noun)
        colored = replace(base, color=color)
        dressed = colored if rng.uniform() < 0.4 else base
        match plan:
            case "plain":
                yield base
            case "color" if color:
                yield colored
            case "size":
                yield from (replace(dressed, size=size) for size in SIZES)
            case "hidden":
                yield replace(dressed, hidden=True)
            case "direction":
                corners = [*product(("top", "bottom"), ("left", "right"))]
                places = [*(corners if rng.uniform() < 0.2 else ()), *((side,) for side in SIDES)]
                yield from (replace(dressed, place=place) for place in shuffled(rng, places))
            case "ordinal":
                count = sum(view.called(i, noun, wide=True) for i in range(len(view)))
                for side in shuffled(rng, SIDES):
                    for rank in range(2, min(count, 4)):
                        yield replace(dressed, ordinal=(rank, side))
            case "side relation":
                yield from _relations(rng, view, target, dressed, SIDES)
            case "relation":
                yield from _relations(rng, view, target, dressed, ("near", "behind", "before"))
    if plan == "pronoun":
        yield from _relations(rng, view, target, Query(""), ("near", "behind", "before", *SIDES))


def _relations(
    rng: np.random.Generator, view: View, target: int, base: Query, kinds: Sequence[str]
) -> Iterator[Query]:
    """The query with each relation to each other thing that a reader is sure of."""
    for kind in shuffled(rng, kinds):
        for anchor in shuffled(rng, range(len(view))):
            name = by_slug()[view.slugs[anchor]].name
            for query in (Query(name), Query(name, color=view.colors[anchor])):
                if anchor != target and execute(query, view) == {anchor}:
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
                    found = execute(query, view) or frozenset()
                    text = short_phrase(query, plural=len(found) > 1)
                    if target in found and text not in taken:
                        kind = "relation" if related else "color" if query.color else "plain"
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
    whole = family == "refscenesg"
    size_word = choose(rng, SIZES[query.size]) if query.size else None
    text = (_sentence if whole else _short)(rng, query, noun_phrase(query, size_word))
    if rng.uniform() < 0.3:
        text = text[0].upper() + text[1:]
    return f"{text}." if rng.uniform() < (0.6 if whole else 0.1) else text


def _short(rng: np.random.Generator, query: Query, np_text: str) -> str:
    match query:
        case Query(ordinal=(rank, side)):
            return choose(rng, ORDINAL_FORMS).format(k=ORDINALS[rank], np=np_text, side=side)
        case Query(place=(side,)):
            return choose(rng, PLACE_FORMS[side]).format(np=np_text)
        case Query(place=(vertical, side)):
            corner, level = f"{vertical} {side}", {"top": "upper", "bottom": "lower"}[vertical]
            form = choose(rng, CORNER_FORMS)
            return form.format(np=np_text, corner=corner, other=f"{level} {side}")
        case Query(relation=(kind, anchor)):
            return f"{np_text} {choose(rng, RELATIONS[kind][0])} the {noun_phrase(anchor)}"
    return f"the {np_text}" if rng.uniform() < 0.3 else np_text


def _sentence(rng: np.random.Generator, query: Query, np_text: str) -> str:
    match query:
        case Query(relation=(kind, anchor)):
            anchor_text = f"the {noun_phrase(anchor)}"
            if not query.noun and kind in POSTURES and rng.uniform() < 0.4:
                return f"it {POSTURES[kind]} {anchor_text}"
            start = f"{choose(rng, ('the', 'the', 'a'))} {np_text}" if query.noun else "the one"
            text = f"{start} {choose(rng, RELATIONS[kind][1])} {anchor_text}"
            return re.sub(r"\ba (?=[aeio])", "an ", text)
        case Query(place=(_, _)):
            where = f"in the {' '.join(query.place)} corner"
        case Query(place=(side,)):
            where = f"at the {side}" if side in ("top", "bottom") else f"on the {side} side"
        case _:
            ending = choose(rng, ("in the picture", "that can be seen here", "among the things"))
            return f"the {np_text} {ending}"
    return f"the {np_text} {choose(rng, ('that is ', '', 'seen '))}{where} of the picture"


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
    text = noun_phrase(replace(query, noun=plural_of(query.noun) if plural else query.noun))
    if query.relation:
        kind, anchor = query.relation
        text += f" {RELATIONS[kind][0][0]} {noun_phrase(anchor)}"
    return text
