"""How the released code reads a sentence: its head phrase, and the entity whose words may act.

The sentence is lower-cased and parsed. The *head phrase* is the noun chunk of the last token that
is its own head. Beside it an *entity* is built on the first such token: noun chunks are widened
by what hangs on them, and the tree below the head is walked. A chain of words that ends in a leaf
and holds a superlative ("left", "rightmost", "bigger") is a superlative of the entity; a chain
that ends in another noun chunk is a relation to it. The *gate* of the rectifier opens where the
widened chunk is still the head phrase and exactly one of the two kinds was found: the more the
parser hangs on the target ("man on the left"), the less often it does.

Behaviour of the TAS released code, described there as it is, oddities included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from tasutils.language.pipeline import read_doc

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span, Token

_PLACES = frozenset({"left", "west", "right", "east", "above", "north", "top", "below", "south"})
_RELATIONS = _PLACES | frozenset(
    {"under", "bigger", "larger", "closer", "smaller", "tinier", "further"}
    | {"inside", "within", "contained"}
)
_NULLS = frozenset({"part", "image", "side", "picture", "half", "region", "section"})
_SUPERLATIVES = _PLACES | frozenset(
    {"leftmost", "western", "rightmost", "eastern", "underneath"}
    | {"bigger", "biggest", "larger", "largest", "closer", "closest"}
    | {"smaller", "smallest", "tinier", "tiniest", "further", "furthest"}
)


@dataclass(frozen=True)
class Relation:
    """One relation of the entity: the words on the way, in order, and the text of its object."""

    words: tuple[str, ...]
    object: str


@dataclass(frozen=True)
class Reading:
    """A sentence as the released code reads it, lower-cased.

    phrase: the head phrase, or the whole text; entity: text of the entity, "" where there is none;
    relations, superlatives: what was found about it, in the order of the walk.
    """

    phrase: str
    entity: str
    relations: tuple[Relation, ...]
    superlatives: tuple[tuple[str, ...], ...]

    def shut(self, phrase: str) -> str:
        """Why the gate stays shut for a head phrase; "" where it opens."""
        if not self.entity:
            return "no noun chunk at the parse's root"
        if self.entity != phrase:
            return f"the entity {self.entity!r} is not the head phrase {phrase!r}"
        if self.relations and self.superlatives:
            return "both a relation and a superlative were parsed"
        if not self.relations and not self.superlatives:
            return "neither relation nor superlative was parsed"
        return ""


@lru_cache(maxsize=16384)
def read(spacy_model: str, text: str) -> Reading:
    """The released code's reading of a text; raises TasError if the spaCy model is missing."""
    doc = read_doc(spacy_model, text)
    chunks = list(doc.noun_chunks)
    spans = _widened(doc, chunks)
    roots = [token for token in doc if token.head.i == token.i]
    head = _with_chunk(roots[0], spans) if roots else None
    if head is None and chunks:
        head = _with_chunk(chunks[0].root.head, spans)
    found = [] if head is None else list(_walk(head, spans))
    return Reading(
        phrase=_head_phrase(doc, chunks, roots),
        entity=spans[head.i] if head is not None else "",
        relations=tuple(item for item in found if isinstance(item, Relation)),
        superlatives=tuple(item for item in found if not isinstance(item, Relation)),
    )


@lru_cache(maxsize=16384)
def first_noun(spacy_model: str, phrase: str) -> str:
    """The first noun of a phrase as written, no lemma; "" where it has none."""
    doc = read_doc(spacy_model, phrase)
    return next((token.text for token in doc if token.tag_.startswith("NN")), "")


def _head_phrase(doc: Doc, chunks: list[Span], roots: list[Token]) -> str:
    plain = {i: chunk.text for chunk in chunks for i in range(chunk.start, chunk.end)}
    head = _with_chunk(roots[-1], plain) if roots else None
    return plain[head.i] if head is not None else str(doc.text)


def _with_chunk(token: Token, spans: dict[int, str]) -> Token | None:
    """The token if it lies in a noun chunk, else its first child if that does."""
    if token.i in spans:
        return token
    child = next(iter(token.children), None)
    return child if child is not None and child.i in spans else None


def _widened(doc: Doc, chunks: list[Span]) -> dict[int, str]:
    """Text of the widened chunk of each token that lies in a noun chunk."""
    above = [frozenset(ancestor.i for ancestor in token.ancestors) for token in doc]
    # token -> the chunks with a token below it
    covers: list[set[int]] = [set() for _ in doc]
    home: dict[int, int] = {}
    for number, chunk in enumerate(chunks):
        for i in range(chunk.start, chunk.end):
            home[i] = number
            for ancestor in above[i]:
                covers[ancestor].add(number)
    spans: dict[int, str] = {}
    for number, chunk in enumerate(chunks):
        own = range(chunk.start, chunk.end)
        # each token of a chunk registers it once more, so a longer one is also "another" to itself
        self_only = {number} if len(own) == 1 else set()
        start, end = chunk.start, chunk.end
        for i in range(chunk.start - 1, -1, -1):
            if not above[i].isdisjoint(own) and not covers[i] - self_only:
                start = i
        for i in range(chunk.end, len(doc)):
            if not above[i].isdisjoint(own):
                if i in home or covers[i] - self_only:
                    break
                end = i + 1
        spans |= dict.fromkeys(own, str(doc[start:end].text))
    return spans


def _walk(head: Token, spans: dict[int, str]) -> Iterator[Relation | tuple[str, ...]]:
    """Relations and superlatives below the head, in the order in which they are met."""
    waiting: list[tuple[Token, tuple[Token, ...]]] = [(head, ())]
    while waiting:
        token, path = waiting.pop()
        keyword = token.text in _RELATIONS | _NULLS
        # every token has a widened chunk of its own: a neighbour in the head's chunk ends here too
        if token.i in spans and token.i != head.i and not keyword:
            yield Relation(_texts(path), spans[token.i])
            continue
        children = list(token.children)
        if not children:
            words = _texts((*path, token))
            if not _SUPERLATIVES.isdisjoint(words):
                yield words
            continue
        keyword = keyword or token.text in _SUPERLATIVES
        longer = (*path, token) if token.i not in spans or keyword else path
        waiting.extend((child, longer) for child in reversed(children))


def _texts(tokens: tuple[Token, ...]) -> tuple[str, ...]:
    return tuple(token.text for token in sorted(tokens, key=lambda token: token.i))
