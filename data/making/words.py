"""What the words of a training phrase admit: which categories, which colour.

Phrases of different crops in a batch are often true of each other ("a dog", "the brown dog",
"an animal"). Contrastive training must not push those apart; this table says which pairs agree.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from making.captions import FLOORS, NUMBERS, PLACES, article
from making.categories import load_categories
from making.sprites import COLORS

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


@dataclass(frozen=True)
class WordTable:
    """Words of the seen categories.

    Attributes:
        slugs: seen categories, the columns of `admits`.
        forbidden: words of unseen categories; a phrase that holds one is never trained on.
    """

    slugs: tuple[str, ...]
    names: tuple[str, ...]
    nouns: tuple[str, ...]
    admits: NDArray[np.bool_]  # (n_nouns, n_categories)
    forbidden: tuple[str, ...]

    @cached_property
    def index(self) -> dict[str, int]:
        """Column of each seen category."""
        return {slug: column for column, slug in enumerate(self.slugs)}

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {noun: row for row, noun in enumerate(self.nouns)}

    @cached_property
    def _noun_pattern(self) -> re.Pattern[str]:
        longest_first = sorted(self.nouns, key=len, reverse=True)
        return re.compile(rf"\b({'|'.join(map(re.escape, longest_first))})\b")

    @cached_property
    def _forbidden_pattern(self) -> re.Pattern[str]:
        return re.compile(rf"\b({'|'.join(map(re.escape, self.forbidden))})\b")

    def allowed(self, phrase: str) -> bool:
        """False for a phrase with a word of an unseen category."""
        return self._forbidden_pattern.search(phrase) is None

    def read(self, phrase: str) -> tuple[int, int] | None:
        """Row of the phrase's first noun in `admits` and 1 + its colour's index (0: no colour).

        None when it names nothing of the table.
        """
        found = self._noun_pattern.search(phrase)
        if found is None:
            return None
        before = phrase[: found.start()].split()
        color = COLORS.index(before[-1]) + 1 if before and before[-1] in COLORS else 0
        return self._rows[found.group(1)], color


@cache
def seen_words() -> WordTable:
    """The table of the seen categories of RefScenes."""
    categories = load_categories()
    seen = tuple(category for category in categories if category.seen)
    unseen = [category for category in categories if not category.seen]
    forbidden = {word for c in unseen for word in (c.name, c.plural, *c.synonyms)}
    forbidden -= {c.name for c in seen} - {c.name for c in unseen}
    words = {word for c in seen for word in c.words}
    nouns = tuple(sorted(word for word in words if not _holds(word, forbidden)))
    admits = np.array([[noun in category.words for category in seen] for noun in nouns])
    return WordTable(
        slugs=tuple(c.slug for c in seen),
        names=tuple(c.name for c in seen),
        nouns=nouns,
        admits=admits,
        forbidden=tuple(sorted(forbidden)),
    )


def _holds(phrase: str, words: set[str]) -> bool:
    return any(re.search(rf"\b{re.escape(word)}\b", phrase) for word in words)


def vocabulary_texts() -> list[str]:
    """Texts from which the tokenizer's merges are learned: words of seen categories only."""
    table = seen_words()
    seen = [category for category in load_categories() if category.seen]
    nouns = [noun for noun in table.nouns for _ in range(4)]
    plurals = [category.plural for category in seen if table.allowed(category.plural)]
    glue = [*COLORS, *NUMBERS.values(), *PLACES, *FLOORS.values(), *RELATIONS, *FILLERS]
    glue += ["a photo of", "the", "many", "and", "a", "an", "left", "right", "top", "bottom", "big"]
    return [article(noun) for noun in nouns] + plurals * 2 + glue * 20
