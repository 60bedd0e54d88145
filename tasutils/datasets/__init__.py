"""Data sets of referring expressions, read in their published layouts.

`load_dataset` opens what ships with the project; the readers of RefCOCO's and PhraseCut's layouts
lie in `refcoco` and `phrasecut`.
"""

from __future__ import annotations

from tasutils.datasets.sample import RefDataset, Sample

__all__ = ["RefDataset", "Sample", "dataset_names", "load_dataset"]


def dataset_names() -> tuple[str, ...]:
    """Names that `load_dataset` knows: the families of RefScenes, and photos7."""
    from tasutils.datasets.photos7 import NAME
    from tasutils.datasets.refscenes import FAMILIES

    return (*FAMILIES, NAME)


def load_dataset(name: str, split: str) -> RefDataset:
    """Open one split of a data set that ships with the project.

    Raises:
        TasError: no such data set or split (lists those that exist), damaged files, or a package
            that is missing.
    """
    from tasutils.datasets.photos7 import NAME, load_photos7
    from tasutils.datasets.refscenes import load_refscenes
    from tasutils.errors import TasError

    if name not in dataset_names():
        raise TasError(f"no data set {name!r}; there are {', '.join(dataset_names())}")
    return load_photos7(split) if name == NAME else load_refscenes(name, split)
