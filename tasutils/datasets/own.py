"""Own pictures with sentences: a CSV, JSON or JSON-lines file, one row a sentence, is enough.

    image,expression,mask
    desk.jpg,the blue cup,masks/cup.png
    desk.jpg,the pen on the left,

data/README.md says what the columns hold. A row without a mask is answered all the same, and no
metric counts it. Of masks what can be read in one way only is read; of the rest the message names
the form and the way out.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from tasutils.datasets.files import AGAIN, digest_of, read_bytes, read_json
from tasutils.datasets.sample import (
    DataSet,
    ImageEntry,
    Mask,
    RefDataset,
    Sample,
    annotated,
    segmentation_mask,
    shown,
)
from tasutils.errors import TasError
from tasutils.images import FORMATS, file_bytes, image_size, is_file, read_image
from tasutils.masks import encode_rle
from tasutils.paths import name_part

SHOWN = 5
REQUIRED = ("image", "expression")
OPTIONAL = ("mask", "value", "category", "ref_id")
#: columns of samples.parquet that a flag must not overwrite
TAKEN = {
    "sample_id", "image_id", "sent_id", "text", "raw", "split", "chosen", "n_proposals",
    "intersection_px", "union_px", "iou", "gt_area_px", "oracle_intersection_px", "oracle_union_px",
    "oracle_iou", "rectified", "reason", "image_digest", "ann_ids", "no_target", "own_mask",
}  # fmt: skip
_MOST_COLOURS = 16


class Own(DataSet):
    """Own data; its split is the path of a file."""

    takes = ("images",)

    def load(self, split: str, *, images: Path | str | None = None, **_: Any) -> RefDataset:
        """Read a file as `read_own` does; TasError for bad rows names the first ones."""
        data, faults = read_own(split, images)
        if faults:
            n = len(faults)
            more = f"; all {n}: tas data check {split}" if n > SHOWN else ""
            rows = f"{n} bad row{'s' if n > 1 else ''}"
            raise TasError(f"{split}: {rows}: {'; '.join(faults[:SHOWN])}{more}")
        return data

    def preset(self, split: str, images: Path | str | None = None) -> str:
        """`tiny` where all pictures have the size of RefScenes, else `photo`."""
        sizes = {entry.size_hw for entry in self.load(split, images=images).images.values()}
        return "tiny" if sizes == {(240, 320)} else "photo"


def read_own(path: Path | str, images: Path | str | None = None) -> tuple[RefDataset, list[str]]:
    """Read a file of own data as far as it is sound, and one line for each bad row.

    Picture names are relative to `images`, when None to the file. A sample's id is the number of
    its line (of a .json, of its entry). Raises TasError for a file without rows or a column.
    """
    path = Path(path).expanduser()
    folder = path.parent if images is None else Path(images).expanduser()
    size_of = cache(lambda picture: read_image(picture).shape[:2])
    rows, entries, masks = list[tuple[Sample, Any]](), dict[str, ImageEntry](), set[Path]()
    faults, equal, said, n_sentences = list[str](), list[str](), set[Any](), Counter[str]()
    ref_of, target_of = dict[Any, str](), dict[str, Any]()
    for line, cells in _read_rows(path):
        try:
            sample, target, entry, shapes, mask = _row(line, cells, path, folder, size_of)
            # rows of one mask share a reference
            ref = sample.ref_id or (ref_of.setdefault(target, line) if shapes else line)
            if target_of.setdefault(ref, target) != target:
                raise TasError(f"ref_id {ref!r} has another picture or mask in an earlier row")
        except TasError as error:
            faults.append(f"line {line}: {str(error).removesuffix(f'; {AGAIN}')}")
            continue
        equal += [line] if (target, sample.text) in said else []
        said.add((target, sample.text))
        rows.append((replace(sample, ref_id=ref, sent_id=str(n_sentences[ref])), shapes))
        n_sentences[ref] += 1
        entries[sample.image_id] = entry
        masks |= {mask} if mask else set()
    note = f"{path}: rows that say what an earlier one says, and each counts: {shown(equal)}"
    name = name_part(re.sub(r"[^\w.+-]+", "-", path.stem))
    digest, notes = digest_of([path, *sorted(masks)]), [note] if equal else []
    return annotated("own", name, rows, entries, digest, f"{path}: line", notes=notes), faults


def _row(
    line: str, cells: Any, path: Path, folder: Path, size_of: Callable[[Path], tuple[int, int]]
) -> tuple[Sample, tuple[str, str, str], ImageEntry, list[Any] | None, Path | None]:
    """A row's sample, its target as it is written, its picture, its mask and that one's file."""
    if not isinstance(cells, dict):
        raise cells if isinstance(cells, TasError) else TasError("no JSON object")
    if wrong := [name for name in REQUIRED if not isinstance(cells.get(name), str)]:
        raise TasError(f"no text in {' and '.join(wrong)}")
    name, text = cells["image"].strip(), cells["expression"].strip()
    given = (cells.get(option) for option in OPTIONAL[1:])
    value, category, ref_id = ("" if cell is None else str(cell).strip() for cell in given)
    mask = cells.get("mask")
    mask = mask.strip() if isinstance(mask, str) else mask
    if not name:
        raise TasError("no picture in column image")
    if not any(c.isprintable() and not c.isspace() for c in text):
        raise TasError("no words in column expression")
    if value and not mask:
        raise TasError(f"a value {value!r} but no mask")
    picture, shapes, file = find_file(folder, name), None, None
    entry = ImageEntry(picture, size_of(picture))
    if mask:
        truth, file = read_mask(mask, value, path.parent, entry.size_hw, picture.name)
        shapes = encode_rle(truth[None])
    image_id = os.path.normpath(name).replace("\\", "/")
    flags = {key: str(cells[key]) for key in cells if key not in (*REQUIRED, *OPTIONAL)}
    sample = Sample(line, image_id, ref_id, "", text, text, category, path.stem, {**flags})
    return sample, (image_id, json.dumps(mask or None), value), entry, shapes, file


def find_file(folder: Path, name: str) -> Path:
    """The file that a cell names, relative to a folder; paths of Windows are read everywhere."""
    path = folder / os.path.expanduser(name)
    windows = "\\" in name and not is_file(path)
    return folder / PureWindowsPath(name).as_posix() if windows else path


# ---- rows


def _read_rows(path: Path) -> list[tuple[str, Any]]:
    """The rows of a file with the numbers of their lines; a TasError says why a line is none."""
    kind = path.suffix.lower()
    if kind not in {".csv", ".tsv", ".json", ".jsonl"}:
        raise TasError(f"{path}: own data is a .csv, .tsv, .json or .jsonl file; convert it")
    try:
        text = read_bytes(path).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise TasError(f"{path}: not UTF-8 text; save it as UTF-8") from None
    if kind == ".jsonl":
        lines = enumerate(text.split("\n"), 1)
        rows = [(line, _parsed(content)) for line, content in lines if content.strip()]
    elif kind == ".json":
        listed = _parsed(text)
        if not isinstance(listed, list):
            why = listed if isinstance(listed, TasError) else "no list of objects"
            raise TasError(f"{path}: {why}; own data has image and expression in each")
        rows = list(enumerate(listed, 1))
    else:
        rows = list(_csv_rows(text, path))
    if not rows:
        raise TasError(f"{path}: no rows; write one as image,expression under such a header")
    if taken := {name for _, row in rows if isinstance(row, dict) for name in row} & TAKEN:
        raise TasError(f"{path}: column {min(taken)!r} is a name that runs use; rename it")
    return [(str(line), row) for line, row in rows]


def _parsed(text: str) -> Any:
    """What JSON text means, or the error that says why it is none."""

    def refused(name: str) -> None:
        raise ValueError(f"{name} is no number")

    try:
        return json.loads(text, parse_constant=refused)
    except (ValueError, RecursionError) as error:
        return TasError(f"no JSON ({str(error)[:60]})")


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, str] | TasError]]:
    first = text.partition("\n")[0]
    said = re.fullmatch("sep=(.)", first)
    delimiter = said[1] if said else max(",;\t", key=first.count)
    csv.field_size_limit(1 << 24)  # run lengths and polygons may be long
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells) or (said and reader.line_num == 1):
                continue
            if not header:
                header = _header(cells, path)
            elif len(cells) != len(header):
                counts = f"{len(cells)} cells in a row of {len(header)} columns"
                yield reader.line_num, TasError(f"{counts}; quote cells that hold {delimiter!r}")
            else:
                row = dict(zip(header, cells, strict=True))
                yield reader.line_num, {name: cell for name, cell in row.items() if name}
    except csv.Error as error:
        yield reader.line_num, TasError(f"no CSV from here on ({error})")


def _header(cells: list[str], path: Path) -> list[str]:
    header = [cell.strip().lower() for cell in cells]
    if missing := [name for name in REQUIRED if name not in header]:
        there = ", ".join(filter(None, header)) or "nothing"
        raise TasError(f"{path}: no column {' and '.join(missing)}; its first line names {there}")
    for at, name in enumerate(header):  # the first may have no name: pandas' index
        if name in header[:at] or (at and not name):
            problem = "twice" if name else "has no name"
            raise TasError(f"{path}: column {name!r} {problem}; rename it")
    return header


# ---- masks


def read_mask(
    cell: Any, value: str, folder: Path, size_hw: tuple[int, int], picture: str = ""
) -> tuple[Mask, Path | None]:
    """The mask of a row, bool (H, W), and the file it came from, None when it stood in the row.

    `cell` is a path relative to `folder`, JSON text, or what JSON text means; `value` the target's
    label in a PNG of labels or a file of several shapes, empty for whatever is not 0 or the only
    shape; by `picture`, its file's name, a file about several pictures is asked.
    """
    name, path = "mask", None
    if isinstance(cell, str) and cell[:1] in "[{":
        cell = _parsed(cell)
    elif isinstance(cell, str):
        path = find_file(folder, cell)
        name, kind = str(path), path.suffix.lower()
        if not is_file(path):
            raise TasError(f"no mask at {path}")
        if kind == ".xml":
            raise TasError(f"{path}: an XML file, as CVAT and VOC write them; export masks as PNG")
        if kind != ".json":
            return _picture_mask(path, value, size_hw), path
        cell = read_json(path)
    if isinstance(cell, TasError):
        raise TasError(f"{name}: {cell}")
    mask = np.zeros(size_hw, np.bool_)
    for shape in _shapes(cell, value, size_hw, name, picture):
        known = isinstance(shape, np.ndarray)
        mask |= shape if known else segmentation_mask(shape, size_hw, name)
    if not mask.any():
        raise TasError(f"{name}: covers no pixel of the picture")
    return mask, path


def _picture_mask(path: Path, value: str, size_hw: tuple[int, int]) -> Mask:
    image = _open_mask(path, size_hw)
    if not value:
        mask = _foreground(image, str(path))
        if not mask.any():
            raise TasError(f"{path}: no pixel that is not 0")
        return mask
    labels = np.asarray(image)
    if labels.ndim == 3:
        raise TasError(f"{path}: a value goes with a PNG of one channel or a palette")
    if not re.fullmatch(r"[+-]?\d{1,9}(\.0*)?", value):
        raise TasError(f"value {value!r} is no whole number")
    mask = labels == int(float(value))
    if not mask.any():
        there = ", ".join(map(str, np.unique(labels)[:8].tolist()))
        raise TasError(f"{path}: no pixel with value {value}; there are {there}")
    return mask


def _open_mask(path: Path, size_hw: tuple[int, int]) -> Image.Image:
    """The picture of a mask, upright; raises TasError where it is none, or of another size."""
    height, width = image_size(path)
    if (height, width) != size_hw:
        sizes = f"{width} x {height} px, its picture {size_hw[1]} x {size_hw[0]}"
        turned = "; is one of them turned by its EXIF note?" if (width, height) == size_hw else ""
        raise TasError(f"{path}: the mask is {sizes}{turned}")
    try:
        with warnings.catch_warnings(action="ignore"):
            image = Image.open(file_bytes(path), formats=FORMATS)
            form, upright = image.format, ImageOps.exif_transpose(image)
    except Exception as error:  # Pillow raises many types for damaged files
        raise TasError(f"{path}: no mask that can be read ({type(error).__name__})") from None
    if form in ("JPEG", "WEBP"):
        remedy = "export the mask anew as PNG (this file saved as PNG stays blurred)"
        raise TasError(f"{path}: {form} blurs masks; {remedy}")
    return upright


def _foreground(image: Image.Image, name: str) -> Mask:
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
        mask = _palette_mask(np.asarray(image), colours, name)
    elif (colours == colours[:, :, :1]).all():
        mask = _two_values(colours[:, :, 0], name)
    else:
        n_colours = len(np.unique(colours @ np.array([1 << 16, 1 << 8, 1])))
        if n_colours > _MOST_COLOURS:
            raise TasError(f"{name}: a picture of {n_colours} colours is no mask; paint it in two")
        mask = np.asarray(colours.any(axis=2))
    if clear and ((alpha > 0) != mask).any():
        raise TasError(f"{name}: its colours show another mask than its transparency; save one")
    return mask


def _two_values(values: NDArray[np.uint8], name: str) -> Mask:
    """Whatever is not 0; labels are taken as well, white among other values is not."""
    there = np.unique(values)
    odd = there[(there > 0) & (there < there[-1])]
    if there[-1] >= 250 and len(odd):
        n_px, some = int(np.isin(values, odd).sum()), ", ".join(map(str, odd[:3].tolist()))
        stains = f"{n_px} px have other values than 0 and {there[-1]}, such as {some}"
        why = "as JPEG and smooth scaling leave them; save two, or name one in the column value"
        raise TasError(f"{name}: {stains}, {why}")
    return values > 0


def _palette_mask(indices: NDArray[Any], colours: NDArray[np.uint8], name: str) -> Mask:
    """The indices that are not 0, or the white ones of black and white."""
    zero = colours[indices == 0][:1].ravel()  # the colour of index 0, where it is used
    if not zero.any() or (colours == zero).all():
        return indices != 0
    if np.isin(colours, (0, 255)).all() and (colours == colours[:, :, :1]).all():
        return colours[:, :, 0] > 0
    palette = f"a palette whose index 0 has the colour {tuple(zero.tolist())}"
    raise TasError(f"{name}: {palette}; name the target's index in the column value")


# ---- shapes of tools: labels with COCO's segmentation, a mask, or None for another kind

Shapes = Iterator[tuple[str, Any]]


def _shapes(
    content: Any, value: str, size_hw: tuple[int, int], name: str, picture: str
) -> list[Any]:
    """The shapes that are meant: those with the label `value`, or the only one."""
    try:
        form, found = _by_form(content, size_hw, picture)
        shapes = list(found)
    except (LookupError, TypeError, AttributeError, OverflowError, ValueError) as error:
        told = isinstance(error, TasError)
        why = str(error) if told else f"damaged ({type(error).__name__}: {str(error)[:60]})"
        raise TasError(f"{name}: {why}") from None
    if not form and value:
        raise TasError(f"a value {value!r} goes with a PNG of labels only")
    this = f"{name}: this is {form}"
    labels = ", ".join(sorted({label for label, _ in shapes})[:5])
    parts = [shape for label, shape in shapes if not value or label == value]
    if not parts:
        there = labels if value and shapes else "none for this picture"
        raise TasError(f"{this} without a shape {value!r}; it has {there}")
    if not value and len(parts) > 1:
        label = "name the target's label in the column value"
        raise TasError(f"{this} of {len(parts)} shapes ({labels}); {label}")
    if any(part is None for part in parts):
        raise TasError(f"{this}, its shape neither polygon nor box; export the mask as PNG")
    return parts


def _by_form(content: Any, size_hw: tuple[int, int], picture: str) -> tuple[str, Shapes]:
    """The form of a tool's file, "" for COCO's run lengths and polygons, and its shapes."""
    if isinstance(content, list) and content and isinstance(content[0], dict):
        content = {"tasks": content}
    keys = set(content) if isinstance(content, dict) else set()
    if {"images", "annotations"} <= keys:
        raise TasError("this is a whole COCO file; give each row one annotation's segmentation")
    for key, (form, read) in _FORMS.items():
        if key in keys:
            return form, read(content, size_hw, picture)
    if any(isinstance(content[key], dict) and "regions" in content[key] for key in keys):
        return "a VIA file", _via({"_via_img_metadata": content}, size_hw, picture)
    return "", iter([("", content if keys else _polygons(content))])


def _polygons(content: Any) -> list[list[float]]:
    """[[x0, y0, x1, y1, ...], ...] from that, from one of these, and from points in pairs."""
    if not isinstance(content, list):
        raise TasError("neither run lengths nor polygons")
    try:
        parts = [np.asarray(part, np.float64) for part in content]
        if all(part.shape in ((), (2,)) for part in parts):  # one polygon, of numbers or of points
            parts = [np.asarray(content, np.float64)]
    except (TypeError, ValueError, OverflowError):
        parts = [np.zeros((1, 1))]
    if any(part.ndim != 1 and part.shape[1:] != (2,) for part in parts):
        raise TasError("polygons of points that are no pairs x, y")
    if any(part.size < 6 for part in parts):
        raise TasError("a polygon needs three points or more, as in [[x0, y0, x1, y1, x2, y2]]")
    return [part.ravel().tolist() for part in parts]


def _coco(annotation: dict[str, Any], size_hw: tuple[int, int], picture: str) -> Shapes:
    shape = annotation["segmentation"]
    yield "", shape if isinstance(shape, dict) else _polygons(shape)


def _drawn(kind: str, points: Any) -> list[list[float]] | None:
    """A polygon, or the rectangle between two corners; None of another kind."""
    if kind in ("rectangle", "rect"):
        (x0, x1), (y0, y1) = map(sorted, zip(*points, strict=True))
        return [[x0, y0, x1, y0, x1, y1, x0, y1]]
    return _polygons([points]) if kind in ("polygon", "polyline") else None


def _labelme(file: dict[str, Any], size_hw: tuple[int, int], picture: str) -> Shapes:
    height, width = (file.get(f"image{side}") for side in ("Height", "Width"))
    if None not in (height, width) and (height, width) != size_hw:
        sizes = f"{width} x {height} px, not {size_hw[1]} x {size_hw[0]}"
        raise TasError(f"a labelme file of a picture of {sizes}")
    for shape in file["shapes"]:
        kind = shape.get("shape_type", "polygon")
        yield str(shape["label"]), _drawn(kind, shape["points"])


def _via(file: dict[str, Any], size_hw: tuple[int, int], picture: str) -> Shapes:
    files = file["_via_img_metadata"]
    for entry in files.values():
        if entry["filename"] != picture and len(files) > 1:
            continue
        regions = entry["regions"]
        for region in regions.values() if isinstance(regions, dict) else regions:
            shape, named = region["shape_attributes"], region.get("region_attributes", {})
            label = next((v for v in named.values() if isinstance(v, str)), "")
            if shape["name"] == "rect":
                x, y = shape["x"], shape["y"]
                points = [[x, y], [x + shape["width"], y + shape["height"]]]
            else:
                xs, ys = (shape.get(f"all_points_{c}", ()) for c in "xy")
                points = [list(xy) for xy in zip(xs, ys, strict=True)]
            yield label, _drawn(shape["name"], points)


def _label_studio(file: dict[str, Any], size_hw: tuple[int, int], picture: str) -> Shapes:
    tasks = file.get("tasks", [file])
    for task in tasks:
        links = map(str, task.get("data", {}).values()) if len(tasks) > 1 else [picture]
        if not any(link.endswith(picture) for link in links):
            continue
        annotations = task.get("annotations") or task.get("completions") or []
        for result in (result for each in annotations for result in each["result"]):
            value = result["value"]
            sides = np.array([result["original_width"], result["original_height"]]) / 100
            labels = (v[0] for k, v in value.items() if k.endswith("labels") and v)
            label = str(next(labels, ""))
            if "points" in value:
                yield label, _drawn("polygon", (np.array(value["points"]) * sides).tolist())
            elif value.get("format") == "rle":
                yield label, _brush(bytes(value["rle"]), size_hw)
            elif "width" in value and not value.get("rotation"):
                corner = np.array([value["x"], value["y"]])
                corners = corner, corner + [value["width"], value["height"]]
                yield label, _drawn("rect", [(xy * sides).tolist() for xy in corners])
            else:
                yield label, None


def _brush(data: bytes, size_hw: tuple[int, int]) -> Mask:
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


def _cvat(mask: dict[str, Any], size_hw: tuple[int, int], picture: str) -> Shapes:
    """CVAT's run lengths, along the rows of the box in which the mask lies, background first."""
    rle = mask["rle"]
    lengths = [int(n) for n in (rle.split(",") if isinstance(rle, str) else rle)]
    left, top, width, height = (int(mask[n]) for n in ("left", "top", "width", "height"))
    whole = np.zeros(size_hw, np.bool_)
    place = whole[top : top + height, left : left + width]
    if min(lengths, default=-1) < 0 or sum(lengths) != place.size or min(left, top) < 0:
        raise ValueError("run lengths that do not fill their box in the picture")
    place[:] = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(place.shape)
    yield str(mask.get("label", "")), whole


#: by a key that only this form has
_FORMS: dict[str, tuple[str, Callable[[dict[str, Any], tuple[int, int], str], Shapes]]] = {
    "shapes": ("a labelme file", _labelme),
    "tasks": ("a Label Studio export", _label_studio),
    "annotations": ("a Label Studio task", _label_studio),
    "completions": ("a Label Studio task", _label_studio),
    "segmentation": ("a COCO annotation", _coco),
    "rle": ("a CVAT mask", _cvat),
    "_via_img_metadata": ("a VIA file", _via),
}
