"""What an engine works on: the pictures of a data set, a shard of them, and opening one."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tasutils.errors import TasError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tasutils.datasets import RefDataset
    from tasutils.store import SceneStore


@dataclass(frozen=True, slots=True)
class Item:
    """One picture to describe; `size_hw` is what its annotations say, in px, if they do."""

    image_id: str
    path: Path
    size_hw: tuple[int, int] | None = None


class Outcome(NamedTuple):
    """What a run did: scenes described, scenes that were there, and (image_id, reason) of faults.

    The three add up to the pictures that it was given.
    """

    n_done: int
    n_had: int
    failed: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Had:
    """What a store has of a configuration: keys, and the key by digest of a picture's file."""

    describe_digest: str
    keys: frozenset[str]
    by_source: dict[str, str]


@dataclass(frozen=True, slots=True)
class Opened:
    """An item as its reader leaves it: `image` is None if its scene is there or it has a fault.

    `source` is the digest of the file and of what decodes it; `fault` is why it cannot be read.
    """

    item: Item
    key: str = ""
    source: str = ""
    image: NDArray[np.uint8] | None = None
    fault: str = ""


def items_of(dataset: RefDataset) -> list[Item]:
    """The pictures of a data set that have samples, in the order of the first of these."""
    return [
        Item(image_id, dataset.image_path(image_id), dataset.size_hw(image_id))
        for image_id in dataset.image_ids
    ]


def shard_of(items: Sequence[Item], i: int, n: int) -> list[Item]:
    """Every n-th item from the i-th on; the shards 0 .. n - 1 are disjoint and hold all.

    Raises:
        TasError: there is no such shard.
    """
    if not 0 <= i < n:
        raise TasError(f"no shard {i}/{n}; give i/n with i from 0 to n - 1, such as 0/2")
    return list(items[i::n])


def had_by(store: SceneStore, describe_digest: str) -> Had:
    """What a store has now; `describe_digest` is `Preset.describe_digest()`."""
    return Had(describe_digest, frozenset(store.keys()), store.keys_by_source(describe_digest))


def open_item(item: Item, had: Had) -> Opened:
    """Read a picture's file; decode it only if its scene is not there.

    The digest of the file's bytes tells, not its name or date, so a changed picture is seen. What
    decodes it is part of that digest: another Pillow may give other pixels, hence another key.
    """
    from tasutils.images import decode_image
    from tasutils.store import scene_key

    try:
        data = _bytes_of(item.path)
        source = hashlib.sha256(_decoder() + data).hexdigest()[:40]
        if source in had.by_source:
            return Opened(item, had.by_source[source], source)
        image = decode_image(io.BytesIO(data), str(item.path))
        check_size(item.path, image, item.size_hw)
    except TasError as error:
        return Opened(item, fault=str(error))
    key = scene_key(image, had.describe_digest)
    return Opened(item, key, source, None if key in had.keys else image)


def check_size(path: Path, image: NDArray[np.uint8], size_hw: tuple[int, int] | None) -> None:
    """Raise TasError if a picture (H, W, 3) has not the (H, W) that its annotations say."""
    if size_hw is not None and image.shape[:2] != size_hw:
        raise TasError(
            f"{path}: the picture is {image.shape[0]} x {image.shape[1]} px (H x W), its "
            f"annotations say {size_hw}; get the picture again"
        )


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise TasError(f"no picture at {path}; check the path") from None
    except OSError as error:
        raise TasError(f"cannot read {path} ({error.strerror}); check the path") from error


@cache
def _decoder() -> bytes:
    from PIL import __version__, features

    return f"Pillow {__version__} {features.version('jpg')} ".encode()
