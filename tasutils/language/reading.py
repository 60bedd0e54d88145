"""Direction words of an expression, for the spatial rectifier.

`paper` knows the article's four words and asks nothing about their use, nor does `official`, which
has the released code's (what they do there: `language.released`). `extended` knows more words and
leaves out those uses of which the picture's halves say nothing:

| use | example | why it does not count |
|---|---|---|
| relation | "left of the dog", "above the bus", "on top of the table" | holds for another thing |
| ordinal | "second from the left", "third right" | the second may stand in the other half |
| orientation | "zebra facing left", "looking up" | where it looks, not where it is |
| particle | "man standing up", "lying down", "trunk up" | belongs to the verb or a part |
| intensifier | "right behind the bus" | means "directly" |
| verb | "the man who left" | went away |
| garment | "girl in red top", "tank top" | a thing |

Words match as tokens ("laptop" and "bright" hold no direction), unless substrings are asked for,
as in the released code. No parser is asked: on phrases this short it takes "left" for a verb in
"left man" and in "guy left". Known limit: a direction that belongs to another thing ("dog next to
the left car") still counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from tasutils.errors import TasError

DirectionName = Literal["left", "right", "up", "bottom"]
Matching = Literal["token", "substring"]
Names = tuple[DirectionName, ...]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _table(*rows: tuple[str, Names]) -> dict[str, Names]:
    return {word: names for text, names in rows for word in text.split()}


EXTENDED_WORDS = _table(
    ("up top upper above highest uppermost topmost upmost", ("up",)),
    ("bottom lower below down lowest lowermost bottommost downmost", ("bottom",)),
    ("left leftmost lefthand leftside lefthandside", ("left",)),
    ("right rightmost righthand rightside righthandside", ("right",)),
    ("topleft upperleft", ("up", "left")),
    ("topright upperright", ("up", "right")),
    ("bottomleft lowerleft", ("bottom", "left")),
    ("bottomright lowerright", ("bottom", "right")),
)
#: The words that each form of the rectifier knows, and the directions that each stands for.
WORDS: dict[str, dict[str, Names]] = {
    "paper": _table(
        ("up", ("up",)), ("bottom", ("bottom",)), ("left", ("left",)), ("right", ("right",))
    ),
    "extended": EXTENDED_WORDS,
    "official": _table(
        ("above north top", ("up",)),
        ("below south under underneath", ("bottom",)),
        ("left west leftmost western", ("left",)),
        ("right east rightmost eastern", ("right",)),
    ),
    "none": {},
}

_ARTICLES = _words("the a an this that its his her their our my your")
_SIDES = _words("side half part corner edge end hand most area section region")
_PICTURE = _words(
    "image picture pic photo photograph frame screen scene shot view center centre middle"
)
_COUNTS = _words("two three four five six seven all both these those them many several pair group")
_ORDINALS = _words(
    "second third fourth fifth sixth seventh eighth ninth tenth next"
    " 2nd 3rd 4th 5th 6th 7th 8th 9th 10th"
)
_NUMERALS = _words("two three four five six 2 3 4 5 6")
_TURNS = _words(
    "facing faces looking looks pointing points turning turned turns heading headed moving going"
    " leaning leans walking running driving flying swimming tilted"
)
_HOSTS = _words(
    "trunk trunks head hand hands arm arms leg legs paw paws thumb thumbs tail face nose lid seat"
    " upside stand sit lie lay look hold close stands sits lies lays looks holds laying held"
)
_TOPS = _words(
    "red orange yellow green blue purple pink brown black white grey gray striped plaid checkered"
    " floral tank crop halter tube"
)
_BEHIND_RIGHT = _words(
    "next behind beside by before after near under beneath over at there here above below"
    " underneath against between"
)
_ON = _words("the on at to far in upper lower top bottom most very side")


@dataclass(frozen=True)
class Direction:
    """One direction word where it stands.

    name: left, right, up or bottom; token: the word as written; span: its first character in the
    text and the one after its last; skipped: why it does not count, "" if it counts.
    """

    name: DirectionName
    token: str
    span: tuple[int, int]
    skipped: str = ""


@dataclass(frozen=True)
class Plan:
    """What the words of a sentence ask for.

    parts: of the released rectifier's four parts of the picture (`rectifier.PARTS`): none, one, or
    two in the order "first over second"; directions: the words that count; skipped: all other
    direction words, each with its reason.
    """

    parts: tuple[str, ...]
    directions: tuple[Direction, ...]
    skipped: tuple[Direction, ...]


def find_directions(
    text: str, form: str = "extended", matching: Matching = "token"
) -> list[Direction]:
    """The directions that count, in reading order; "top left" gives two. See the module.

    >>> [d.name for d in find_directions("top left zebra")]
    ['up', 'left']
    >>> find_directions("car to the left of the dog"), find_directions("bright laptop")
    ([], [])
    >>> [d.name for d in find_directions("car to the left of the dog", "paper")]
    ['left']
    """
    return [d for d in read_directions(text, form, matching) if not d.skipped]


def read_directions(
    text: str, form: str = "extended", matching: Matching = "token"
) -> list[Direction]:
    """All direction words in reading order, those that do not count with their reason.

    form: one of `WORDS`; raises TasError for any other. matching: with "substring" a token also
    counts for each word inside it, whatever its use.

    >>> [(d.name, d.token) for d in read_directions("bright laptop", "official", "substring")]
    [('right', 'bright'), ('up', 'laptop')]
    """
    if form not in WORDS:
        raise TasError(f"unknown rectifier form {form!r}; choose one of {', '.join(WORDS)}")
    known = WORDS[form]
    matches = list(re.finditer(r"[^\W_]+|[,.;:!?]", text))
    words = [match.group().lower() for match in matches]
    found = []
    for i, match in enumerate(matches):
        names = known.get(words[i], ())
        skipped = _why_skipped(words, i) if names and form == "extended" else ""
        if matching == "substring" and not names:
            inside = [known[word] for word in known if word in words[i]]
            names = tuple(dict.fromkeys(name for group in inside for name in group))
        for name in names:
            found.append(Direction(name, match.group(), match.span(), skipped))
    return found


def plan_words(form: str, text: str, matching: Matching, shut: str = "") -> Plan:
    """The plan whose every word names a half of the picture; shut: why none may, "" if they may."""
    words = [replace(d, skipped=d.skipped or shut) for d in read_directions(text, form, matching)]
    counting, skipped = ([d for d in words if bool(d.skipped) is idle] for idle in (False, True))
    return Plan((), tuple(counting), tuple(skipped))


def _why_skipped(words: list[str], i: int) -> str:
    """Why the direction word at i says nothing about the picture's halves; "" if it does."""
    before, after = words[:i], words[i + 1 :]
    if words[i] == "right" and _is_intensifier(before, after):
        return "intensifier"
    if _is_relation(words[i], before, after):
        return "relation"
    while before and before[-1] in EXTENDED_WORDS:  # "top left": judged by what is around both
        before = before[:-1]
    if _is_ordinal(before):
        return "ordinal"
    if _is_verb(words[i], before):
        return "verb"
    if _is_turn(words[i], before):
        return "orientation"
    if words[i] in {"up", "down"} and _is_particle(before, after):
        return "particle"
    return "garment" if words[i] == "top" and _is_thing(before, after) else ""


