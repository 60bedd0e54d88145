"""What a referring sentence asks for beside its thing, read from spaCy's tokens.

| ask | example | what is read |
|---|---|---|
| direction | "the dog on the left" | of the picture, see `reading` |
| relation | "the cup to the left of the big bowl" | its name and the landmark's phrase, or two |
| order | "second car from the right", "third largest", "middle one" | how manieth, from where |
| size | "smallest dog", "the dog that is big" | big, small, biggest, smallest |
| number | "the two dogs", "both cups" | how many things are meant |
| negation | "the dog that is not brown", "girl without glasses" | what is denied |

Only words of the target count: what stands behind the relation tells of the landmark. A compound that
WordNet knows ("little league player") asks for nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasutils.language.reading import EXTENDED_WORDS, find_directions, words
from tasutils.language.wordnet import ancestors

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

_BY_SIZE = {
    "big": "big large huge giant enormous tall massive great",
    "small": "small little tiny short mini miniature petite",
    "biggest": "biggest largest tallest hugest bigger larger taller",
    "smallest": "smallest littlest tiniest shortest smaller littler tinier shorter",
}
_SIZES = {word: size for size, text in _BY_SIZE.items() for word in text.split()}
_EXTREMES = [word for word, size in _SIZES.items() if size.endswith("est")]
_RANKS = "first second third fourth fifth sixth seventh eighth ninth tenth".split()
_ORDINALS = {word: k for k, word in enumerate(_RANKS, 1)} | {
    f"{k}{'st nd rd'.split()[k - 1] if k < 4 else 'th'}": k for k in range(1, 11)
}
_NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "both": 2, "pair": 2,
            "couple": 2, "2": 2, "3": 3, "4": 4, "5": 5, "6": 6, "7": 7}  # fmt: skip
_ASKING = {*_SIZES, *_ORDINALS, *EXTENDED_WORDS} | words("the a an far last middle center centre")
_OPPOSITE = {"left": "right", "right": "left", "up": "bottom", "bottom": "up"}
_MIDDLES = words("middle center centre")
_SIDES = words("side edge half part corner end hand")
_PICTURE = words("picture image photo photograph pic screen frame scene view shot")
# words of the picture's plan, never a landmark
_PLACES = words("left right top bottom middle center centre back background foreground front "
                "corner side distance sun shade air row line order way phone telephone") | _PICTURE  # fmt: skip
_DENIALS = words("not n't without except excluding non no")
_COLORS = words("red orange yellow green blue purple pink brown black white grey gray")
_SIDE = r"(?:the )?(?:far |very )?(left|right|top|bottom|leftmost|rightmost)"
# a relation's words in front of its landmark; the first that fits decides
_RELATIONS = {
    name: re.compile(rf"(?:{text})$")
    for name, text in {
        "between": r"between|in between",
        "left of": r"(?:to |on |at )?(?:the )?(?:immediate(?:ly)? )?left(?: side| hand side)? of",
        "right of": r"(?:to |on |at )?(?:the )?(?:immediate(?:ly)? )?right(?: side| hand side)? of",
        "on": r"(?:on|upon|on top of|atop)",
        "in front of": r"in front of",
        "next to": r"next to|beside|alongside|adjacent to",
        "near": r"near|nearest(?: to)?|close to|closest to|closer to|by|among",
        "inside": r"in|inside|inside of|within",
        "under": r"under|underneath|beneath",
        "above": r"above|over",
        "below": r"below",
        "behind": r"behind",
    }.items()
}


@dataclass(frozen=True)
class Asks:
    """What a sentence asks for; each is empty, or None, where it does not ask.

    directions: left, right, up, bottom; size: big, small, biggest or smallest; relation: a name of
    `RELATIONS`, with the phrases of its landmark or two; order: (k, from where): the k-th from left,
    right, up or bottom, by size from the biggest or smallest, or (0, "middle"); negation: the denied
    phrase; number: of things; thing: the head phrase without all these words, "" if none is named.
    """

    directions: tuple[str, ...] = ()
    size: str = ""
    relation: str = ""
    landmarks: tuple[str, ...] = ()
    order: tuple[int, str] | None = None
    negation: str = ""
    number: int | None = None
    thing: str = ""

    def findings(self) -> dict[str, str]:
        """What was found, as words: {"size": "smallest", "relation": "left of the big bowl"}."""
        k, where = self.order or (0, "")
        said = {
            "direction": " ".join(self.directions),
            "size": self.size,
            "relation": f"{self.relation} {' and '.join(self.landmarks)}".strip(),
            "order": f"{k} from {where}" if k else where,
            "negation": self.negation and f"not {self.negation}",
            "number": str(self.number or ""),
        }
        return {name: text for name, text in said.items() if text}


#: The relations that are read.
RELATIONS = tuple(_RELATIONS)


def read_asks(doc: Doc, head: Token | None, phrase: str) -> Asks:
    """What spaCy's reading of a lower-cased sentence asks for; head: its head noun, if any."""
    relation, landmarks, start = _relation(doc, head)
    target = list(doc[:start])
    said = " ".join(token.lower_ for token in target)
    order = _order(said)
    denied = next((t for t in target if t.lower_ in _DENIALS or _is_but(t)), None)
    directions = dict.fromkeys(d.name for d in find_directions(doc.text))
    return Asks(
        directions=() if order else tuple(directions),
        size="" if order and order[1] in _BY_SIZE else _size(target, head),
        relation=relation,
        landmarks=landmarks,
        order=order,
        negation="" if denied is None else _denied(denied, head),
        number=_number(target, head, said),
        thing="" if head is None else _thing(phrase),
    )


