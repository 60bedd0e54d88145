"""The study on published data sets: what is here, what is to be fetched, which groups they tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tasutils.datasets import RefDataset, load_dataset
from tasutils.datasets.get_data import file_sets
from tasutils.datasets.published import find_place, published
from tasutils.language.reading import find_directions
from tasutils.peer_study import PEER_QUESTIONS
from tasutils.readable import scope_note
from tasutils.study import QUESTIONS, Group, Part

if TYPE_CHECKING:
    import pandas as pd

MINIATURES = "miniatures, whose numbers mean nothing but that the path works"
GROUPS: dict[str, dict[str, Group]] = {
    "direction": QUESTIONS["direction"],
    "length": PEER_QUESTIONS["length"],
    "instances": {
        "the phrase names one thing": lambda s: ~s["multi"].to_numpy(bool),
        "it names several": lambda s: s["multi"].to_numpy(bool),
    },
}


def fetch_table(root: Path | str | None = None) -> pd.DataFrame:
    """What there is to fetch, and what it is for.

    Returns:
        One row for each set of files: command, needed for (the data sets whose annotations are in
        `root` marked "here"), GB ("unknown" where no source states it), terms.
    """
    import pandas as pd

    rows = []
    for files in dict.fromkeys(files for entry in published().values() for files in entry.get):
        users = [name for name, entry in published().items() if files in entry.get]
        sizes = [part.bytes for part in file_sets()[files].parts]
        known = [size for size in sizes if size is not None]
        rows.append({
            "command": f"tas data get {files}",
            "needed for": ", ".join(f"{u} (here)" if is_here(u, root) else u for u in users),
            "GB": f"{sum(known) / 1e9:.2f}" if len(known) == len(sizes) else "unknown",
            "terms": file_sets()[files].terms,
        })  # fmt: skip
    return pd.DataFrame(rows)


def is_here(name: str, root: Path | str | None = None) -> bool:
    """Whether the annotations of a published data set lie in a folder of data sets."""
    place = find_place(name, root)
    found = [*place.folder.glob("instances.json"), *place.folder.glob("refer_*.json")]
    return bool(found or place.mirror)


def open_sets(
    data: str, root: Path | str | None = None, images: Path | str | None = None
) -> list[RefDataset]:
    """The published data sets to study.

    Args:
        data: one of them and a split, such as "refcoco testA"; any other name stands for the split
            val of all that are here.
        root, images: see `load_dataset`.

    Returns:
        Nothing where there is none.

    Raises:
        TasError: no such split, or damaged files.
    """
    name, _, split = data.partition(" ")
    wanted = {name: split} if name in published() else dict.fromkeys(published(), "val")
    here = {name: split for name, split in wanted.items() if is_here(name, root)}
    return [load_dataset(name, split, None, root, images) for name, split in here.items()]


def first_pictures(data: RefDataset, count: int) -> RefDataset:
    """The first pictures of a split, with their samples."""
    kept = dict.fromkeys(data.image_ids[:count])
    samples = tuple(sample for sample in data.samples if sample.image_id in kept)
    return replace(data, samples=samples, images={name: data.images[name] for name in kept})


class WordedPart(Part):
    """A run whose sentences are grouped by their words, where its data set has no flag for it."""

    @cached_property
    def samples(self) -> pd.DataFrame:
        """The run's samples, with `has_direction`: does a direction word count in the sentence?"""
        samples = self.run.samples()
        if "has_direction" not in samples:
            samples["has_direction"] = [bool(find_directions(text)) for text in samples["text"]]
        return samples


def real_note(parts: Sequence[Part], real: bool) -> str:
    """What a table rests on, for its caption; a miniature says that it is one."""
    n = sum(part.run.record.n_used for part in parts)
    return scope_note(parts) if real else f"{MINIATURES}; n = {n} sentences"


def path_words(parts: Sequence[Part]) -> list[str]:
    """Say in words how far miniatures went, and nothing of their scores."""
    lines = [f"These were {MINIATURES}."]
    for part in parts:
        record, answered = part.run.record, int((part.samples["chosen"] >= 0).sum())
        lines.append(
            f"{part.family} {part.split}: {record.n_used} sentences about {record.n_images} "
            f"pictures were read from the published layout, {answered} were answered with a mask."
        )
    return lines
