"""Which noun phrases of the image's caption are negatives of an expression (article, N-score).

Every noun phrase of the caption is a candidate; those that WordNet's path similarity calls
synonyms of the target are dropped, so that the target is not its own negative. Hyponyms and
hypernyms ("puppy", "animal" for "dog") are no synonyms and stay: the article asks no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasutils.language.parse import Parse, Parser
from tasutils.language.synonyms import noun_forms, path_similarity


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
