"""Near synonyms by WordNet, and which noun phrases of a caption are negatives (article, N-score).

Path similarity of two noun senses is 1 / (1 + d), d the length of the shortest path between them
over hypernyms. The possible values are 1, 1/2, 1/3, ...; a threshold of 0.9 therefore asks for one
common sense ("couch" and "sofa" 1.0; "puppy" and "dog" 0.5).

Every noun phrase of the caption is a candidate; synonyms of the target are dropped, so that the
target is not its own negative. Hyponyms and hypernyms ("puppy", "animal" for "dog") stay: the
article asks no more. The released code asks more of a synonym (`three_pairs`).
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import RLock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import BadZipFile

from tasutils import paths
from tasutils.config import lookup
from tasutils.errors import TasError
from tasutils.language.reading import LISTS

if TYPE_CHECKING:
    from tasutils.language.parse import Parse, Parser

_LOCK = RLock()  # the reader seeks in shared streams
_PAIRS = 3  # of senses, for two nouns to be synonyms in the released code


class Verdict(NamedTuple):
    """What a synonym rule says of a phrase.

    noun: judged by; similarity: its highest path similarity to the target, 0..1; kept: is the
    phrase a negative, that is no synonym; reason: why, in words.
    """

    noun: str
    similarity: float
    kept: bool
    reason: str


#: (phrase, target as read, parser, threshold of similarity) -> Verdict; an entry of
#: `language.SYNONYM_RULES`. The target's `phrase` and `head_words` tell what is meant.
SynonymRule = Callable[[str, "Parse", "Parser", float], Verdict]


@dataclass(frozen=True)
class Candidate:
    """One noun phrase of the caption, judged: its place, its text, and the fields of `Verdict`."""

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
    rule: str = "nearest",
) -> list[Candidate]:
    """Judge each candidate phrase against the target, in order, duplicates kept.

    phrases: noun phrases of the image's caption; target: the expression, as text or as read;
    threshold: of path similarity (article silent: 0.9); rule: one of `language.SYNONYM_RULES`.
    """
    judge: SynonymRule = lookup("tasutils.language:SYNONYM_RULES", rule)
    read = parser.parse(target) if isinstance(target, str) else target
    return [
        Candidate(index, phrase, *judge(phrase, read, parser, threshold))
        for index, phrase in enumerate(phrases)
    ]


def nearest(phrase: str, target: Parse, parser: Parser, threshold: float) -> Verdict:
    """Any pair of noun senses with path similarity >= `threshold` makes a synonym (article).

    Where WordNet knows both as compounds ("fire engine", "fire truck"), these are compared; else
    their heads as well, but of a compound only if it is a kind of its head (`noun_forms`).
    """
    targets, nouns = noun_forms(target.head_words), noun_forms(parser.parse(phrase).head_words)
    if not targets or not nouns:
        missing = "no noun" if targets else "the expression names no thing"
        return Verdict("".join(nouns[:1]), 0.0, True, f"kept: {missing} to compare with")
    if " " in nouns[0] and " " in targets[0]:
        targets, nouns = (tuple(n for n in names if " " in n) for names in (targets, nouns))
    pairs = [(_likeness(a, b), a, b) for a in nouns for b in targets]
    similarity, noun, other = max(pairs, key=lambda pair: pair[0])
    kept = similarity < threshold
    same = "is no synonym of" if kept else "is a synonym of"
    if noun == other:
        same = "is the same noun as"
    return Verdict(
        noun, similarity, kept,
        f"{'kept' if kept else 'dropped'}: {noun!r} {same} {other!r}"
        f" (path similarity {similarity:.2f} {'<' if kept else '>='} {threshold:g})",
    )  # fmt: skip


def _likeness(a: str, b: str) -> float:
    """Path similarity, but 0 of a compound and the head of which it is no kind ("hot dog", dog)."""
    for compound, noun in ((a, b), (b, a)):
        head = compound.rpartition(" ")[2]
        if head != compound and _singular(head) == _singular(noun) and not is_kind(compound):
            return 0.0
    return path_similarity(a, b)


def _singular(noun: str) -> str:
    with _LOCK:
        return wordnet().morphy(noun.lower(), "n") or noun.lower()


def three_pairs(phrase: str, target: Parse, parser: Parser, threshold: float) -> Verdict:
    """Three pairs of senses with a path similarity above `threshold` make a synonym (code).

    The first noun of each phrase stands for it as it is written (the released code finds it by
    nltk's tagger, here spaCy's), and senses of any part of speech count.
    """
    noun, other = parser.parse(phrase).first_noun, parser.parse(target.phrase).first_noun
    if not noun or not other:
        return Verdict(noun, 0.0, True, "kept: no noun to compare with")
    pairs = similar_pairs(noun, other, threshold)
    kept = pairs < _PAIRS
    verdict, against = ("kept", "fewer than") if kept else ("dropped", "at least")
    return Verdict(
        noun, path_similarity(noun, other), kept,
        f"{verdict}: {noun!r} and {other!r} have {pairs} pairs of senses"
        f" with path similarity > {threshold:g}, {against} {_PAIRS}",
    )  # fmt: skip


def path_similarity(noun_a: str, noun_b: str) -> float:
    """The highest path similarity over all pairs of noun senses of two nouns, in 0..1.

    Nouns may be inflected ("dogs") and may be compounds ("fire engine"). Equal words give 1 even
    if WordNet does not know them; 0 if it does not know one of two different ones.

    >>> path_similarity("couch", "sofa"), path_similarity("dogs", "puppy")
    (1.0, 0.5)
    """
    if noun_a.strip().lower() == noun_b.strip().lower():
        return 1.0
    first, second = ancestors(noun_a), ancestors(noun_b)
    if len(second) < len(first):
        first, second = second, first
    # min over pairs of senses of min over common ancestors = min over all common ancestors
    distances = [d + second[sense] for sense, d in first.items() if sense in second]
    return 1.0 / (1.0 + min(distances)) if distances else 0.0


@lru_cache(maxsize=16384)
def similar_pairs(word_a: str, word_b: str, threshold: float = 0.9) -> int:
    """How many pairs of senses, of any part of speech, have a path similarity above `threshold`.

    Above 1/2 these are the senses that both words share, equal words included.

    >>> similar_pairs("giraffe", "giraffe"), similar_pairs("kid", "child")
    (1, 2)
    """
    with _LOCK:
        first, second = (wordnet().synsets(word) for word in (word_a, word_b))
        if threshold >= 0.5:
            return sum(a == b for a in first for b in second) if threshold < 1 else 0
        similarities = [a.path_similarity(b) for a in first for b in second]
    return sum(s is not None and s > threshold for s in similarities)


def noun_forms(phrase: Sequence[str]) -> tuple[str, ...]:
    """The nouns that a phrase's words mean: WordNet's compounds, then the last word.

    The last word stays away where the longest compound is no kind of it.

    >>> noun_forms(["red", "police", "van"]), noun_forms(["brown", "teddy", "bear"])
    (('police van', 'van'), ('teddy bear',))
    """
    if not phrase:
        return ()
    parts = (" ".join(phrase[i:]) for i in range(max(0, len(phrase) - 4), len(phrase) - 1))
    compounds = [c for c in parts if c.split()[0] not in LISTS.properties and ancestors(c)]
    alone = bool(compounds) and not is_kind(compounds[0])
    return (*compounds, *(() if alone else phrase[-1:]))


def is_kind(compound: str) -> bool:
    """Is a compound a kind of its last word, by WordNet ("school bus"; not "hot dog")?

    A sense that both share counts where a noun leads the compound ("computer mouse" and "mouse").
    """
    first, _, head = compound.rpartition(" ")
    own = ancestors(compound)
    shared = [own[sense] for sense, steps in ancestors(head).items() if not steps and sense in own]
    return any(shared) or (bool(shared) and bool(ancestors(first)))


@lru_cache(maxsize=16384)
def ancestors(noun: str) -> Mapping[str, int]:
    """Every sense reachable upwards from any noun sense: its name -> the fewest steps to it.

    Empty if WordNet does not know the noun. Raises TasError if WordNet is missing or damaged.
    """
    with _LOCK:
        waiting = list(wordnet().synsets("_".join(noun.lower().split()), "n"))
        steps = {sense.name(): 0 for sense in waiting}
        for sense in waiting:  # grows: nearer senses stand before farther ones
            for parent in [*sense.hypernyms(), *sense.instance_hypernyms()]:
                if parent.name() not in steps:
                    steps[parent.name()] = steps[sense.name()] + 1
                    waiting.append(parent)
    return MappingProxyType(steps)


def wordnet() -> Any:
    """WordNet 3.0, read once (about two seconds) from the project's own zip."""
    with _LOCK:
        return _read_wordnet(paths.NLTK_DATA)


@lru_cache(maxsize=1)
def _read_wordnet(nltk_data: Path) -> Any:
    archive = nltk_data / "corpora" / "wordnet.zip"
    remedy = (
        "restore it with: git checkout -- data/nltk_data"
        f" (or, with a network: python -m nltk.downloader -d {nltk_data} wordnet)"
    )
    if not archive.is_file():
        raise TasError(f"WordNet is missing: no file {archive}; {remedy}")
    import nltk.data
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    class English(WordNetCorpusReader):
        """The reader without its map to other languages' WordNets, half of its loading time."""

        def map_wn(self, version: str = "wordnet") -> None:
            return None

    if str(nltk_data) not in nltk.data.path:
        nltk.data.path.insert(0, str(nltk_data))  # nltk opens nothing outside this list
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # no other languages: none is asked for
            return English(nltk.data.ZipFilePathPointer(str(archive), "wordnet/"), None)
    except (OSError, BadZipFile, ValueError, zlib.error) as error:
        raise TasError(f"WordNet cannot be read from {archive} ({error}); {remedy}") from error
