"""What a referring sentence asks for beside its thing, read from spaCy's tokens.

| ask | example | what is read |
|---|---|---|
| direction | "the dog on the left" | of the picture, see `reading` |
| relation | "the cup to the left of the big bowl" | its name and the landmark's phrase, or two |
| order | "second car from the right", "third largest", "middle one" | how manieth, from where |
| size | "smallest dog", "the dog that is big" | big, small, biggest, smallest |
| number | "the two dogs", "both cups" | how many things are meant |
| things | "all red cars", "the cat and the dogs" | of several things each by itself |
| negation | "the dog that is not brown", "girl without glasses" | what is denied |

Only words of the target count: what stands behind the relation tells of the landmark. A compound
that WordNet knows ("little league player") asks for nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import dropwhile, pairwise
from typing import TYPE_CHECKING

from tasutils.language.reading import EXTENDED_WORDS, LISTS, find_directions, words
from tasutils.language.wordnet import ancestors, similar_pairs

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span, Token

_SIZES = {
    word: size for size in ("big", "small", "biggest", "smallest") for word in vars(LISTS)[size]
}
_NAMES = "first second third fourth fifth sixth seventh eighth ninth tenth"
_DIGITS = "1st 2nd 3rd 4th 5th 6th 7th 8th 9th 10th"
_RANKS = {word: k for text in (_NAMES, _DIGITS) for k, word in enumerate(text.split(), 1)}
_NUMBERS = {"both": 2, "pair": 2, "couple": 2} | {
    word: k for text in ("two three four five six", "2 3 4 5 6")
    for k, word in enumerate(text.split(), 2)
}  # fmt: skip
_LISTED = {*EXTENDED_WORDS}.union(*vars(LISTS).values())
_COUNTING = words("the a an all both") | _NUMBERS.keys()
_OPPOSITE = {"left": "right", "right": "left", "up": "bottom", "bottom": "up"}
_ASKING = {*_SIZES, *_RANKS, *EXTENDED_WORDS} | words("the a an far last middle center centre")
_RANK, _SIDE = "|".join(_RANKS), r"(?:the )?(?:far |very )?(left|right|top|bottom)(?:most)?\b"
_LAST = re.compile(rf"\b({_RANK}|next) (?:to )?last\b.*?\b(from|on|to) {_SIDE}")
_END = re.compile(rf"\blast (?:\w+ ){{0,4}}(?:on|at) {_SIDE}")
_BY_SIZE = re.compile(rf"\b({_RANK}) ({'|'.join(LISTS.biggest | LISTS.smallest)})\b")
_FROM = re.compile(rf"\b({_RANK}) (?:(?:\w+ ){{0,4}}?(?:from|on|to|at) )?{_SIDE}")
_COUNTED = re.compile(rf"\b({'|'.join(_NUMBERS)}) from {_SIDE}")
_MIDDLE = re.compile(
    r"\b(?:middle|center|centre)(?= |$)(?! ?-| finger)"
    r"(?! of (?!the (?:two|three|four|five|six|picture|image|photo)))"
)
# a relation's words in front of its landmark; the first that fits decides
_BESIDE = r"(?:(?:to|on|at) )?(?:the )?(?:immediate(?:ly)? )?%s(?: side| hand side)? of"
_RELATIONS = {
    name: re.compile(rf"\b(?:{text})$")
    for name, text in {
        "between": "(?:in )?between",
        "left of": _BESIDE % "left",
        "right of": _BESIDE % "right",
        "on": "on|upon|on top of|atop",
        "in front of": "in front of",
        "next to": "next to|beside|alongside|adjacent to",
        "near": "near|nearest(?: to)?|close to|closest to|closer to|by|among",
        "inside": "in|inside(?: of)?|within",
        "under": "under|underneath|beneath",
        "above": "above|over",
        "below": "below",
        "behind": "behind",
    }.items()
}


@dataclass(frozen=True)
class Asks:
    """What a sentence asks for; each is empty, or None, where it does not ask.

    directions: left, right, up, bottom; size: big, small, biggest or smallest; relation: one of
    `RELATIONS`, with the phrases of its landmark or two; order: (k, from where), the k-th from
    left, right, up or bottom, from the biggest or smallest, or (0, "middle"); negation: the denied
    phrase; number: of things; things: where several are meant, the phrase of each in the singular,
    and whether all such things are; thing: the head phrase without these words, "" if none is
    named; unknown: words that neither WordNet nor a list of ours has: misspelt, or not English.
    """

    directions: tuple[str, ...] = ()
    size: str = ""
    relation: str = ""
    landmarks: tuple[str, ...] = ()
    order: tuple[int, str] | None = None
    negation: str = ""
    number: int | None = None
    things: tuple[tuple[str, bool], ...] = ()
    thing: str = ""
    unknown: tuple[str, ...] = ()

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


#: What sentences ask for, in the words of `Asks.findings`.
ASKS = ("direction", "size", "relation", "order", "negation", "number")
#: The relations that are read.
RELATIONS = tuple(_RELATIONS)


def read_asks(doc: Doc, head: Token | None, phrase: str) -> Asks:
    """What a sentence asks for.

    doc: spaCy's reading of it, lower case; head: its head noun, if any; phrase: the noun phrase of
    that.
    """
    relation, landmarks, end = _relation(doc)
    target = list(doc[:end])
    order = _order(" ".join(token.lower_ for token in target))
    directions = dict.fromkeys(d.name for d in find_directions(doc.text))
    thing = " ".join(word for word in phrase.lower().split() if word not in _ASKING)
    return Asks(
        directions=() if order else tuple(directions),
        size="" if order and order[1] in _SIZES else _size(target, head),
        relation=relation,
        landmarks=landmarks,
        order=order,
        negation=next((text for t in target if (text := _denied(t))), ""),
        number=_number(target, head),
        things=_things(doc, target, head),
        thing="" if head is None else thing or phrase,
        unknown=tuple(t.text for t in doc if _is_unknown(t)),
    )


def _is_unknown(token: Token) -> bool:
    said = token.lower_
    read = not token.is_alpha or len(said) < 2 or token.is_stop or said in _LISTED
    return not read and not similar_pairs(said, said)


def _relation(doc: Doc) -> tuple[str, tuple[str, ...], int]:
    """The relation's name, its landmarks, and where its words begin (the end: there is none)."""
    for token in doc:
        said = " ".join(t.lower_ for t in doc[: token.i + 1])
        for name, pattern in _RELATIONS.items():
            match = pattern.search(said)
            start = said[: match.start()].count(" ") if match else 0
            if match and not (start and doc[start - 1].lower_ in LISTS.denying):
                landmarks = _landmarks(doc, token.i + 1, name)
                if landmarks:
                    return name, landmarks, start
    return "", (), len(doc)


