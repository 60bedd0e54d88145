"""Near synonyms by WordNet's path similarity (article, N-score), over noun senses only.

Path similarity of two senses is 1 / (1 + d), d the length of the shortest path between them over
hypernyms. The possible values are 1, 1/2, 1/3, ...; a threshold of 0.9 therefore asks for one
common sense ("couch" and "sofa" 1.0; "puppy" and "dog" 0.5).
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from threading import RLock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from tasutils import paths
from tasutils.errors import TasError

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOCK = RLock()  # the reader seeks in shared streams


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


def are_synonyms(noun_a: str, noun_b: str, threshold: float = 0.9) -> bool:
    """Is the path similarity of any pair of noun senses at least `threshold`?

    >>> are_synonyms("car", "automobile"), are_synonyms("car", "bus")
    (True, False)
    """
    return path_similarity(noun_a, noun_b) >= threshold


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


def noun_forms(words: Sequence[str]) -> tuple[str, ...]:
    """The nouns under which WordNet may know a phrase: its known compounds, then its last word.

    words: the words of a noun phrase up to its head noun, e.g. ("red", "fire", "engine").

    >>> noun_forms(["red", "fire", "engine"])
    ('fire engine', 'engine')
    """
    if not words:
        return ()
    compounds = (" ".join(words[i:]) for i in range(max(0, len(words) - 4), len(words) - 1))
    return (*(c for c in compounds if ancestors(c)), words[-1])


@lru_cache(maxsize=16384)
def ancestors(noun: str) -> Mapping[str, int]:
    """Every sense reachable upwards from any noun sense: its name -> the fewest steps to it.

    Empty if WordNet does not know the noun. Raises TasError if WordNet is missing or damaged.
    """
    nearest: dict[str, int] = {}
    with _LOCK:
        for synset in wordnet().synsets("_".join(noun.lower().split()), pos="n"):
            for sense, steps in synset.hypernym_distances():
                name = sense.name()
                nearest[name] = min(steps, nearest.get(name, steps))
    return MappingProxyType(nearest)


def wordnet() -> Any:
    """WordNet 3.0, read once (about two seconds) from the project's own zip."""
    with _LOCK:
        return _read_wordnet(paths.NLTK_DATA)


@lru_cache(maxsize=1)
def _read_wordnet(nltk_data: Path) -> Any:
    archive = nltk_data / "corpora" / "wordnet.zip"
    if not archive.is_file():
        raise TasError(f"WordNet is missing: no file {archive}; {_remedy(nltk_data)}")
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
        raise TasError(
            f"WordNet cannot be read from {archive} ({error}); {_remedy(nltk_data)}"
        ) from error


def _remedy(nltk_data: Path) -> str:
    return (
        "restore it with: git checkout -- data/nltk_data"
        f" (or, with a network: python -m nltk.downloader -d {nltk_data} wordnet)"
    )
