"""The tiny models' own vocabulary: byte-pair merges in the file format of CLIP's tokenizer.

The published vocabulary of 49,408 entries would weigh 25 MB in a text tower of width 128; this
one has about 1,700 entries and falls back to bytes, so that any text can be written with it.
"""

from __future__ import annotations

import gzip
import io
from collections import Counter

from making.words import vocabulary_texts
from tasutils.paths import WEIGHTS

TOKENIZER = WEIGHTS / "tiny" / "tokenizer.txt.gz"
N_MERGES = 1200
HEADER = "#tasutils byte-pair merges, format of open_clip SimpleTokenizer"


def merges_bytes() -> bytes:
    """The file: gzip of the merges learned from `vocabulary_texts`, the same bytes each time."""
    words = Counter(word for text in vocabulary_texts() for word in text.lower().split())
    text = "\n".join([HEADER, *(" ".join(pair) for pair in train_merges(words, N_MERGES))])
    raw = io.BytesIO()  # gzip.compress writes another header from one Python to the next
    with gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as file:
        file.write(text.encode())
    return raw.getvalue()


def train_merges(words: Counter[str], n_merges: int) -> list[tuple[str, str]]:
    """Byte-pair encoding (Sennrich et al. 2016): join the most frequent pair, again and again.

    Args:
        words: word counts; ties are broken alphabetically, so that the result is reproducible.
        n_merges: how many merges at most; fewer when every word is one token already.

    >>> train_merges(Counter({"low": 3, "lot": 1}), 2)
    [('l', 'o'), ('lo', 'w</w>')]
    """
    from open_clip.tokenizer import bytes_to_unicode

    letters = bytes_to_unicode()
    spelled = {word: [letters[byte] for byte in word.encode()] for word in sorted(words)}
    for parts in spelled.values():
        parts[-1] += "</w>"
    merges: list[tuple[str, str]] = []
    while len(merges) < n_merges:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in spelled.items():
            for pair in zip(parts, parts[1:], strict=False):
                pairs[pair] += words[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        spelled = {word: _join(parts, best) for word, parts in spelled.items()}
    return merges


def _join(parts: list[str], pair: tuple[str, str]) -> list[str]:
    joined: list[str] = []
    for part in parts:
        if joined and (joined[-1], part) == pair:
            joined[-1] += part
        else:
            joined.append(part)
    return joined