def _thing(phrase: str) -> str:
    kept = [word for word in phrase.lower().split() if word not in _ASKING]
    return " ".join(kept) or phrase


def _relation(doc: Doc, head: Token | None) -> tuple[str, tuple[str, ...], int]:
    """The relation's name, its landmarks, and where its words begin (the end: there is none)."""
    for token in doc:
        if token.pos_ not in {"ADP", "SCONJ", "ADV", "ADJ", "PART", "VERB"} and token.lower_ != "of":
            continue
        if head is not None and 0 < token.i < head.i and head.i - token.i < 1:
            continue
        said = " ".join(t.lower_ for t in doc[: token.i + 1])
        for name, pattern in _RELATIONS.items():
            match = pattern.search(said)
            if not match or (match.start() and said[match.start() - 1] != " "):
                continue
            start = said[: match.start()].count(" ")
            found = _landmarks(doc, token.i + 1, name)
            if found and not _is_denied(doc, start):
                return name, found, start
    return "", (), len(doc)


def _is_denied(doc: Doc, start: int) -> bool:
    return start > 0 and doc[start - 1].lower_ in _DENIALS


def _landmarks(doc: Doc, start: int, name: str) -> tuple[str, ...]:
    """The noun phrase that begins at a token, without its article; two of "between"."""
    if doc[start:].text.startswith(("between", "last")) or (start == 1 and doc[start].pos_ == "ADJ"):
        return ()
    chunks = [chunk for chunk in doc.noun_chunks if chunk.start >= start]
    if not chunks or chunks[0].start != start or not _is_landmark(chunks[0].root, name, chunks[0]):
        return ()
    first = chunks[0]
    end = first.end
    if {t.lower_ for t in first} & {*_ORDINALS}:
        more = re.match(rf" ?(?:from|to|on) {_SIDE}", doc[end:].text)
        end += len(more.group().split()) if more else 0
    phrases = [doc[first.start : end]]
    if name == "between" and len(chunks) > 1 and doc[first.end].lower_ == "and":
        phrases.append(chunks[1])
    return tuple(_bare(phrase.text) for phrase in phrases)


def _is_landmark(noun: Token, name: str, chunk: object) -> bool:
    """Is it a thing beside which another can be, rather than a place, a garment or a state?"""
    if noun.lower_ in _PLACES | _COLORS or noun.pos_ == "PRON":
        return False
    if name != "inside":
        return True
    kinds = ancestors(noun.lemma_)
    held = {"instrumentality.n.03", "structure.n.01", "container.n.01"} & set(kinds)
    return bool(held) and not {"clothing.n.01", "covering.n.02"} & set(kinds)


def _bare(text: str) -> str:
    return re.sub(r"^(?:the|a|an) ", "", text)


