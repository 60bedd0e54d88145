"""How the released code reads a sentence: its head phrase, and the entity whose words may act.

The sentence is lower-cased and parsed. The *head phrase* is the noun chunk of the last token that
is its own head. Beside it an *entity* is built on the first such token: noun chunks are widened
by what hangs on them, and the tree below the head is walked. A chain of words that ends in a leaf
and holds a superlative ("left", "rightmost", "bigger") is a superlative of the entity; a chain
that ends in another noun chunk is a relation to it. The *gate* of the rectifier opens where the
widened chunk is still the head phrase and exactly one of the two kinds was found: the more the
parser hangs on the target ("man on the left"), the less often it does.

The plane is cut into four parts (`rectifier.in_parts`). A sentence's plan names one, whose best
mask wins, or two, of which the second has the say unless the first's best scores strictly higher.

Behaviour of the TAS released code, described there as it is, oddities included.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import starmap
from typing import TYPE_CHECKING

from tasutils.language.parse import read_doc
from tasutils.language.reading import (
    Direction,
    DirectionName,
    Matching,
    Plan,
    read_directions,
    words,
)

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span, Token

_PLACES = words("left west right east above north top below south")
_RELATIONS = _PLACES | words(
    "under bigger larger closer smaller tinier further inside within contained"
)
_NULLS = words("part image side picture half region section")
_SUPERLATIVES = _PLACES | words(
    "leftmost western rightmost eastern underneath bigger biggest larger largest closer closest"
    " smaller smallest tinier tiniest further furthest"
)

Words = tuple[str, ...]
First = Callable[[DirectionName, Words], Direction | None]
Step = tuple[tuple[str, ...], tuple[Direction | None, ...]]

_UP, _LEFT_WEST, _RIGHT_EAST = ("above", "top", "north"), ("left", "west"), ("right", "east")
_DOWN_SUPERLATIVE, _DOWN_RELATION = ("below", "south", "underneath"), ("below", "south", "under")
_NOTHING: Step = (), ()
_ROWS = {"up": "top", "bottom": "bottom"}
_BESIDE: dict[DirectionName, Words] = {"left": _LEFT_WEST, "right": _RIGHT_EAST}
_ABOVE: dict[DirectionName, Words] = {"up": _UP, "bottom": _DOWN_RELATION}
_RELATION_NAMES = {word: name for name, group in (_BESIDE | _ABOVE).items() for word in group}
_LEFT, _RIGHT = (*_LEFT_WEST, "leftmost", "western"), (*_RIGHT_EAST, "eastern", "rightmost")


@dataclass(frozen=True)
class Relation:
    """One relation of the entity: the words on the way, in order, and the text of its object."""

    words: tuple[str, ...]
    object: str


@dataclass(frozen=True)
class Reading:
    """A sentence as the released code reads it, lower-cased.

    phrase: the head phrase, or the whole text; entity: "" where there is none.
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
    return read_tree(doc, list(doc.noun_chunks))


def read_tree(doc: Doc, chunks: list[Span]) -> Reading:
    """The reading of a parsed sentence with these noun chunks, none overlapping another."""
    spans = _widened(doc, chunks)
    roots = [token for token in doc if token.head.i == token.i]
    head = _with_chunk(roots[0], spans) if roots else None
    if head is None and chunks:
        head = _with_chunk(chunks[0].root.head, spans)
    found = [] if head is None else list(_walk(head, spans))
    plain = {i: chunk.text for chunk in chunks for i in range(chunk.start, chunk.end)}
    last = _with_chunk(roots[-1], plain) if roots else None
    return Reading(
        phrase=plain[last.i] if last is not None else str(doc.text),
        entity=spans[head.i] if head is not None else "",
        relations=tuple(item for item in found if isinstance(item, Relation)),
        superlatives=tuple(item for item in found if not isinstance(item, Relation)),
    )


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


def make_plan(text: str, reading: Reading | None, matching: Matching, shut: str = "") -> Plan:
    """The plan of a sentence; without a `reading` its words decide, as those of superlatives do.

    shut: why nothing may act, "" if it may.

    >>> make_plan("top left zebra", None, "token").parts
    ('top left',)
    >>> make_plan("dog by the laptop", None, "substring").parts
    ('top left', 'top right')
    """
    found = read_directions(text, "official", matching)

    def first(name: DirectionName, words: Words) -> Direction | None:
        named = (d for d in found if d.name == name)
        return next((d for d in named if _holds(d.token.lower(), words, matching)), None)

    parts, used = _NOTHING
    idle = shut or "another word decides"
    if not shut and (reading is None or reading.superlatives):
        parts, used = _by_superlatives(first)
    elif not shut and reading is not None:
        parts, used = _by_relations(reading, first, matching)
        idle = idle if parts else _why_idle(reading)
    decided = [direction for direction in used if direction is not None]
    return Plan(
        parts=parts,
        directions=tuple(sorted(decided, key=lambda d: d.span)),
        skipped=tuple(Direction(d.name, d.token, d.span, idle) for d in found if d not in decided),
    )


def _by_superlatives(first: First) -> Step:
    if up := first("up", _UP):
        return _half("up", up, first("left", _LEFT), first("right", _RIGHT))
    if down := first("bottom", _DOWN_SUPERLATIVE):
        return _half("bottom", down, first("left", _LEFT_WEST), first("right", _RIGHT_EAST))
    if left := first("left", _LEFT):
        return _half("left", left)
    if right := first("right", _RIGHT):
        return _half("right", right)
    return _NOTHING


def _by_relations(reading: Reading, first: First, matching: Matching) -> Step:
    """The last relation that may act does: one with the target itself or with a place so named."""
    step = _NOTHING
    for relation in reading.relations:
        for word in relation.words:
            name = _RELATION_NAMES.get(word)
            if name is None:
                continue
            if relation.object == reading.entity or _holds(relation.object, (word,), matching):
                others = _BESIDE if name in _ROWS else _ABOVE
                step = _half(name, first(name, (word,)), *starmap(first, others.items()))
            break
    return step


def _why_idle(reading: Reading) -> str:
    led = any(word in _RELATION_NAMES for relation in reading.relations for word in relation.words)
    return "it relates the target to another thing" if led else "no relation was parsed through it"


def _half(name: DirectionName, word: Direction | None, *others: Direction | None) -> Step:
    """Both parts of a half of the picture, or the one that the first other word picks."""
    other = next(filter(None, others), None)
    chosen = (name, other.name) if other else (name,)
    rows: list[str] = [row for row in chosen if row in _ROWS] or list(_ROWS)
    columns: list[str] = [column for column in chosen if column not in _ROWS] or ["left", "right"]
    return tuple(f"{_ROWS[row]} {column}" for row in rows for column in columns), (word, other)


def _holds(text: str, words: Words, matching: Matching) -> bool:
    """Does the text hold one of the words, inside another word if substrings count?"""
    if matching == "substring":
        return any(word in text for word in words)
    return not set(words).isdisjoint(re.findall(r"[^\W_]+", text))
