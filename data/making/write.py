"""Write the worlds: layouts of RefCOCO and PhraseCut, and the scene graph as parquet."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from making.build import IMAGES_PER_SPLIT, SPLITS, Picture, Split, draw_split
from making.categories import load_categories, photographed_categories
from making.expressions import FAMILIES, Written
from making.grefs import SEVERAL, write_grefs
from making.render import HEIGHT, WIDTH
from tasutils.masks import encode_rle

JPEG_QUALITY = 82
POLYGON_ZOOM = 4
SIDES_PX = {"height": HEIGHT, "width": WIDTH}
#: pictures, each with the name of its split
Named = Sequence[tuple[str, Picture]]


def build_world(
    root: Path,
    splits: Mapping[str, Split] = SPLITS,
    *,
    limit: int = IMAGES_PER_SPLIT,
    progress: bool = True,
) -> None:
    """Draw splits and write them under ``root``; sprites and categories stay.

    Args:
        limit: pictures a split; fewer give the first ones of the whole world, byte for byte.
    """
    pictures: list[tuple[str, Picture]] = []
    for name, split in splits.items():
        drawn, total = draw_split(split, limit), min(limit, split.images)
        shown = tqdm(drawn, desc=name, total=total, disable=not progress, ascii=True)
        pictures += [(name, picture) for picture in shown]
    for folder in ("images", *FAMILIES, SEVERAL):
        shutil.rmtree(root / folder, ignore_errors=True)
        (root / folder).mkdir(parents=True)
    for _, picture in pictures:
        image = Image.fromarray(picture.rendered.image)
        place = root / "images" / f"{picture.image_id}.jpg"
        image.save(place, "JPEG", quality=JPEG_QUALITY, optimize=True)
    for family in FAMILIES[:3]:
        write_refcoco(root / family, family, pictures)
    write_phrasecut(root / "phrasescenes", pictures)
    for file, rows in (("scenes", scene_rows), ("expressions", expression_rows)):
        table = pd.DataFrame(rows(pictures))
        table.to_parquet(root / f"{file}.parquet", index=False, compression="zstd")
    write_grefs(root)


def differences(fresh: Path, stored: Path) -> list[str]:
    """Name the files of a freshly built folder whose bytes are not those of the stored one.

    A file that is stored in one of the fresh sub-folders but was not built counts as well.
    """
    folders = [folder.name for folder in fresh.iterdir() if folder.is_dir()]

    def files(root: Path) -> dict[str, bytes]:
        found = [*root.glob("*"), *(path for name in folders for path in (root / name).rglob("*"))]
        return {p.relative_to(root).as_posix(): p.read_bytes() for p in found if p.is_file()}

    built, kept = files(fresh), files(stored)
    kept = {name: held for name, held in kept.items() if "/" in name or name in built}
    return sorted(name for name in built | kept if built.get(name) != kept.get(name))


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def write_refcoco(folder: Path, family: str, pictures: Named) -> None:
    """``instances.json`` and ``refs(tas).p``, a protocol-2 pickle of plain values.

    The first family's ``instances.json`` holds every thing, the others' their targets only.
    """
    refs, kept = list[dict[str, Any]](), list[list[int]]()
    next_sentence = 0
    for split, picture in pictures:
        spoken = [(target, told) for name, target, told in picture.expressions if name == family]
        every = range(len(picture.view)) if family == FAMILIES[0] else {t for t, _ in spoken}
        kept.append(sorted(every))
        for target, sentences in spoken:
            told = [
                {"tokens": s.text.split(), "raw": s.raw, "sent_id": number, "sent": s.text}
                for number, s in enumerate(sentences, next_sentence)
            ]
            next_sentence += len(told)
            number = picture.ann_id(target)
            refs.append({
                "ref_id": number, "ann_id": number, "split": split,
                "category_id": picture.category(target).id, "image_id": picture.image_id,
                "file_name": f"{picture.image_id}.jpg",
                "sent_ids": [sentence["sent_id"] for sentence in told], "sentences": told,
            })  # fmt: skip
    write_instances(folder, family, pictures, kept)
    # one identity a value, so that the pickle's memo is the same each time
    (folder / "refs(tas).p").write_bytes(pickle.dumps(json.loads(json.dumps(refs)), protocol=2))


def write_instances(
    folder: Path, family: str, pictures: Named, kept: Sequence[Sequence[int]]
) -> None:
    """``instances.json``: the pictures, the things of each that are kept, the categories."""
    images, annotations = list[dict[str, Any]](), list[dict[str, Any]]()
    for (_, picture), things in zip(pictures, kept, strict=True):
        name = f"{picture.image_id}.jpg"
        images.append({"id": picture.image_id, "file_name": name} | SIDES_PX)
        codes = encode_rle(picture.rendered.visible[things])
        annotations += [
            {
                "id": picture.ann_id(index), "image_id": picture.image_id, "iscrowd": 0,
                "category_id": picture.category(index).id,
                "area": int(picture.view.areas_px[index]),
                "bbox": picture.box_xywh(index), "segmentation": rle,
            }
            for index, rle in zip(things, codes, strict=True)
        ]  # fmt: skip
    categories = photographed_categories() if _photographic(pictures) else load_categories()
    listed = [{"id": c.id, "name": c.name, "supercategory": c.group} for c in categories]
    info = {"description": f"RefScenes, family {family}", "version": "1"}
    whole = {"info": info, "images": images, "annotations": annotations, "categories": listed}
    (folder / "instances.json").write_text(_json(whole), encoding="utf-8")


def _photographic(pictures: Named) -> bool:
    return bool(pictures[0][1].category(0).native_px)


def polygons(mask: np.ndarray) -> list[list[list[int]]]:
    """Outlines of a mask, bool (H, W), accurate to about a pixel: lists of [x, y], px.

    Holes are not kept: PhraseCut has none.
    """
    zoomed = np.repeat(np.repeat(mask.astype(np.uint8), POLYGON_ZOOM, 0), POLYGON_ZOOM, 1)
    outlines, _ = cv2.findContours(zoomed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    found: list[list[list[int]]] = []
    for outline in sorted(outlines, key=lambda points: -len(points)):
        if found and cv2.contourArea(outline) < 12 * POLYGON_ZOOM**2:
            continue
        points = cv2.approxPolyDP(outline, 0.75 * POLYGON_ZOOM, True)[:, 0, :]
        if len(points) >= 3:
            found.append(np.round((points + 0.5) / POLYGON_ZOOM).astype(int).tolist())
    return found


def write_phrasecut(folder: Path, pictures: Named) -> None:
    """``image_data_split.json`` and one ``refer_<split>.json`` a split."""
    images = [{"image_id": p.image_id, **SIDES_PX, "split": split} for split, p in pictures]
    tasks: dict[str, list[dict[str, Any]]] = {}
    for split, picture in pictures:
        for number, phrase in enumerate(picture.phrases):
            members, query = sorted(phrase.targets), phrase.query
            related = [[query.relation[0], query.relation[1].noun]] if query.relation else []
            structure = {
                "name": query.noun, "attributes": [query.color] if query.color else [],
                "relation_ids": [], "relation_descriptions": related, "type": phrase.kind,
            }  # fmt: skip
            tasks.setdefault(split, []).append({
                "task_id": f"{picture.image_id}__{number}", "image_id": picture.image_id,
                "ann_ids": [picture.ann_id(index) for index in members],
                "instance_boxes": [picture.box_xywh(index) for index in members],
                "Polygons": [polygons(picture.rendered.visible[index]) for index in members],
                "phrase": phrase.text, "phrase_structure": structure,
            })  # fmt: skip
    (folder / "image_data_split.json").write_text(_json(images), encoding="utf-8")
    for split, listed in tasks.items():
        (folder / f"refer_{split}.json").write_text(_json(listed), encoding="utf-8")


def scene_rows(pictures: Named) -> Iterator[dict[str, Any]]:
    """One row a thing: what it is, how it was drawn, what is seen of it.

    Of photographs also all else that a scene is drawn of.
    """
    photographic = _photographic(pictures)
    for split, picture in pictures:
        view, graph = picture.view, picture.rendered.graph
        setting = {"background": asdict(graph.background), "effects": asdict(graph.effects)}
        for index, thing in enumerate(graph.things):
            category, box = thing.category, map(int, view.boxes_xyxy[index])
            row = {
                "split": split, "image_id": picture.image_id, "thing": index,
                "ann_id": picture.ann_id(index), "slug": thing.slug, "category": category.name,
                "group": category.group, "seen": category.seen, "style": thing.style,
                "paint": thing.paint, "color": thing.color, "size_px": thing.size_px,
                "mirror": thing.mirror, "angle_deg": thing.angle_deg,
                **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)),
                "center_x": view.centers_xy[index, 0], "center_y": view.centers_xy[index, 1],
                "area_px": int(view.areas_px[index]),
                "hidden_fraction": float(view.hidden_fraction[index]),
                "covered_by": np.flatnonzero(view.covers[index]).tolist(),
                "distractor": picture.has_distractor(index), "target": index in picture.targets,
                "background": graph.background.kind,
            }  # fmt: skip
            x, y = thing.center_xy
            more = {"in_imagenet": category.in_imagenet, "place_x": x, "place_y": y}
            yield row | more | {"setting": _json(setting)} if photographic else row


def expression_rows(pictures: Named) -> Iterator[dict[str, Any]]:
    """One row a sentence or phrase: its kind, its meaning as JSON, and what makes it hard."""
    photographic = _photographic(pictures)
    next_sentence = dict.fromkeys(FAMILIES, 0)
    for split, picture in pictures:
        next_sentence["phrasescenes"] = 0
        for family, sentence, target in _sentences(picture):
            number = next_sentence[family]
            next_sentence[family] += 1
            phrase, category = family == "phrasescenes", picture.category(target)
            ref_id = f"{picture.image_id}__{number}" if phrase else str(picture.ann_id(target))
            row = {
                "family": family, "split": split, "image_id": picture.image_id, "ref_id": ref_id,
                "sent_id": 0 if phrase else number, "text": sentence.text, "kind": sentence.kind,
                "has_direction": sentence.has_direction, "pronoun": not sentence.query.noun,
                "seen": category.seen, "distractor": picture.has_distractor(target),
                "hidden_fraction": float(picture.view.hidden_fraction[target]),
                "n_targets": len(sentence.targets), "targets": sorted(sentence.targets),
                "query": _json(asdict(sentence.query)),
            }  # fmt: skip
            more = {"in_imagenet": category.in_imagenet, "raw": sentence.raw}
            yield row | more if photographic else row


def _sentences(picture: Picture) -> Iterator[tuple[str, Written, int]]:
    """Family, sentence and (first) target of all that is written about a picture."""
    for family, target, sentences in picture.expressions:
        yield from ((family, sentence, target) for sentence in sentences)
    yield from (("phrasescenes", phrase, min(phrase.targets)) for phrase in picture.phrases)
