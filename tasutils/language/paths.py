"""The shortest way between two nouns over WordNet's hypernyms: the path of path similarity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tasutils.errors import TasError
from tasutils.language.synonyms import wordnet


@dataclass(frozen=True)
class SensePath:
    """The way between two nouns; senses by their names, such as "dog.n.01".

    up_a, up_b: from a sense of each noun to their nearest common hypernym, both ends included;
    above: from there on to the root.
    """

    noun_a: str
    noun_b: str
    up_a: tuple[str, ...]
    up_b: tuple[str, ...]
    above: tuple[str, ...]

    @property
    def steps(self) -> int:
        """Length of the way."""
        return len(self.up_a) + len(self.up_b) - 2

    @property
    def similarity(self) -> float:
        """Path similarity, 1 / (1 + steps)."""
        return 1 / (1 + self.steps)


def sense_path(noun_a: str, noun_b: str) -> SensePath:
    """The shortest way over all pairs of noun senses, as `synonyms.path_similarity` measures it.

    Raises TasError if WordNet does not know a noun, or knows no way.

    >>> sense_path("puppy", "dog").up_a, sense_path("couch", "sofa").steps
    (('puppy.n.01', 'dog.n.01'), 0)
    """
    first, second = _climb(noun_a), _climb(noun_b)
    common = [name for name in first if name in second]
    if not common:
        raise TasError(f"WordNet knows no way from {noun_a!r} to {noun_b!r}; ask for other nouns")
    top = min(common, key=lambda name: len(first[name]) + len(second[name]))
    above = _to_root(top)
    return SensePath(noun_a, noun_b, first[top], second[top], above)


def _climb(noun: str) -> dict[str, tuple[str, ...]]:
    """The shortest way from any noun sense to each sense above it, the nearest first."""
    senses = wordnet().synsets("_".join(noun.lower().split()), "n")
    ways: dict[str, tuple[str, ...]] = {sense.name(): (sense.name(),) for sense in senses}
    if not ways:
        raise TasError(f"WordNet does not know the noun {noun!r}; ask for another")
    waiting = list(ways)
    for name in waiting:  # grows: nearer senses stand before farther ones
        for parent in _parents(name):
            if parent not in ways:
                ways[parent] = (*ways[name], parent)
                waiting.append(parent)
    return ways


def _to_root(name: str) -> tuple[str, ...]:
    """The way from a sense to the root, by the first hypernym of each."""
    way = [name]
    while parents := _parents(way[-1]):
        way.append(parents[0])
    return tuple(way)


def _parents(name: str) -> list[str]:
    synset: Any = wordnet().synset(name)
    return [parent.name() for parent in (*synset.hypernyms(), *synset.instance_hypernyms())]
