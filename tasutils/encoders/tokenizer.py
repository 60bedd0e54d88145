"""The tiny models' own vocabulary: byte-pair merges in the file format of CLIP's tokenizer.

The published vocabulary of 49,408 entries would weigh 25 MB in a text tower of width 128; this
one has about 1,700 entries and falls back to bytes, so that any text can be written with it.
"""

import gzip
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tasutils.errors import TasError

CONTEXT_LENGTH = 77
_MAX_BYTES = 1 << 23  # unpacked; CLIP's own are 3 MB
HEADER = "#tasutils byte-pair merges, format of open_clip SimpleTokenizer"


def tiny_tokenizer(path: Path) -> Any:
    """`open_clip.tokenizer.SimpleTokenizer` over a file of merges; int64 (n, 77) of n texts.

    Raises:
        TasError: when the file is missing or not a gzip file of merges.
    """
    from open_clip.tokenizer import SimpleTokenizer

    if not Path(path).is_file():
        raise TasError(f"no tokenizer at {path}; restore the folder data/weights")
    try:
        with gzip.open(path) as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise ValueError("longer than any")
        lines = filter(None, data.decode().split("\n")[1:])
        if fault := next((line for line in lines if len(line.split()) != 2), None):
            raise ValueError(f"no merge: {fault[:40]!r}")
        return SimpleTokenizer(bpe_path=str(path), context_length=CONTEXT_LENGTH)
    except (OSError, ValueError, EOFError, zlib.error, LookupError) as error:
        raise TasError(f"tokenizer {path} is damaged ({error}); restore the file") from error


def count_words(texts: Iterable[str]) -> Counter[str]:
    """How often each whitespace-separated lower-case word occurs.

    >>> count_words(["a red car", "a dog"])["a"]
    2
    """
    return Counter(word for text in texts for word in text.lower().split())


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
    spelled = {
        word: [letters[byte] for byte in word.encode()[:-1]] + [letters[word.encode()[-1]] + "</w>"]
        for word in sorted(words)
    }
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
    position = 0
    while position < len(parts):
        if tuple(parts[position : position + 2]) == pair:
            joined.append(pair[0] + pair[1])
            position += 2
        else:
            joined.append(parts[position])
            position += 1
    return joined


def write_merges(path: Path, merges: list[tuple[str, str]]) -> None:
    """Write merges as a gzip file whose bytes depend on the merges alone."""
    text = "\n".join([HEADER, *(" ".join(pair) for pair in merges)])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as file:
        file.write(text.encode())


def vocabulary(path: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Token -> id and the merges of a tokenizer file, start and end of text last."""
    tokenizer = tiny_tokenizer(path)
    merges = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__)
    return dict(tokenizer.encoder), merges
