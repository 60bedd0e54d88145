"""Words for training: phrases, captions, and what a phrase admits: which categories and colour.

Phrases of different crops in a batch are often true of each other ("a dog", "the brown dog",
"an animal"). Contrastive training must not push those apart; the table says which pairs agree.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from making.categories import load_categories
from making.render import Rendered, Thing
from making.sprites import COLORS

NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
PLACES = (
    "on the left", "on the right", "at the top", "at the bottom", "in the middle",
    "on the far left",
)  # fmt: skip
FLOORS = {"wood": " on a wooden floor", "tiles": " on a tiled floor", "horizon": " outside"}
RELATIONS = (
    "next to", "beside", "near", "behind", "in front of", "left of", "right of",
    "to the left of", "to the right of", "above", "below", "under", "on top of",
)  # fmt: skip
FILLERS = (
    "the one that is", "that sits", "that stands", "standing", "lying", "which is", "closest to",
    "second from the left", "third from the right", "first", "leftmost", "rightmost", "upper",
    "lower", "top left", "bottom right", "biggest", "smallest", "large", "small", "middle",
    "center", "corner", "side", "picture", "photo", "image", "it", "between",
)  # fmt: skip


def article(phrase: str) -> str:
    """The phrase with its indefinite article.

    >>> article("apple"), article("red apple"), article("unicorn")
    ('an apple', 'a red apple', 'a unicorn')
    """
    vowel = phrase[0] in "aeiou" and not phrase.startswith(("uni", "uku", "eu", "one"))
    return f"{'an' if vowel else 'a'} {phrase}"


def choose(rng: np.random.Generator, options: Sequence[Any]) -> Any:
    """One of the options, each as likely."""
    return options[int(rng.integers(len(options)))]


def shuffled(rng: np.random.Generator, options: Sequence[Any]) -> list[Any]:
    """All of the options in random order."""
    return [options[i] for i in rng.permutation(len(options))]


def _noun_for(rng: np.random.Generator, thing: Thing) -> str:
    """Mostly the thing's name, sometimes a synonym or a wider word."""
    category = thing.category
    draw = rng.uniform()
    if draw < 0.22 and category.synonyms:
        return choose(rng, category.synonyms)
    if draw > 0.93 and category.hypernyms:
        return choose(rng, category.hypernyms)
    return category.name


def thing_phrase(rng: np.random.Generator, thing: Thing) -> str:
    """A phrase as people refer to a thing: colour, noun, sometimes a place no crop shows."""
    noun = _noun_for(rng, thing)
    if thing.color and rng.uniform() < 0.6:
        noun = f"{thing.color} {noun}"
    draw = rng.uniform()
    if draw < 0.35:
        return article(noun)
    if draw < 0.55:
        return noun
    if draw < 0.65:
        return f"a photo of {article(noun)}"
    if draw < 0.8:
        return f"the {noun}"
    if draw < 0.9:
        return f"{'the ' if rng.uniform() < 0.5 else ''}{noun} {choose(rng, PLACES)}"
    return f"{choose(rng, ('left', 'right', 'top', 'bottom', 'big', 'small'))} {noun}"


def crop_caption(thing: Thing) -> str:
    """What a captioner should say of the crop of one thing: "a red car", "a dog"."""
    return article(f"{thing.color or ''} {thing.category.name}".strip())


def scene_caption(rendered: Rendered, most: int = 4) -> str:
    """What a captioner should say of a whole picture: its largest kinds of things, the floor.

    Things of one category and colour are counted together.
    """
    groups: dict[tuple[str, str | None], list[int]] = {}
    areas, things = rendered.visible.sum((1, 2)), rendered.graph.things
    for index, thing in enumerate(things):
        groups.setdefault((thing.slug, thing.color), []).append(index)
    parts = []
    for members in sorted(groups.values(), key=lambda found: -int(areas[found].sum()))[:most]:
        thing, count = things[members[0]], NUMBERS.get(len(members), "many")
        kinds = f"{count} {thing.color or ''} {thing.category.plural}".replace("  ", " ")
        parts.append(crop_caption(thing) if len(members) == 1 else kinds)
    listed = " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
    return listed + FLOORS.get(rendered.graph.background.kind, "")


@dataclass(frozen=True)
class WordTable:
    """Words of the seen categories.

    Attributes:
        slugs: seen categories, the columns of ``admits``, bool (n_nouns, n_categories).
        forbidden: words of unseen categories; a phrase that holds one is never trained on.
    """

    slugs: tuple[str, ...]
    names: tuple[str, ...]
    nouns: tuple[str, ...]
    admits: NDArray[np.bool_]
    forbidden: tuple[str, ...]

    @cached_property
    def index(self) -> dict[str, int]:
        """Column of each seen category."""
        return {slug: column for column, slug in enumerate(self.slugs)}

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each noun."""
        return {noun: row for row, noun in enumerate(self.nouns)}

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        longest_first = sorted(self.nouns, key=len, reverse=True)
        return _any_of(longest_first), _any_of(self.forbidden)

    def allowed(self, phrase: str) -> bool:
        """False for a phrase with a word of an unseen category."""
        return self._patterns[1].search(phrase) is None

    def read(self, phrase: str) -> tuple[int, int] | None:
        """Row of the phrase's first noun in `admits` and 1 + its colour's index (0: no colour).

        None when it names nothing of the table.
        """
        found = self._patterns[0].search(phrase)
        if found is None:
            return None
        before = phrase[: found.start()].split()
        color = COLORS.index(before[-1]) + 1 if before and before[-1] in COLORS else 0
        return self.rows[found.group(1)], color


def _any_of(words: Sequence[str]) -> re.Pattern[str]:
    return re.compile(rf"\b({'|'.join(map(re.escape, words))})\b")


@cache
def seen_words() -> WordTable:
    """The table of the seen categories of RefScenes."""
    seen = tuple(category for category in load_categories() if category.seen)
    unseen = [category for category in load_categories() if not category.seen]
    forbidden = {word for c in unseen for word in (c.name, c.plural, *c.synonyms)}
    forbidden -= {c.name for c in seen} - {c.name for c in unseen}
    words = {word for c in seen for word in c.words}
    unwanted = _any_of([*forbidden])
    nouns = tuple(sorted(word for word in words if not unwanted.search(word)))
    return WordTable(
        slugs=tuple(c.slug for c in seen),
        names=tuple(c.name for c in seen),
        nouns=nouns,
        admits=np.array([[noun in category.words for category in seen] for noun in nouns]),
        forbidden=tuple(sorted(forbidden)),
    )


def vocabulary_texts() -> list[str]:
    """Texts from which the tokenizer's merges are learned: words of seen categories only."""
    table = seen_words()
    plurals = [c.plural for c in load_categories() if c.seen and table.allowed(c.plural)]
    glue = [*COLORS, *NUMBERS.values(), *PLACES, *FLOORS.values(), *RELATIONS, *FILLERS]
    glue += ["a photo of", "the", "many", "and", "a", "an", "left", "right", "top", "bottom", "big"]
    nouns = [article(noun) for noun in table.nouns for _ in range(4)]
    return nouns + plurals * 2 + glue * 20
