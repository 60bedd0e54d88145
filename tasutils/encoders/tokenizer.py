"""The tiny models' own vocabulary: byte-pair merges in the file format of CLIP's tokenizer.

The published vocabulary of 49,408 entries would weigh 25 MB in a text tower of width 128; this
one has about 1,700 entries and falls back to bytes, so that any text can be written with it.
"""

import gzip
import zlib
from pathlib import Path
from typing import Any

from tasutils.errors import TasError

CONTEXT_LENGTH = 77
_MAX_BYTES = 1 << 23  # unpacked; CLIP's own are 3 MB


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


def vocabulary(path: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Token -> id and the merges of a tokenizer file, start and end of text last."""
    tokenizer = tiny_tokenizer(path)
    merges = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__)
    return dict(tokenizer.encoder), merges