def _is_ordinal(before: list[str]) -> bool:
    """Do "second left", "second to the left" or "second dog from the left" end here?"""
    rest = [word for word in before if word not in _ARTICLES]
    if rest and rest[-1] in {"from", "to"}:
        return bool(_NUMERALS & set(rest[-2:-1]) or _ORDINALS & set(rest[:-1]))
    return bool(rest) and rest[-1] in _ORDINALS


def _is_verb(word: str, before: list[str]) -> bool:
    if word != "left" or not before:
        return False
    return before[-1] in {"who", "has", "have", "had"} or (before[-1] == "that" and len(before) > 1)


def _is_turn(word: str, before: list[str]) -> bool:
    rest = [w for w in before if w not in _ARTICLES | {"to", "towards", "toward"}]
    return word != "top" and bool(rest) and rest[-1] in _TURNS


def _is_particle(before: list[str], after: list[str]) -> bool:
    last = before[-1] if before else ""
    if after[:1] in (["high"], ["low"]):
        return False
    if after and after[0] in _ARTICLES:  # "up the hill"
        return True
    return last in _HOSTS or (len(last) > 4 and last.endswith(("ing", "ed")))


def _is_intensifier(before: list[str], after: list[str]) -> bool:
    if not after or (before and before[-1] in _ON):
        return False
    middle = [word for word in after[:3] if word not in _ARTICLES][:2]
    return after[0] in _BEHIND_RIGHT or middle in (["in", "front"], ["in", "middle"])


def _is_thing(before: list[str], after: list[str]) -> bool:
    """Is "top" a garment, as in "red top", "tank top", but not in "red top left car"?"""
    return bool(_TOPS & set(before[-1:])) and not set(EXTENDED_WORDS) & set(after[:1])


def _is_relation(word: str, before: list[str], after: list[str]) -> bool:
    """Does an object follow that is not the picture: "of the dog", "side of it", "above a car"?"""
    while after and after[0] in EXTENDED_WORDS:  # "upper left of the dog"
        word, after = after[0], after[1:]
    while after and after[0] in _SIDES:
        after = after[1:]
    if word in {"above", "below"}:
        if not after or after[0] in {"and", "or"} or not after[0].isalnum():
            return False
        adjective = _ARTICLES.issuperset(before) and after[0] not in _ARTICLES  # "the above dog"
        return not adjective
    if not after or after[0] not in {"of", "to", "from", "than"} or not after[1:]:
        return False
    target = after[1:]
    if word.endswith(("most", "est")) or _is_picture(target):
        return False
    rest = [w for w in target[:2] if w not in _ARTICLES]
    return not (rest and rest[0] in _COUNTS)  # "the left of the two dogs" is one of them


def _is_picture(target: list[str]) -> bool:
    """Is the object the picture itself: "the picture", "left side of the image", "screen"?"""
    rest = [word for word in target if word not in _ARTICLES | {"whole", "entire", "of"}]
    while rest and (rest[0] in _SIDES or rest[0] in EXTENDED_WORDS):
        rest = rest[1:]
    return not rest or rest[0] in _PICTURE