def _order(said: str) -> tuple[int, str] | None:
    """How manieth and from where, read in the words of the target."""
    ordinal = "|".join(_ORDINALS)
    last = re.search(rf"\b({ordinal}|next) (?:to )?last\b.*?\b(from|on|to) {_SIDE}", said)
    if last:
        side = _side(last[3])
        k = _ORDINALS.get(last[1], 2)
        return k, side if last[2] == "on" else _OPPOSITE[side]
    if match := re.search(rf"\blast (?:\w+ ){{0,4}}(?:on|at) {_SIDE}", said):
        return 1, _side(match[1])
    if match := re.search(rf"\b({ordinal}) ({'|'.join(_EXTREMES)})\b", said):
        return _ORDINALS[match[1]], _SIZES[match[2]]
    if match := re.search(rf"\b({ordinal}) (?:\w+ ){{0,4}}?(?:from|on|to|at) {_SIDE}", said):
        return _ORDINALS[match[1]], _side(match[2])
    if match := re.search(rf"\b({ordinal}) {_SIDE}\b", said):
        return _ORDINALS[match[1]], _side(match[2])
    if match := re.search(rf"\b(two|three|four|2|3|4) from {_SIDE}", said):
        return _NUMBERS[match[1]], _side(match[2])
    middle = r"(?:middle|center|centre)"
    if re.search(rf"\b{middle}(?= |$)(?! ?-)(?! finger| of (?!the (?:two|three|four|five|six|picture|image|photo)))", said):
        return 0, "middle"
    return None


def _side(word: str) -> str:
    return EXTENDED_WORDS[word][0]


def _size(target: list[Token], head: Token | None) -> str:
    """The size word of the target: before its head noun, or "is big" behind it."""
    for token in target:
        size = _SIZES.get(token.lower_, "")
        following = token.nbor() if token.i + 1 < len(token.doc) else None
        if not size or (following is not None and following.text == "-"):
            continue
        if following is not None and _is_name(token, following, head):
            continue
        if following is not None and following.lower_ == "of" and not size.endswith("est"):
            continue
        if head is None or token.i < head.i or target[token.i - 1].lower_ in {"is", "the", "one"}:
            return size if head is None or token.i < head.i or _is_said(target, token) else ""
    return ""


def _is_name(size: Token, noun: Token, head: Token | None) -> bool:
    """Is the size part of a name that WordNet knows ("little league player")?"""
    known = noun != head and noun.pos_ in {"NOUN", "PROPN"}
    return known and bool(ancestors(f"{size.lower_} {noun.lower_}"))


def _is_said(target: list[Token], token: Token) -> bool:
    """Does "is" or "is the" stand before it?"""
    before = [t.lower_ for t in target[max(token.i - 2, 0) : token.i]]
    return "is" in before


def _number(target: list[Token], head: Token | None, said: str) -> int | None:
    for token in target:
        k = _NUMBERS.get(token.lower_)
        if k is None or re.search(rf"\b{token.lower_} (?:from|-)", said):
            continue
        if token.lower_ in {"pair", "couple"}:
            return k if token.i + 1 < len(target) and target[token.i + 1].lower_ == "of" else None
        of_them = token.i > 1 and [t.lower_ for t in target[token.i - 2 : token.i]] == ["of", "the"]
        plural = head is not None and (head.tag_ == "NNS" or head.lower_ in {"sheep", "fish", "deer"})
        if of_them or (plural and head is not None and token.i < head.i):
            return k
    return None


def _is_but(token: Token) -> bool:
    said = [t.lower_ for t in token.doc[: token.i]]
    after = token.i + 1 < len(token.doc) and token.nbor().lower_
    return (token.lower_ == "but" and bool({"any", "every", "all"} & {*said})) or (
        token.lower_ == "other" and after == "than"
    )


def _denied(denial: Token, head: Token | None) -> str:
    """The phrase that a denial is about; "" where it denies no thing and no look of one."""
    doc, word = denial.doc, denial.lower_
    rest = list(doc[denial.i + 1 :])
    while rest and (rest[0].lower_ in {"than", "-", "on", "in", "near", "with"} or rest[0].tag_ == "VBG"):
        rest = rest[1:]
    if rest and rest[0].tag_ == "RB" and len(rest) > 1:
        return ""
    if word == "no" and (denial.i == 0 or doc[denial.i - 1].lower_ not in {"with", "has", "having"}):
        return ""
    phrase = _bare(" ".join(t.lower_ for t in _until_next(rest)))
    if word == "non":
        phrase = phrase.split(" ")[0]
    if not phrase or phrase.split()[-1] in {*EXTENDED_WORDS}:
        return ""
    if word in {"without", "no"} and "physical_entity.n.01" not in ancestors(phrase.split()[-1]):
        return ""
    return phrase


def _until_next(rest: list[Token]) -> list[Token]:
    """The tokens up to a preposition or verb behind the first noun."""
    kept: list[Token] = []
    for token in rest:
        if token.pos_ in {"ADP", "SCONJ", "AUX", "PUNCT"} and token.text != "-":
            break
        kept.append(token)
    return kept
