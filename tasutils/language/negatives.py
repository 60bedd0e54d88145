"""Which noun phrases of the image's caption are negatives of an expression (article, N-score).

Every noun phrase of the caption is a candidate; those that WordNet's path similarity calls
synonyms of the target are dropped, so that the target is not its own negative. Hyponyms and
hypernyms ("puppy", "animal" for "dog") are no synonyms and stay: the article asks no more.

The released code asks more of a synonym, see `mine_released`, so that there the target is often its
own negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasutils.language.parse import Parse, Parser
from tasutils.language.released import first_noun
from tasutils.language.synonyms import noun_forms, path_similarity, similar_pairs

_PAIRS = 3  # of senses, for two nouns to be synonyms in the released code


@dataclass(frozen=True)
class Candidate:
    """One noun phrase of the caption, judged.

    index: its place among the candidates; phrase: its text; noun: the noun it was judged by;
    similarity: its highest path similarity to the target, 0..1; kept: is it a negative;
    reason: why, in words.
    """

    index: int
    phrase: str
    noun: str
    similarity: float
    kept: bool
    reason: str


def mine_negatives(
    phrases: Sequence[str],
    target: str | Parse,
    parser: Parser,
    threshold: float = 0.9,
) -> list[Candidate]:
    """Judge each candidate phrase against the target, in order, duplicates kept.

    phrases: noun phrases of the image's caption; target: the expression, as text or as read;
    threshold: path similarity from which on two nouns are synonyms (article silent: 0.9).
    Nouns are compared as compounds ("fire engine") and as head nouns; any pair decides.
    """
    target = parser.parse(target) if isinstance(target, str) else target
    target_nouns = noun_forms(target.head_words)
    return [_judge(i, phrase, target_nouns, parser, threshold) for i, phrase in enumerate(phrases)]


def mine_released(
    phrases: Sequence[str], target: str, parser: Parser, threshold: float = 0.9
) -> list[Candidate]:
    """Judge each candidate phrase as the released code does, in order, duplicates kept.

    target: the head phrase. The first noun of each phrase stands for it as it is written; two
    nouns are synonyms if at least three pairs of their senses, of any part of speech, have a path
    similarity above `threshold`. Above 1/2 that reads: if they share three senses. A phrase
    without a noun is no synonym. (The released code finds nouns by nltk's tagger, here spaCy's.)
    """
    wanted = first_noun(parser.spacy_model, target)
    judged = []
    for index, phrase in enumerate(phrases):
        noun = first_noun(parser.spacy_model, phrase)
        pairs = similar_pairs(noun, wanted, threshold) if noun and wanted else 0
        similarity = path_similarity(noun, wanted) if noun and wanted else 0.0
        kept = pairs < _PAIRS
        verdict, against = ("kept", "fewer than") if kept else ("dropped", "at least")
        reason = (
            f"{verdict}: {noun!r} and {wanted!r} have {pairs} pairs of senses"
            f" with path similarity > {threshold:g}, {against} {_PAIRS}"
        )
        if not noun or not wanted:
            reason = "kept: no noun to compare with"
        judged.append(Candidate(index, phrase, noun, similarity, kept, reason))
    return judged


def _judge(
    index: int, phrase: str, target_nouns: tuple[str, ...], parser: Parser, threshold: float
) -> Candidate:
    nouns = noun_forms(parser.parse(phrase).head_words)
    if not target_nouns:
        return Candidate(
            index, phrase, nouns[0] if nouns else "", 0.0, True,
            "kept: the expression names no thing to compare with",
        )  # fmt: skip
    if not nouns:
        return Candidate(index, phrase, "", 0.0, True, "kept: no noun to compare with")
    pairs = [(path_similarity(a, b), a, b) for a in nouns for b in target_nouns]
    similarity, noun, target_noun = max(pairs, key=lambda pair: pair[0])
    kept = similarity < threshold
    verdict = "is no synonym of" if kept else "is a synonym of"
    if noun == target_noun:
        verdict = "is the same noun as"
    reason = (
        f"{'kept' if kept else 'dropped'}: {noun!r} {verdict} {target_noun!r}"
        f" (path similarity {similarity:.2f} {'<' if kept else '>='} {threshold:g})"
    )
    return Candidate(index, phrase, noun, similarity, kept, reason)
