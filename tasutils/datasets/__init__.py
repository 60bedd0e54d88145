"""Data sets of referring expressions, each read in its published layout.

`load_dataset` opens what ships with the project (RefScenes, photos7), the published data sets that
lie on this disk, and own pictures with sentences.
"""

from __future__ import annotations

from pathlib import Path

from tasutils.datasets.sample import RefDataset, Sample

__all__ = ["RefDataset", "Sample", "dataset_names", "default_preset", "load_dataset"]


def dataset_names() -> tuple[str, ...]:
    """Names that `load_dataset` knows: families of RefScenes, photos7, published sets, own."""
    from tasutils.datasets.own import NAME as OWN
    from tasutils.datasets.photos7 import NAME
    from tasutils.datasets.published import published
    from tasutils.datasets.refscenes import FAMILIES

    return (*FAMILIES, NAME, *published(), OWN)


def load_dataset(
    name: str,
    split: str,
    split_by: str | None = None,
    root: Path | str | None = None,
    images: Path | str | None = None,
) -> RefDataset:
    """Open one split of a data set.

    Args:
        name: one of `dataset_names`.
        split: such as `val`; for `own` the path of a CSV or JSONL file, see `own`.
        split_by: whose splits, of RefCOCO (`unc`, `google`) and RefCOCOg (`umd`, `google`); None
            takes the usual ones, unc and of RefCOCOg umd.
        root: the folder of published data sets, see `published`; data/ when None. Of a family of
            RefScenes, the folder of the world.
        images: the folder of a published set's images; None looks in the published places. Of own
            data, the folder that picture names are relative to; None is that of the file.

    Raises:
        TasError: no such data set or split (lists those that exist), an argument that the data set
            does not take, missing or damaged files, or a package that is missing.
    """
    from tasutils.datasets import own, photos7, published
    from tasutils.datasets.refscenes import load_refscenes
    from tasutils.errors import TasError

    if name not in dataset_names():
        raise TasError(f"no data set {name!r}; there are {', '.join(dataset_names())}")
    if name in published.published():
        return published.load_published(name, split, split_by, root, images)
    ignored: list[tuple[str, Path | str | None]] = [("split_by", split_by)]
    if name == own.NAME:
        ignored.append(("root", root))
    else:
        ignored.append(("images", images))
    for option, value in ignored:
        if value is not None:
            raise TasError(f"{name} takes no {option}; leave out {value}")
    if name == own.NAME:
        return own.load_own(split, images)
    if name == photos7.NAME:
        return photos7.load_photos7(split, root)
    return load_refscenes(name, split, root)


def default_preset(name: str, split: str, images: Path | str | None = None) -> str:
    """The preset that fits a data set: `tiny` for drawn pictures, `photo` for photographs.

    Own data is taken for drawn when all of its pictures have the size of RefScenes. Arguments and
    errors otherwise as in `load_dataset`.
    """
    from tasutils.datasets import own
    from tasutils.datasets.refscenes import FAMILIES, PHOTO_SPLITS

    if name == own.NAME:
        sizes = {entry.size_hw for entry in own.load_own(split, images).images.values()}
        return "tiny" if sizes == {(240, 320)} else "photo"
    return "tiny" if name in FAMILIES and split not in PHOTO_SPLITS else "photo"
