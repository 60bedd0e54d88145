"""From what an expression means to the words of each family."""

from __future__ import annotations

import re

import numpy as np

from tasutils.world.captions import choose
from tasutils.world.categories import load_categories, photographed_categories
from tasutils.world.queries import Query

ORDINALS = {2: "second", 3: "third", 4: "fourth"}
PLACE_FORMS = {
    "left": (
        "left {np}",
        "{np} on the left",
        "leftmost {np}",
        "{np} on left",
        "{np} left",
        "{np} far left",
    ),
    "right": (
        "right {np}",
        "{np} on the right",
        "rightmost {np}",
        "{np} on right",
        "{np} right",
        "{np} far right",
    ),
    "top": (
        "top {np}",
        "upper {np}",
        "{np} at the top",
        "topmost {np}",
        "{np} up high",
        "{np} on top",
    ),
    "bottom": (
        "bottom {np}",
        "lower {np}",
        "{np} at the bottom",
        "{np} bottom",
        "lowest {np}",
        "{np} down low",
    ),
}
CORNER_FORMS = ("{corner} {np}", "{np} {corner}", "{np} in the {corner} corner", "{np} {other}")
SIDE_RELATIONS = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "top": ("above",),
    "bottom": ("below", "under"),
}
RELATIONS = {
    **SIDE_RELATIONS,
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
    text = _sentence(rng, query) if family == "refscenesg" else _short(rng, query)
    if rng.uniform() < 0.3:
        text = text[0].upper() + text[1:]
    return f"{text}." if rng.uniform() < (0.6 if family == "refscenesg" else 0.1) else text


def _size_word(rng: np.random.Generator, query: Query) -> str | None:
    return choose(rng, SIZES[query.size]) if query.size else None


def _placed(rng: np.random.Generator, query: Query, np_text: str) -> str:
    if len(query.place) == 2:
        vertical, side = query.place
        corner = f"{vertical} {side}"
        other = f"{'upper' if vertical == 'top' else 'lower'} {side}"
        return choose(rng, CORNER_FORMS).format(np=np_text, corner=corner, other=other)
    return choose(rng, PLACE_FORMS[query.place[0]]).format(np=np_text)


def _short(rng: np.random.Generator, query: Query) -> str:
    np_text = noun_phrase(query, _size_word(rng, query))
    if query.ordinal:
        rank, side = query.ordinal
        form = choose(
            rng, ("{k} {np} from the {side}", "{np} {k} from {side}", "the {k} {np} from {side}")
        )
        return form.format(k=ORDINALS[rank], np=np_text, side=side)
    if query.place:
        return _placed(rng, query, np_text)
    if query.relation:
        kind, anchor = query.relation
        return f"{np_text} {choose(rng, RELATIONS[kind])} the {noun_phrase(anchor)}"
    return f"the {np_text}" if rng.uniform() < 0.3 else np_text


def _sentence(rng: np.random.Generator, query: Query) -> str:
    size_word = _size_word(rng, query)
    np_text = noun_phrase(query, size_word)
    if query.relation:
        kind, anchor = query.relation
        anchor_text = f"the {noun_phrase(anchor)}"
        if not query.noun and kind in ("near", "behind", "before") and rng.uniform() < 0.4:
            verb = {
                "near": "sits next to",
                "behind": "stands behind",
                "before": "stands in front of",
            }[kind]
            return f"it {verb} {anchor_text}"
        start = "the one" if not query.noun else f"{choose(rng, ('the', 'the', 'a'))} {np_text}"
        return _article(f"{start} {choose(rng, LONG_RELATIONS[kind])} {anchor_text}")
    if query.place:
        side = query.place[-1]
        where = {"top": "at the top", "bottom": "at the bottom"}.get(side, f"on the {side} side")
        corner = f"in the {' '.join(query.place)} corner" if len(query.place) == 2 else where
        return f"the {np_text} {choose(rng, ('that is ', '', 'seen '))}{corner} of the picture"
    ending = choose(rng, ("in the picture", "that can be seen here", "among the things"))
    return f"the {np_text} {ending}"


def _article(text: str) -> str:
    return re.sub(r"\ba (?=[aeio])", "an ", text)


def plural_of(noun: str) -> str:
    """The plural of a word of the category table; regular where the table does not say.

    >>> plural_of("bus"), plural_of("puppy"), plural_of("article of clothing")
    ('buses', 'puppies', 'articles of clothing')
    """
    listed = (*photographed_categories(), *load_categories())
    known = {category.name: category.plural for category in listed}
    if noun in known:
        return known[noun]
    if noun in ("people", "clothing", "furniture", "food", "fruit", "garlic", "ginger"):
        return noun
    if noun == "person":
        return "people"
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
