"""Masks of own data: PNG files, COCO run lengths, polygons; see `own`."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasutils.datasets.shapes import segmentation_mask
from tasutils.errors import TasError
from tasutils.images import FORMATS, check_size, file_bytes, is_file

_LOSSY, _ALPHA = {"JPEG", "WEBP"}, {"LA", "PA", "La"}


@dataclass(frozen=True)
class MaskSource:
    """A mask as a row names it.

    Attributes:
        cell: a path, JSON text, or what JSON text means.
        value: the label of the target in a PNG of labels; empty for whatever is not 0.
        folder: what paths are relative to.
    """

    cell: Any
    value: str
    folder: Path


def own_path(name: str) -> Path:
    """A path as it stands in a cell; raises TasError where its `~` is nobody's folder."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise TasError(f"{name!r}: no such user's folder") from None


def read_mask(
    source: MaskSource, size_hw: tuple[int, int]
) -> tuple[NDArray[np.bool_], Path | None]:
    """The mask, bool (H, W), and the file it came from, None when it stood in the row.

    Raises:
        TasError: no such file, none of the known forms, another size than the picture's, or no
            pixel in it.
    """
    cell, path = source.cell, None
    if isinstance(cell, str) and cell[:1] not in "[{":
        path = source.folder / own_path(cell)
        if path.suffix.lower() != ".json":
            return _labels_mask(path, source.value, size_hw), path
        cell = _read_text(path)
    if source.value:
        raise TasError(f"a value {source.value!r} goes with a PNG of labels only")
    name = "mask" if path is None else str(path)
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError):
            raise TasError(f"{name}: no JSON of run lengths or polygons") from None
    return _shape_mask(cell, size_hw, name), path


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise TasError(f"{path}: no JSON") from None
    except (OSError, ValueError):  # ValueError: a name that no file can have
        raise TasError(f"no mask at {path}") from None


def _shape_mask(shape: Any, size_hw: tuple[int, int], name: str) -> NDArray[np.bool_]:
    if isinstance(shape, list):
        if not shape or any(not isinstance(p, list) or len(p) < 6 for p in shape):
            raise TasError(
                f"{name}: a polygon needs three points or more, as in [[x0, y0, x1, y1, x2, y2]]"
            )
    elif not isinstance(shape, dict):
        raise TasError(f"{name}: neither run lengths nor polygons")
    try:
        mask = segmentation_mask(shape, size_hw, name)
    except TasError as error:
        raise TasError(str(error).partition(";")[0]) from None
    if not mask.any():
        raise TasError(f"{name}: covers no pixel of the picture")
    return mask


def _labels_mask(path: Path, value: str, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    labels = read_labels(path, size_hw)
    if not value:
        mask = labels.any(axis=2) if labels.ndim == 3 else labels != 0
        if not mask.any():
            raise TasError(f"{path}: no pixel that is not 0")
        return np.asarray(mask, np.bool_)
    if labels.ndim == 3:
        raise TasError(f"{path}: a value goes with a PNG of one channel or a palette")
    try:
        wanted = int(value)
    except ValueError:
        raise TasError(f"value {value!r} is no whole number") from None
    mask = labels == wanted
    if not mask.any():
        there = ", ".join(map(str, np.unique(labels)[:8].tolist()))
        raise TasError(f"{path}: no pixel with value {wanted}; there are {there}")
    return mask


def read_labels(path: Path, size_hw: tuple[int, int] | None = None) -> NDArray[Any]:
    """The numbers of a mask file: (H, W) of indices or grey values, or (H, W, 3) of colours.

    size_hw: where it is known, what is not of this size is not even decoded.
    """
    from PIL import Image

    if not is_file(path):
        raise TasError(f"no mask at {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file_bytes(path), formats=FORMATS) as image:
                check_size(image.width, image.height, str(path))
                if size_hw is not None and (image.height, image.width) != size_hw:
                    raise TasError(
                        f"{path}: the mask is {image.width} x {image.height} px, "
                        f"its picture {size_hw[1]} x {size_hw[0]}"
                    )
                if image.format in _LOSSY:
                    raise TasError(f"{path}: {image.format} blurs masks; save it as PNG")
                labels = np.asarray(image if image.mode not in _ALPHA else image.convert("RGBA"))
    except TasError:
        raise
    except Exception as error:  # Pillow raises many types for damaged files
        raise TasError(f"{path}: no mask that can be read ({type(error).__name__})") from None
    return labels[:, :, :3] if labels.ndim == 3 else labels
