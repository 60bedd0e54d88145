"""Direction words of an expression, for the spatial rectifier.

`paper` knows the article's four words and asks nothing about their use, nor does `official`, which
has the released code's (what they do there: `language.released`). `extended` knows more words and
leaves out those uses of which the picture's halves say nothing:

| use | example |
|---|---|
| relation, another's | "left of the dog", "in front of the left car": of another thing |
| negation, ordinal | "not on the left", "second from the left": the other half, maybe |
| orientation, body | "zebra facing left", "the bear's left eye": seen from the other |
| particle, intensifier | "trunk up", "right behind the bus": up or right of nothing |
| verb, compound, garment | "left on the ground", "top hat", "girl in red top" |

Words match as tokens ("laptop" and "bright" hold no direction), unless substrings are asked for,
as in the released code. No parser is asked: on phrases this short it takes "left" for a verb in
"left man" and in "guy left". Where a word may be meant either way it does not count.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, replace
from importlib.resources import files
from types import SimpleNamespace
from typing import Literal

from tasutils.errors import TasError

DirectionName = Literal["left", "right", "up", "bottom"]
Matching = Literal["token", "substring"]
Names = tuple[DirectionName, ...]


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


def _lists() -> SimpleNamespace:
    """The closed lists of words.csv that the rules stand on, by name."""
    table = (files("tasutils.language") / "words.csv").read_text(encoding="utf-8").splitlines()
    return SimpleNamespace(**{row["list"]: words(row["words"]) for row in csv.DictReader(table)})


LISTS = _lists()


def _table(*rows: tuple[str, Names]) -> dict[str, Names]:
    return {word: names for text, names in rows for word in text.split()}


EXTENDED_WORDS = _table(
    ("up top upper above higher highest uppermost topmost upmost", ("up",)),
    ("bottom lower below down lowest lowermost bottommost downmost", ("bottom",)),
    ("left leftmost lefthand leftside lefthandside lhs", ("left",)),
    ("right rightmost righthand rightside righthandside rhs", ("right",)),
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

_LETTERS: dict[str, Names] = {"l": ("left",), "r": ("right",)}


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

    form: one of `WORDS`, else TasError; matching "substring": a token counts for words inside it.

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
        names, skipped = known.get(words[i], ()), ""
        if form == "extended":
            if words[1:] and i in {0, len(words) - 1}:  # "dog L", "L dog"
                names = names or _LETTERS.get(words[i], ())
            if names:
                tied = _is_tied(text, match, words, i)
                skipped = "compound" if tied else _why_skipped(words, i)
        if matching == "substring" and not names:
            inside = [known[word] for word in known if word in words[i]]
            names = tuple(dict.fromkeys(name for group in inside for name in group))
        found += [Direction(name, match.group(), match.span(), skipped) for name in names]
    return found


def plan_words(form: str, text: str, matching: Matching, shut: str = "") -> Plan:
    """The plan whose every word names a half of the picture; shut: why none may, "" if they may."""
    words = [replace(d, skipped=d.skipped or shut) for d in read_directions(text, form, matching)]
    counting, skipped = ([d for d in words if bool(d.skipped) is idle] for idle in (False, True))
    return Plan((), tuple(counting), tuple(skipped))


def _is_tied(text: str, match: re.Match[str], words: list[str], i: int) -> bool:
    """Does a hyphen tie the word to one that names no place ("left-handed", "pick-up")?"""
    ties = text[: match.start()].endswith("-"), text[match.end() :].startswith("-")
    others = [words[i + step] for tied, step in zip(ties, (-1, 1), strict=True)
              if tied and 0 <= i + step < len(words)]  # fmt: skip
    return not {*others} <= {*EXTENDED_WORDS} | LISTS.sides | LISTS.picture | {"far"}


def _why_skipped(words: list[str], i: int) -> str:
    """Why the direction word at i says nothing about the picture's halves; "" if it does."""
    word, before, after = words[i], words[:i], words[i + 1 :]
    if word == "right" and _is_intensifier(before, after):
        return "intensifier"
    way = word == "right" and after[:2] == ["of", "way"]
    joined = {*after[:1]} & getattr(LISTS, f"after_{word}", frozenset())
    if joined or way or words[i - 1 : i + 1] == ["top", "down"]:
        return "compound"
    if _is_relation(word, before, after):
        return "relation"
    while before and before[-1] in EXTENDED_WORDS:  # "top left": judged by what is around both
        before = before[:-1]
    if _is_denied(before):
        return "negation"
    if _is_ordinal(before):
        return "ordinal"
    if word == "left" and before and _is_verb(before, after):
        return "verb"
    led = [w for w in before if w not in LISTS.articles | {"to", "towards", "toward"}]
    if word != "top" and LISTS.turns & {*led[-1:]}:
        return "orientation"
    if word in {"left", "right"} and before == words[:i] and _is_body(before, after):
        return "body"
    if word in {"up", "down"} and _is_particle(before, after):
        return "particle"
    if word == "top" and LISTS.tops & {*led[-1:]} and not {*EXTENDED_WORDS} & {*after[:1]}:
        return "garment"
    return "another's" if _is_anothers(before, after) else ""


def _is_denied(before: list[str]) -> bool:
    """Do "not the left", "isn't on the left", "except the left", "other than the left" end here?"""
    passed, rest = LISTS.articles | LISTS.between | {"one", "ones", "t", *EXTENDED_WORDS}, before
    while rest and rest[-1] in passed:
        rest = rest[:-1]
    word, pair = " ".join(rest[-1:]), " ".join(rest[-2:])
    if word == "but":
        return not LISTS.everything.isdisjoint(before)
    return word in LISTS.denials or pair in {"other than", "rather than", "instead of"}


