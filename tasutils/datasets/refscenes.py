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

from tasutils import paths
from tasutils.datasets.coco import load_refcoco
from tasutils.datasets.files import digest_of
from tasutils.datasets.phrasecut import load_phrasecut
from tasutils.datasets.sample import DataSet, Flag, RefDataset
from tasutils.errors import TasError

_NO_FLAGS = {
    "family", "split", "image_id", "ref_id", "task_id", "sent_id", "text", "raw", "query",
    "targets",
}  # fmt: skip


class Family(DataSet):
    """One family of sentences about the pictures of RefScenes; `layout` as it is written."""

    drawn = ("val", "testA", "testB", "testS")
    splits = (*drawn, "valP", "testP")
    takes = ("root",)
    group = "refscenes"

    def __init__(self, name: str, layout: str = "refcoco") -> None:
        self.name, self.layout = name, layout

    def load(self, split: str, *, root: Path | str | None = None, **_: Any) -> RefDataset:
        """Read a split with its flags; `valP` and `testP` are of cut-outs of photographs.

        `root` is the folder of the world; when None `paths.REFSCENES`, for photographs
        `paths.PHOTOSCENES`. Raises TasError where there is no such split (lists those there are),
        or a file is missing or damaged.
        """
        photographs = split in self.splits and split not in self.drawn
        world = Path(root or (paths.PHOTOSCENES if photographs else paths.REFSCENES))
        by_task = self.layout == "phrasecut"
        if by_task:
            data = load_phrasecut(world / self.name, split, world / "images", name=self.name)
        elif split in self.splits:
            data = load_refcoco(world, self.name, "tas", split, world / "images")
        else:
            raise TasError(f"{self.name} has no split {split!r}; it has {', '.join(self.splits)}")
        path = world / "expressions.parquet"
        flags = _read_flags(path, self.name, split, by_task)
        digest = sha256((data.index_digest + digest_of([path])).encode()).hexdigest()
        samples = []
        for sample in data.samples:
            found = flags.get((sample.ref_id, sample.sent_id))
            if found is None:
                said = f"split {sample.split} ref {sample.ref_id} sentence {sample.sent_id}"
                raise TasError(f"{path}: no row for {said}; restore its folder from the repository")
            samples.append(replace(sample, flags={**sample.flags, **found}))
        return replace(data, samples=tuple(samples), index_digest=digest)


def _read_flags(
    path: Path, family: str, split: str, by_task: bool
) -> dict[tuple[str, str], dict[str, Flag]]:
    """Flags by (ref id, sentence id); by (task id, "0") for PhraseCut's layout."""
    import pandas as pd
    import pyarrow

    try:
        table = pd.read_parquet(path)
        table = table[(table["family"] == family) & (table["split"] == split)]
        refs = table["task_id" if by_task and "task_id" in table else "ref_id"].astype(str)
        sents = ["0"] * len(table) if by_task else table["sent_id"].astype(str)
    except (OSError, pyarrow.ArrowException, KeyError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:80]
        remedy = "restore it from the repository"
        raise TasError(f"{path}: cannot be read ({reason}); {remedy}") from None
    rows = table.drop(columns=_NO_FLAGS & set(table.columns)).to_dict("records")
    return {
        (ref, sent): {str(name): _plain(value) for name, value in row.items()}
        for ref, sent, row in zip(refs, sents, rows, strict=True)
    }


def _plain(value: Any) -> Flag:
    """A cell as bool, str or number; what is missing as an empty text."""
    value = value.item() if hasattr(value, "item") else value
    return value if isinstance(value, str | bool | int | float) and value == value else ""
