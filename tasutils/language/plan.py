"""What the released rectifier does with a sentence: which parts of the picture its words name.

The plane is cut into four parts (`rectifier_released`). A plan names one, whose best mask wins, or
two, of which the second has the say unless the first's best mask scores strictly higher.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from tasutils.language.directions import Direction, DirectionName, Matching, read_directions
from tasutils.language.released import Reading

Words = tuple[str, ...]
First = Callable[[DirectionName, Words], Direction | None]
Step = tuple[tuple[str, ...], tuple[Direction | None, ...]]

_UP, _LEFT_WEST, _RIGHT_EAST = ("above", "top", "north"), ("left", "west"), ("right", "east")
_DOWN_SUPERLATIVE, _DOWN_RELATION = ("below", "south", "underneath"), ("below", "south", "under")
_LEFT, _RIGHT = (*_LEFT_WEST, "leftmost", "western"), (*_RIGHT_EAST, "eastern", "rightmost")


@dataclass(frozen=True)
class Plan:
    """What the words of a sentence ask for.

    parts: of "top left", "bottom left", "top right" and "bottom right": none, one, or two in the
    order "first over second"; directions: the words that decided; skipped: all other direction
    words, each with its reason.
    """

    parts: tuple[str, ...]
    directions: tuple[Direction, ...]
    skipped: tuple[Direction, ...]


def make_plan(text: str, reading: Reading | None, matching: Matching, shut: str = "") -> Plan:
    """The plan of a sentence.

    reading: of the sentence; None lets its words alone decide, as those of superlatives do.
    matching: how words are looked for in the sentence. shut: why nothing may act, "" if it may.

    >>> make_plan("top left zebra", None, "token").parts
    ('top left',)
    >>> make_plan("dog by the laptop", None, "substring").parts
    ('top left', 'top right')
    """
    found = read_directions(text, "official", matching)

    def first(name: DirectionName, words: Words) -> Direction | None:
        named = (d for d in found if d.name == name)
        return next((d for d in named if _holds(d.token.lower(), words, matching)), None)

    parts: tuple[str, ...] = ()
    used: tuple[Direction | None, ...] = ()
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
        return _row("top", up, first("left", _LEFT), first("right", _RIGHT))
    if down := first("bottom", _DOWN_SUPERLATIVE):
        return _row("bottom", down, first("left", _LEFT_WEST), first("right", _RIGHT_EAST))
    if left := first("left", _LEFT):
        return ("top left", "bottom left"), (left,)
    if right := first("right", _RIGHT):
        return ("top right", "bottom right"), (right,)
    return (), ()


def _by_relations(reading: Reading, first: First, matching: Matching) -> Step:
    """The last relation that may act does: one with the target itself or with a place so named."""
    step: Step = (), ()
    for relation in reading.relations:
        for word in relation.words:
            name = _RELATION_NAMES.get(word)
            if name is None:
                continue
            if relation.object == reading.entity or _holds(relation.object, (word,), matching):
                step = _by_relation(name, first(name, (word,)), first)
            break
    return step


def _why_idle(reading: Reading) -> str:
    led = any(word in _RELATION_NAMES for relation in reading.relations for word in relation.words)
    return "it relates the target to another thing" if led else "no relation was parsed through it"


_RELATION_NAMES: dict[str, DirectionName] = {
    **dict.fromkeys(_LEFT_WEST, "left"),
    **dict.fromkeys(_RIGHT_EAST, "right"),
    **dict.fromkeys(_UP, "up"),
    **dict.fromkeys(_DOWN_RELATION, "bottom"),
}


def _by_relation(name: DirectionName, word: Direction | None, first: First) -> Step:
    if name == "up":
        return _row("top", word, first("left", _LEFT_WEST), first("right", _RIGHT_EAST))
    if name == "bottom":
        return _row("bottom", word, first("left", _LEFT_WEST), first("right", _RIGHT_EAST))
    return _column(name, word, first("up", _UP), first("bottom", _DOWN_RELATION))


def _row(row: str, word: Direction | None, left: Direction | None, right: Direction | None) -> Step:
    if left:
        return (f"{row} left",), (word, left)
    if right:
        return (f"{row} right",), (word, right)
    return (f"{row} left", f"{row} right"), (word,)


def _column(
    column: str, word: Direction | None, up: Direction | None, down: Direction | None
) -> Step:
    if up:
        return (f"top {column}",), (word, up)
    if down:
        return (f"bottom {column}",), (word, down)
    return (f"top {column}", f"bottom {column}"), (word,)


def _holds(text: str, words: Words, matching: Matching) -> bool:
    """Does the text hold one of the words, inside another word if substrings count?"""
    if matching == "substring":
        return any(word in text for word in words)
    return not set(words).isdisjoint(re.findall(r"[^\W_]+", text))