def _is_ordinal(before: list[str]) -> bool:
    """Do "second left", "second to the left" or "second dog from the far left" end here?"""
    rest = [word for word in before if word not in LISTS.articles | {"far", "very"}]
    if " to last " in f" {' '.join(rest)} ":
        return True
    if rest and rest[-1] in {"from", "to"}:
        return bool(LISTS.numerals & set(rest[-2:-1]) or LISTS.ordinals & set(rest[:-1]))
    return bool(rest) and rest[-1] in LISTS.ordinals


def _is_verb(before: list[str], after: list[str]) -> bool:
    """Is "left" what someone did, or what remains?"""
    gone = before[-1] in LISTS.leavers | LISTS.being and after[:1] != ["of"]
    if gone or (before[-1] == "that" and len(before) > 1):
        return True
    if before[-1] in LISTS.between | LISTS.articles:
        return False
    if after[:1] in (["on"], ["in"]) and not (after[1:] and _is_picture(after[1:])):
        return not after[1:] or after[1] in LISTS.articles
    remains = not after and not LISTS.last.isdisjoint(before)
    return remains or not LISTS.as_left.isdisjoint(after[:1])


def _is_body(before: list[str], after: list[str]) -> bool:
    """Is it someone's own side: "his left", "the bear's left eye", "in the right hand"?"""
    if before and before[-1] in LISTS.owners:
        return True
    if not after or after[0] not in LISTS.body or LISTS.articles.issuperset(before):
        return False  # "right eye of the cat" is what is meant, seen by who looks
    more = after[1:2]  # but "left hand dog", "right hand side"
    return after[0] != "hand" or not more or more[0] in LISTS.no_nouns or not more[0].isalnum()


def _is_anothers(before: list[str], after: list[str]) -> bool:
    """Is the noun behind it another thing: "in front of the left car", "sitting on the left bench"?

    Only where a noun follows at once: "man on the left with a hat" and "on the left side" count.
    """
    while after and after[0] in EXTENDED_WORDS:
        after = after[1:]
    no_things = LISTS.sides | LISTS.picture | LISTS.no_nouns
    if not after or after[0] in no_things or not after[0].isalnum():
        return False
    if len(after[0]) > 4 and after[0].endswith(("ing", "ed")):
        return False
    while before and before[-1] in LISTS.articles:
        before = before[:-1]
    if len(before) < 2:
        return False
    *rest, last = before
    if last in {"on", "in", "at"}:
        return len(rest) > 1 and len(rest[-1]) > 4 and rest[-1].endswith("ing")
    return last in LISTS.near or f"{rest[-1]} {last}" in {"front of", "next to", "close to"}


def _is_particle(before: list[str], after: list[str]) -> bool:
    last = before[-1] if before else ""
    if after[:1] in (["high"], ["low"]):
        return False
    if after and after[0] in LISTS.articles | {"close", "front", "against"}:  # "up the hill"
        return True
    return last in LISTS.hosts or (len(last) > 4 and last.endswith(("ing", "ed")))


def _is_intensifier(before: list[str], after: list[str]) -> bool:
    if not after or (before and before[-1] in LISTS.between):
        return False
    middle = [word for word in after[:3] if word not in LISTS.articles][:2]
    if after[0] == "up" and after[1:2]:
        return after[1] in LISTS.behind_right | LISTS.between
    if after[0] == "on" and after[1:2]:
        return after[1] in LISTS.articles | {"top"}
    return after[0] in LISTS.behind_right or middle in (["in", "front"], ["in", "middle"])


def _is_relation(word: str, before: list[str], after: list[str]) -> bool:
    """Does an object follow that is not the picture: "of the dog", "side of it", "above a car"?"""
    passed = (LISTS.articles | LISTS.between) - EXTENDED_WORDS.keys()
    joined = [w for w in after[:4] if w not in passed][:2]
    if joined[:1] in (["and"], ["or"]) and joined[1:] and joined[1] in EXTENDED_WORDS:
        at = after.index(joined[1])  # "above and to the left of it"
        return _is_relation(joined[1], [*before, word, *after[:at]], after[at + 1 :])
    while after and after[0] in EXTENDED_WORDS:  # "upper left of the dog"
        word, after = after[0], after[1:]
    while after and after[0] in LISTS.sides:
        after = after[1:]
    if word in {"above", "below"}:
        if not after or after[0] in {"and", "or"} or not after[0].isalnum():
            return False
        # but "the above dog"
        return after[0] in LISTS.articles or not LISTS.articles.issuperset(before)
    if not after or after[0] not in {"of", "to", "from", "than"} or not after[1:]:
        return False
    if word.endswith(("most", "est")) or _is_picture(after[1:]):
        return False
    rest = [w for w in after[1:4] if w not in LISTS.articles]
    pair = rest[:2] == ["pair", "of"]  # of headphones: one thing
    return pair or LISTS.counts.isdisjoint(rest[:1])  # "the left of the two dogs" is one of them


def _is_picture(target: list[str]) -> bool:
    """Is the object the picture itself: "the picture", "left side of the image", "screen"?"""
    rest = [word for word in target if word not in LISTS.articles | {"whole", "entire", "of"}]
    while rest and (rest[0] in LISTS.sides or rest[0] in EXTENDED_WORDS):
        rest = rest[1:]
    return not rest or rest[0] in LISTS.picture
