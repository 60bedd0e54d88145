"""Masks of own data: pictures, COCO's shapes, and those of labelme, VIA, Label Studio and CVAT.

What can be read in one way only is read; of the rest the message names the form and the way out.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from tasutils.datasets.shapes import segmentation_mask
from tasutils.errors import TasError
from tasutils.images import FORMATS, check_size, file_bytes, is_file

_LOSSY = {"JPEG", "WEBP"}
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap the sides
_MOST_COLOURS = 16
_WAY_OUT = "name the target's label in the column value"
Shapes = list[tuple[str, Any]]  # label; segmentation as in COCO, None if it is of another kind


def find_file(folder: Path, name: str) -> Path:
    """The file that a cell names, relative to a folder; paths of Windows are read everywhere."""
    try:
        path = folder / Path(name).expanduser()
    except RuntimeError:
        raise TasError(f"{name!r}: no such user's folder") from None
    if "\\" in name and not is_file(path):
        return folder / PureWindowsPath(name).as_posix()
    return path


def read_mask(
    cell: Any, value: str, folder: Path, size_hw: tuple[int, int], picture: str = ""
) -> tuple[NDArray[np.bool_], Path | None]:
    """The mask of a row, bool (H, W), and the file it came from, None when it stood in the row.

    `cell` is a path relative to `folder`, JSON text, or what JSON text means; `value` the target's
    label in a PNG of labels or a file of several shapes, empty for whatever is not 0 or the only
    shape; by `picture`, its file's name, a file about several pictures is asked. Raises TasError
    where there is no such file, none of the known forms, another size than the picture's, no pixel
    in it, or more than one way to read it.
    """
    name, path = "mask", None
    if isinstance(cell, str) and cell[:1] not in "[{":
        path = find_file(folder, cell)
        name = str(path)
        if path.suffix.lower() == ".xml":
            raise TasError(f"{name}: an XML file, as CVAT and VOC write them; export masks as PNG")
        if path.suffix.lower() != ".json":
            return _picture_mask(path, value, size_hw), path
        try:
            cell = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise TasError(f"{path}: no JSON") from None
        except (OSError, ValueError):  # ValueError: a name that no file can have
            raise TasError(f"no mask at {path}") from None
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError):
            raise TasError(f"{name}: no JSON of run lengths or polygons") from None
    return _shape_mask(cell, value, size_hw, name, picture), path


# ---- pictures


def _picture_mask(path: Path, value: str, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    image = open_mask(path, size_hw)
    if not value:
        mask = _foreground(image, str(path))
        if not mask.any():
            raise TasError(f"{path}: no pixel that is not 0")
        return mask
    labels = np.asarray(image)
    if labels.ndim == 3:
        raise TasError(f"{path}: a value goes with a PNG of one channel or a palette")
    try:
        wanted = float(value)
        if wanted != int(wanted):
            raise ValueError
    except (ValueError, OverflowError):
        raise TasError(f"value {value!r} is no whole number") from None
    mask = labels == int(wanted)
    if not mask.any():
        there = ", ".join(map(str, np.unique(labels)[:8].tolist()))
        raise TasError(f"{path}: no pixel with value {int(wanted)}; there are {there}")
    return mask


def open_mask(path: Path, size_hw: tuple[int, int] | None = None) -> Image.Image:
    """The picture of a mask, upright; raises TasError where it is none, or of another size."""
    if not is_file(path):
        raise TasError(f"no mask at {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file_bytes(path), formats=FORMATS) as image:
                check_size(image.width, image.height, str(path))
                width, height = image.size
                if image.getexif().get(0x0112, 1) in _TURNED:
                    width, height = height, width
                if size_hw is not None and (height, width) != size_hw:
                    sizes = f"{width} x {height} px, its picture {size_hw[1]} x {size_hw[0]}"
                    if (width, height) == size_hw:
                        sizes += "; is one of them turned by its EXIF note?"
                    raise TasError(f"{path}: the mask is {sizes}")
                if image.format in _LOSSY:
                    remedy = "export the mask anew as PNG (this file saved as PNG stays blurred)"
                    raise TasError(f"{path}: {image.format} blurs masks; {remedy}")
                return ImageOps.exif_transpose(image)
    except TasError:
        raise
    except Exception as error:  # Pillow raises many types for damaged files
        raise TasError(f"{path}: no mask that can be read ({type(error).__name__})") from None


def _foreground(image: Image.Image, name: str) -> NDArray[np.bool_]:
    """Whatever is not 0, bool (H, W), of colours or of transparency, where it is plain which."""
    if image.mode in ("1", "I", "I;16", "F"):
        return np.asarray(image) != 0
    try:
        rgba = np.asarray(image.convert("RGBA"))
    except ValueError:
        raise TasError(f"{name}: {image.mode} is no mode of masks; save it as PNG") from None
    colours, alpha = rgba[:, :, :3], rgba[:, :, 3]
    clear = not (alpha == alpha[0, 0]).all()  # somewhere, and not everywhere alike
    if clear and (colours == colours[0, 0]).all():
        return _two_values(alpha, name)
    if image.mode == "P":
        mask = _palette_mask(image, colours, name)
    elif (colours == colours[:, :, :1]).all():
        mask = _two_values(colours[:, :, 0], name)
    else:
        n_colours = len(np.unique(colours @ np.array([1 << 16, 1 << 8, 1])))
        if n_colours > _MOST_COLOURS:
            raise TasError(f"{name}: a picture of {n_colours} colours is no mask; paint it in two")
        mask = np.asarray(colours.any(axis=2))
    if clear and ((alpha > 0) != mask).any():
        wrong = "its colours show another mask than its transparency"
        raise TasError(f"{name}: {wrong}; save the one that is meant in black and white")
    return mask


def _two_values(values: NDArray[np.uint8], name: str) -> NDArray[np.bool_]:
    """Whatever is not 0; labels are taken as well, white among other values is not."""
    there = np.unique(values)
    odd = there[(there > 0) & (there < there[-1])]
    if there[-1] >= 250 and len(odd):
        n_px, some = int(np.isin(values, odd).sum()), ", ".join(map(str, odd[:3].tolist()))
        raise TasError(
            f"{name}: {n_px} px have other values than 0 and {there[-1]}, such as {some}, as JPEG "
            "and smooth scaling leave them; save it in two values, or name the target's in the "
            "column value"
        )
    return values > 0


def _palette_mask(image: Image.Image, colours: NDArray[np.uint8], name: str) -> NDArray[np.bool_]:
    """The indices that are not 0, or the white ones of black and white."""
    indices = np.asarray(image)
    zero = colours[indices == 0][:1].ravel()  # the colour of index 0, where it is used
    if not zero.any() or (colours == zero).all():
        return indices != 0
    if np.isin(colours, (0, 255)).all() and (colours == colours[:, :, :1]).all():
        return colours[:, :, 0] > 0
    raise TasError(
        f"{name}: a palette whose index 0 has the colour {tuple(zero.tolist())}, so what is "
        "background is not plain; name the target's index in the column value"
    )


# ---- shapes


def _shape_mask(
    content: Any, value: str, size_hw: tuple[int, int], name: str, picture: str
) -> NDArray[np.bool_]:
    found = _tool_shapes(content, size_hw, name, picture)
    if found is None:
        if value:
            raise TasError(f"a value {value!r} goes with a PNG of labels only")
        parts = [_coco_form(content, name)]
    else:
        parts = _chosen(*found, value, name)
    mask = np.zeros(size_hw, np.bool_)
    for part in parts:
        if isinstance(part, np.ndarray):
            mask |= part
            continue
        try:
            mask |= segmentation_mask(part, size_hw, name)
        except TasError as error:
            raise TasError(str(error).partition(";")[0]) from None
    if not mask.any():
        raise TasError(f"{name}: covers no pixel of the picture")
    return mask


def _coco_form(content: Any, name: str) -> Any:
    """Run lengths as they are; polygons as [[x0, y0, x1, y1, ...], ...], from pairs as well."""
    if isinstance(content, dict):
        return content
    if not isinstance(content, list):
        raise TasError(f"{name}: neither run lengths nor polygons")
    depth, first = 0, content
    while isinstance(first, list) and first:
        depth, first = depth + 1, first[0]
    pairs = depth == 3 or (depth == 2 and all(isinstance(p, list) and len(p) == 2 for p in content))
    polygons = content if depth == 3 or (depth == 2 and not pairs) else [content]
    if pairs:
        try:
            polygons = [[c for x, y in polygon for c in (x, y)] for polygon in polygons]
        except (TypeError, ValueError):
            raise TasError(f"{name}: polygons of points that are no pairs x, y") from None
    if not depth or any(not isinstance(p, list) or len(p) < 6 for p in polygons):
        form = "[[x0, y0, x1, y1, x2, y2]]"
        raise TasError(f"{name}: a polygon needs three points or more, as in {form}")
    return polygons


def _chosen(form: str, shapes: Shapes, value: str, name: str) -> list[Any]:
    """The shapes that are meant: those with the label `value`, or the only one."""
    labels = ", ".join(sorted({label for label, _ in shapes})[:5])
    parts = [shape for label, shape in shapes if not value or label == value]
    if not parts:
        there = f"it has {labels}" if value and shapes else "it has none for this picture"
        lacking = f"{name}: this is {form} without a shape {value}; {there}"
        raise TasError(lacking.replace(" ;", ";"))
    if not value and len(parts) > 1:
        raise TasError(f"{name}: this is {form} of {len(parts)} shapes ({labels}); {_WAY_OUT}")
    if any(part is None for part in parts):
        wrong = "its shape neither polygon nor box; export the mask as PNG"
        raise TasError(f"{name}: this is {form}, {wrong}")
    return parts


def _tool_shapes(
    content: Any, size_hw: tuple[int, int], name: str, picture: str
) -> tuple[str, Shapes] | None:
    """The form of a tool's file and its shapes; None for COCO's run lengths and polygons."""
    try:
        if isinstance(content, list) and content and isinstance(content[0], dict):
            return "a Label Studio export", list(_label_studio(content, size_hw, picture))
        if not isinstance(content, dict):
            return None
        if "shapes" in content:
            said = (content.get("imageHeight"), content.get("imageWidth"))
            if None not in said and said != size_hw:
                sizes = f"{said[1]} x {said[0]} px, not {size_hw[1]} x {size_hw[0]}"
                raise TasError(f"{name}: a labelme file of a picture of {sizes}")
            return "a labelme file", [(str(s["label"]), _labelme(s)) for s in content["shapes"]]
        if "images" in content and "annotations" in content:
            remedy = "give each row one annotation's segmentation"
            raise TasError(f"{name}: this is a whole COCO file; {remedy}")
        if "annotations" in content or "completions" in content:
            return "a Label Studio task", list(_label_studio([content], size_hw, picture))
        if "segmentation" in content:
            return "a COCO annotation", [("", _coco_form(content["segmentation"], name))]
        if {"rle", "left", "top"} <= set(content):
            return "a CVAT mask", [(str(content.get("label", "")), _cvat(content, size_hw))]
        files = content.get("_via_img_metadata", content)
        if any(isinstance(entry, dict) and "regions" in entry for entry in files.values()):
            return "a VIA file", list(_via(files, picture))
    except TasError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise TasError(f"{name}: damaged ({type(error).__name__}: {str(error)[:60]})") from None
    return None


def _box(x: float, y: float, width: float, height: float) -> list[list[float]]:
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def _labelme(shape: dict[str, Any]) -> Any:
    points, kind = shape["points"], shape.get("shape_type", "polygon")
    if kind == "rectangle":
        (a, b), (c, d) = points
        return _box(min(a, c), min(b, d), abs(c - a), abs(d - b))
    return [[c for x, y in points for c in (x, y)]] if kind == "polygon" else None


def _via(files: dict[str, Any], picture: str) -> Iterator[tuple[str, Any]]:
    for entry in files.values():
        if entry["filename"] != picture and len(files) > 1:
            continue
        regions = entry["regions"]
        for region in regions.values() if isinstance(regions, dict) else regions:
            shape, named = region["shape_attributes"], region.get("region_attributes", {})
            label = next((v for v in named.values() if isinstance(v, str)), "")
            if shape["name"] in ("polygon", "polyline"):
                pairs = zip(shape["all_points_x"], shape["all_points_y"], strict=True)
                yield label, [[c for pair in pairs for c in pair]]
            elif shape["name"] == "rect":
                yield label, _box(shape["x"], shape["y"], shape["width"], shape["height"])
            else:
                yield label, None


def _label_studio(
    tasks: list[Any], size_hw: tuple[int, int], picture: str
) -> Iterator[tuple[str, Any]]:
    for task in tasks:
        links = map(str, task.get("data", {}).values()) if len(tasks) > 1 else [picture]
        if not any(link.endswith(picture) for link in links):
            continue
        for annotation in task.get("annotations") or task.get("completions") or []:
            for result in annotation["result"]:
                value = result["value"]
                width, height = result["original_width"] / 100, result["original_height"] / 100
                labels = (v[0] for k, v in value.items() if k.endswith("labels") and v)
                label = str(next(labels, ""))
                if "points" in value:
                    yield label, [[c for x, y in value["points"] for c in (x * width, y * height)]]
                elif value.get("format") == "rle":
                    yield label, _brush(bytes(value["rle"]), size_hw)
                elif "width" in value and not value.get("rotation"):
                    box = [value[name] for name in ("x", "y", "width", "height")]
                    yield label, _box(*np.multiply(box, [width, height] * 2).tolist())
                else:
                    yield label, None


def _brush(data: bytes, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Label Studio's run lengths (thi.ng/rle-pack) of the RGBA values of all pixels."""
    bits = "".join(f"{byte:08b}" for byte in data)
    at = 0

    def take(n_bits: int) -> int:
        nonlocal at
        at += n_bits
        return int(bits[at - n_bits : at], 2)

    total, word = take(32), take(5) + 1
    lengths = [take(4) + 1 for _ in range(4)]
    values: list[int] = []
    if total != size_hw[0] * size_hw[1] * 4:
        raise ValueError("a brush mask of another size than the picture")
    while len(values) < total:
        same, count = take(1), take(lengths[take(2)]) + 1
        values += [take(word)] * count if same else [take(word) for _ in range(count)]
    return np.array(values[:total]).reshape(*size_hw, 4)[:, :, 3] > 0


def _cvat(mask: dict[str, Any], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """CVAT's run lengths, along the rows of the box in which the mask lies, background first."""
    rle = mask["rle"]
    lengths = [int(n) for n in (rle.split(",") if isinstance(rle, str) else rle)]
    left, top, width, height = (int(mask[n]) for n in ("left", "top", "width", "height"))
    whole = np.zeros(size_hw, np.bool_)
    place = whole[top : top + height, left : left + width]
    if min(lengths, default=-1) < 0 or sum(lengths) != place.size or min(left, top) < 0:
        raise ValueError("run lengths that do not fill their box in the picture")
    values = np.arange(len(lengths)) % 2 == 1
    place[:] = np.repeat(values, lengths).reshape(place.shape)
    return whole