def _landmarks(doc: Doc, start: int, name: str) -> tuple[str, ...]:
    """The noun phrase that begins at a token, without its article; two of "between"."""
    chunks = [chunk for chunk in doc.noun_chunks if chunk.start >= start]
    bare = start == 1 and doc[1:].text and doc[1].pos_ == "ADJ"  # "under ripe tomato"
    if not chunks or bare or not _is_landmark(chunks[0], start, name):
        return ()
    end = chunks[0].end
    if _RANKS.keys() & {t.lower_ for t in chunks[0]}:  # "the second car from the left"
        more = re.match(rf"(?:from|to|on) {_SIDE}", doc[end:].text)
        end += len(more.group().split()) if more else 0
    phrases = [doc[chunks[0].start : end].text]
    if name == "between" and len(chunks) > 1 and doc[end].lower_ == "and":
        phrases.append(chunks[1].text)
    return tuple(_bare(phrase) for phrase in phrases)


def _is_landmark(chunk: Span, start: int, name: str) -> bool:
    """Is it a thing beside which another can be, rather than a place, a garment or a state?"""
    noun, first = chunk.root, chunk[0].lower_
    if chunk.start != start or first in {"last", "between"} or noun.pos_ == "PRON":
        return False
    if noun.lower_ in LISTS.plan | LISTS.colors:
        return False
    if name != "inside":
        return True
    kinds = set(ancestors(noun.lemma_))
    holds = kinds & {"instrumentality.n.03", "structure.n.01", "container.n.01"}
    return bool(holds) and not kinds & {"clothing.n.01", "covering.n.02"}


def _bare(text: str) -> str:
    return re.sub(r"^(?:the|a|an) ", "", text)


