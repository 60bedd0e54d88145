"""RefScenes, the embedded world: published layouts, plus what its generator knows of a sentence.

Three families are written as RefCOCO is (`<family>/instances.json`, `<family>/refs(tas).p`), one as
PhraseCut is (`phrasescenes/`); all share `images/`. `expressions.parquet` adds the flags by which
the study splits its tables: kind, has_direction, pronoun, seen, distractor, hidden_fraction, and
in_imagenet for the photographic splits, which lie in a folder of their own.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from tasutils.datasets.files import digest_of
from tasutils.datasets.phrasecut import load_phrasecut
from tasutils.datasets.refcoco import load_refcoco
from tasutils.datasets.sample import Flag, RefDataset, Sample
from tasutils.errors import TasError

FAMILIES = ("refscenes", "refscenes+", "refscenesg", "phrasescenes")
SPLIT_BY = "tas"
#: splits of drawn things, and of cut-outs of photographs
SPLITS = ("val", "testA", "testB", "testS")
PHOTO_SPLITS = ("valP", "testP")
_NO_FLAGS = {
    "family", "split", "image_id", "ref_id", "task_id", "sent_id", "text", "raw", "query",
    "targets",
}  # fmt: skip


def load_refscenes(family: str, split: str, root: Path | str | None = None) -> RefDataset:
    """Read one family and split of RefScenes, with its flags.

    Args:
        family: one of `FAMILIES`.
        split: `val`, `testA`, `testB` or `testS`, or of photographs `valP` or `testP`.
        root: the folder of the world; when None `tasutils.paths.REFSCENES`, for photographs
            `tasutils.paths.PHOTOSCENES`.

    Raises:
        TasError: no such family or split (lists those that exist), or a file is missing or damaged.
    """
    from tasutils import paths

    if family not in FAMILIES:
        raise TasError(f"no RefScenes family {family!r}; there are {', '.join(FAMILIES)}")
    if root is None:
        root = paths.PHOTOSCENES if split in PHOTO_SPLITS else paths.REFSCENES
    root = Path(root)
    images_dir, flags_path = root / "images", root / "expressions.parquet"
    if family == "phrasescenes":
        dataset = load_phrasecut(root / family, split, images_dir, name=family)
    else:
        dataset = load_refcoco(root, family, SPLIT_BY, split, images_dir)
    flags = _read_flags(flags_path, family, split)
    return replace(
        dataset,
        samples=tuple(_flagged(sample, flags, family, flags_path) for sample in dataset.samples),
        index_digest=sha256((dataset.index_digest + digest_of([flags_path])).encode()).hexdigest(),
    )


def _read_flags(path: Path, family: str, split: str) -> dict[tuple[str, str], dict[str, Flag]]:
    """Flags by (ref id, sentence id); by (task id, "0") for PhraseCut's layout."""
    import pandas as pd
    import pyarrow

    try:
        table = pd.read_parquet(path)
        table = table[(table["family"] == family) & (table["split"] == split)]
        by_task = family == "phrasescenes"
        refs = table["task_id" if by_task and "task_id" in table else "ref_id"].astype(str)
        sents = ["0"] * len(table) if by_task else table["sent_id"].astype(str)
    except OSError as error:
        reason = error.strerror or "no parquet file"
        raise TasError(
            f"{path}: cannot be read ({reason}); restore it from the repository"
        ) from None
    except (pyarrow.ArrowException, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:80]
        raise TasError(f"{path}: damaged ({reason}); restore it from the repository") from None
    names = [name for name in table.columns if name not in _NO_FLAGS]
    rows = table[names].to_dict("records")
    return {
        (ref, sent): {str(name): _plain(value) for name, value in row.items()}
        for ref, sent, row in zip(refs, sents, rows, strict=True)
    }


def _plain(value: Any) -> Flag:
    """A cell as bool, str or number; what is missing as an empty text."""
    value = value.item() if hasattr(value, "item") else value
    return value if isinstance(value, str | bool | int | float) and value == value else ""


def _flagged(
    sample: Sample, flags: dict[tuple[str, str], dict[str, Flag]], family: str, path: Path
) -> Sample:
    """The sample with the generator's flags beside its own."""
    key = (sample.ref_id, sample.sent_id)
    if key not in flags:
        raise TasError(
            f"{path}: no row for {family} {sample.split} ref {key[0]} sentence "
            f"{key[1]}; restore its folder from the repository"
        )
    return replace(sample, flags={**sample.flags, **flags[key]})