def _order(said: str) -> tuple[int, str] | None:
    """How manieth and from where, read in the words of the target."""
    if match := _LAST.search(said):  # the last but one from the left is the second from the right
        side = EXTENDED_WORDS[match[3]][0]
        return _RANKS.get(match[1], 2), side if match[2] == "on" else _OPPOSITE[side]
    if match := _END.search(said):
        return 1, EXTENDED_WORDS[match[1]][0]
    if match := _BY_SIZE.search(said):
        return _RANKS[match[1]], _SIZES[match[2]]
    if match := _FROM.search(said) or _COUNTED.search(said):
        return (_RANKS | _NUMBERS)[match[1]], EXTENDED_WORDS[match[2]][0]
    return (0, "middle") if _MIDDLE.search(said) else None


def _size(target: list[Token], head: Token | None) -> str:
    """The size word of the target: before its head noun, or "is (the) biggest" behind it."""
    for token in target:
        size, after = _SIZES.get(token.lower_, ""), [*token.doc[token.i + 1 : token.i + 2]]
        said = "is" in {t.lower_ for t in target[max(token.i - 2, 0) : token.i]}
        if not size or not (head is None or token.i < head.i or said):
            continue
        plain_of = after and after[0].lower_ == "of" and size in {"big", "small"}
        if not plain_of and not (after and _is_name(token, after[0], head)):
            return size
    return ""


def _is_name(size: Token, noun: Token, head: Token | None) -> bool:
    """Is the size part of a name that WordNet knows ("little league player")?"""
    if noun.text == "-":
        return True
    known = noun != head and noun.pos_ in {"NOUN", "PROPN"}
    return known and bool(ancestors(f"{size.lower_} {noun.lower_}"))


def _number(target: list[Token], head: Token | None) -> int | None:
    """How many: "two dogs", "both", "a pair of", "the larger of the two"."""
    plural = head is not None and (head.tag_ == "NNS" or head.lower_ in LISTS.always_plural)
    for token in target:
        before = [t.lower_ for t in target[max(token.i - 2, 0) : token.i]]
        after = [t.lower_ for t in target[token.i + 1 : token.i + 2]]
        k = _NUMBERS.get(token.lower_)
        if k is None or after in (["from"], ["-"]):
            continue
        if token.lower_ in {"pair", "couple"}:
            return k if after == ["of"] else None
        if before == ["of", "the"] or (plural and head is not None and token.i < head.i):
            return k
    return None


def _things(doc: Doc, target: list[Token], head: Token | None) -> tuple[tuple[str, bool], ...]:
    """What a plural, or two nouns joined by "and", speak of: "the cat and all red cars"."""
    found = []
    joints = [t.i for t in target if head is not None and t.lower_ == "and" and t.i > head.i][:1]
    for start, end in pairwise([0, *(k for joint in joints for k in (joint, joint + 1)), len(doc)]):
        words = list(dropwhile(lambda t: t.lower_ in _COUNTING, doc[start:end]))
        nouns = [t for t in words if t.pos_ in {"NOUN", "PROPN"}]
        if start in joints or EXTENDED_WORDS.keys() >= {t.lower_ for t in nouns}:
            continue
        noun = head if head in nouns else nouns[0]
        plural = noun.tag_ in {"NNS", "NNPS"}
        found.append((" ".join(t.lemma_ if t == noun else t.lower_ for t in words), plural))
    return tuple(found) if len(found) > 1 or any(plural for _, plural in found) else ()


def _denied(denial: Token) -> str:
    """The phrase that a word denies; "" where it denies no thing and no look of one."""
    doc, word, rest = denial.doc, denial.lower_, list(denial.doc[denial.i + 1 :])
    said = {t.lower_ for t in doc[: denial.i]}
    but = word == "but" and said & {"any", "every", "all"}
    other = word == "other" and [t.lower_ for t in rest[:1]] == ["than"]
    if not (word in LISTS.denying or but or other):
        return ""
    while rest and (rest[0].lower_ in LISTS.before_denied or rest[0].tag_ == "VBG"):
        rest = rest[1:]
    if rest[1:] and rest[0].tag_ == "RB":  # "not quite ripe"
        return ""
    if word == "no" and not said & {"with", "has", "having"}:
        return ""
    ends = [k for k, t in enumerate(rest) if t.pos_ in {"ADP", "SCONJ", "AUX", "PUNCT"}]
    phrase = _bare(" ".join(t.lower_ for t in rest[: min(ends, default=len(rest))]))
    phrase = phrase.split(" ")[0] if word == "non" else phrase
    last = phrase.split(" ")[-1]
    seen = word not in {"without", "no"} or "physical_entity.n.01" in ancestors(last)
    return phrase if seen and last not in EXTENDED_WORDS else ""
