"""Miniature trees in the published layouts, and parts that see in place of networks.

Three images, four references of RefCOCO in three splits.
"""

import json
import pickle
import zipfile

import numpy as np
import pandas as pd
from PIL import Image
from pycocotools import mask as coco

from tasutils.datasets import dataset
from tasutils.scene import Proposals
from tasutils.tas import TAS

H, W = 24, 32
COLORS = ((200, 30, 30), (30, 30, 200), (30, 160, 30))
SQUARE = [4.0, 4.0, 14.0, 4.0, 14.0, 14.0, 4.0, 14.0]
FAR = [20.0, 6.0, 28.0, 6.0, 28.0, 16.0, 20.0, 16.0]
OVERLAPPING = [[4, 4, 14, 4, 14, 14, 4, 14], [10, 4, 20, 4, 20, 14, 10, 14]]
SENTENCES = {
    0: ["left dog", "the dog"], 1: ["blue thing"], 2: ["far dog", "dog on right"], 3: ["dog"],
}  # fmt: skip
SPLITS = {0: "val", 1: "testA", 2: "testA", 3: "testB"}
SHAPES = {0: [SQUARE], 1: [SQUARE], 2: [FAR], 3: OVERLAPPING}
IMAGE_OF = {0: 1, 1: 2, 2: 2, 3: 3}


def file_name(image_id):
    return f"COCO_train2014_{image_id:012d}.jpg"


def reference(ref_id, **changes):
    image_id = IMAGE_OF[ref_id]
    sentences = [
        {"raw": text.title(), "sent": text, "sent_id": 10 * ref_id + k, "tokens": text.split()}
        for k, text in enumerate(SENTENCES[ref_id])
    ]
    return {
        "ref_id": ref_id, "ann_id": 100 + ref_id, "category_id": 18, "image_id": image_id,
        "file_name": file_name(image_id).replace(".jpg", f"_{ref_id}.jpg"), "split": SPLITS[ref_id],
        "sent_ids": [s["sent_id"] for s in sentences], "sentences": sentences, **changes,
    }  # fmt: skip


def references():
    return [reference(k) for k in SENTENCES]


def annotation(ref_id, **changes):
    points = np.array(SHAPES[ref_id][0]).reshape(-1, 2)
    low, high = points.min(0), points.max(0)
    return {
        "id": 100 + ref_id, "image_id": IMAGE_OF[ref_id], "category_id": 18, "iscrowd": 0,
        "bbox": [*low.tolist(), *(high - low).tolist()], "segmentation": SHAPES[ref_id], **changes,
    }  # fmt: skip


def image_record(image_id, **changes):
    return {
        "id": image_id, "file_name": file_name(image_id), "height": H, "width": W, "license": 3,
        **changes,
    }  # fmt: skip


def instances():
    return {
        "images": [image_record(k) for k in (1, 2, 3)],
        "annotations": [annotation(k) for k in SHAPES],
        "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}],
    }


def changed(ref_id, **changes):
    """The instances with one annotation changed."""
    shapes = [annotation(k, **(changes if k == ref_id else {})) for k in SHAPES]
    return instances() | {"annotations": shapes}


def draw_images(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name, color in zip(names, COLORS, strict=True):
        pixels = np.full((H, W, 3), 120, np.uint8)
        pixels[4:14, 4:14] = color
        pixels[6:16, 20:28] = color[::-1]
        Image.fromarray(pixels).save(folder / name, quality=95)


def write_refcoco(root, name="refcoco", split_by="unc", refs=None, content=None, images=True):
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    refs = references() if refs is None else refs
    (folder / f"refs({split_by}).p").write_bytes(pickle.dumps(refs, 2))
    content = instances() if content is None else content
    (folder / "instances.json").write_text(json.dumps(content))
    if images:
        draw_images(root / "coco" / "train2014", map(file_name, (1, 2, 3)))
    return root


def write_zip(path, name="refcoco"):
    """The archive as published: a folder, its files, and what a Mac adds."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}/", "")
        archive.writestr(f"{name}/refs(unc).p", pickle.dumps(references(), 2))
        archive.writestr(f"{name}/instances.json", json.dumps(instances()))
        archive.writestr(f"__MACOSX/{name}/._instances.json", b"\x00")
    return path


def write_mirror(folder, named=None, drop=(), shards=1):
    """The files of jxu124/refcoco: testA under the name test."""
    folder.mkdir(parents=True, exist_ok=True)
    named = named or {"val": "validation", "testA": "test", "testB": "testB"}
    for split, mirrored in named.items():
        table = pd.DataFrame([
            ref | {
                "split": mirrored, "raw_anns": json.dumps(annotation(ref["ref_id"])),
                "raw_image_info": json.dumps(image_record(ref["image_id"])),
                "raw_sentences": json.dumps(ref["sentences"]),
                "image_path": f"coco/train2014/{file_name(ref['image_id'])}",
                "bbox": [0.0, 0.0, 1.0, 1.0], "captions": [s["sent"] for s in ref["sentences"]],
            }
            for ref in references() if ref["split"] == split
        ]).drop(columns=[*drop])  # fmt: skip
        size = -(-len(table) // shards)
        for k in range(shards):
            name = f"{mirrored}-{k:05}-of-{shards:05}-94431d5f4bd5b93f.parquet"
            table[k * size : (k + 1) * size].to_parquet(folder / name, index=False)
    return folder


def compressed(mask):
    """COCO's run lengths as text."""
    rle = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode()}


def uncompressed(mask):
    """COCO's run lengths as a list."""
    flat = mask.T.ravel()
    runs = np.diff([0, *(np.flatnonzero(np.diff(flat)) + 1), flat.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if flat[0] else runs}


def polygon(flat):
    return [list(map(float, pair)) for pair in zip(flat[::2], flat[1::2], strict=True)]


def task(number, image_id, phrase, instances_, split_type="attribute", **changes):
    boxes = []
    for polygons in instances_:
        points = np.array([point for part in polygons for point in part] or [[0, 0]])
        boxes.append([*points.min(0).tolist(), *(points.max(0) - points.min(0)).tolist()])
    structure = {
        "name": phrase.split()[-1], "attributes": phrase.split()[:-1], "relation_ids": [],
        "relation_descriptions": [], "type": split_type,
    }  # fmt: skip
    return {
        "task_id": f"{image_id}__{number}", "image_id": image_id, "ann_ids": [number],
        "instance_boxes": boxes, "Polygons": instances_, "phrase": phrase,
        "phrase_structure": structure, **changes,
    }  # fmt: skip


def tasks():
    """One instance; two; one of two polygons that overlap; five instances."""
    near, far = [polygon(SQUARE)], [polygon(FAR)]
    dots = [[polygon([x, 2, x + 2, 2, x + 2, 4])] for x in range(2, 22, 4)]
    return [
        task(0, 1, "red dog", [near]),
        task(1, 1, "dogs", [near, far], "name"),
        task(2, 2, "big blue things", [[polygon(p) for p in OVERLAPPING]]),
        task(3, 3, "dots", dots, "verbose"),
    ]


def write_phrasecut(root, folder="phrasecut", test=None, images=True, name=None):
    place = root / folder
    place.mkdir(parents=True, exist_ok=True)
    listed = [
        {"image_id": k, "height": H, "width": W, "split": "test", "url": "", "coco_id": None}
        for k in (1, 2, 3)
    ]
    (place / (name or "image_data_split3000.json")).write_text(json.dumps(listed))
    (place / "refer_test.json").write_text(json.dumps(tasks() if test is None else test))
    if images:
        draw_images(place / "images", ["1.jpg", "2.jpg", "3.jpg"])
    return root


def small_counts(monkeypatch):
    """Make the miniature trees complete: published counts of their size, by data set."""
    numbers = {
        "refcoco": {"val": (1, 1, 2), "testA": (2, 1, 3), "testB": (1, 1, None)},
        "phrasecut": {"test": (4, 3, 4), "miniv": (1, 1, 1)},
    }
    small = {}
    for name in ("refcoco", "refcoco+", "refcocog", "phrasecut"):
        entry = dataset(name).entry
        counts = {
            split: dict(zip(("refs", "images", "sentences"), three, strict=True))
            for split, three in numbers[entry.layout].items()
        }
        splits = {by: dict(counts) for by in entry.splits}
        small[name] = entry.model_copy(update={"splits": splits})
        monkeypatch.setattr(dataset(name), "entry", small[name])
    return small


class Boxes:
    """Proposes the two squares of every miniature image, and a strip."""

    def __call__(self, image):
        masks = np.zeros((3, *image.shape[:2]), bool)
        masks[0, 4:14, 4:14] = masks[1, 6:16, 20:28] = masks[2, :3] = True
        return Proposals.from_masks(masks)


def load_seeing(preset, device=None):
    """In place of `loading.load`: parts that see boxes and colours, no networks."""
    from light import PARSER, FakeCaptioner, FakeEncoder

    return TAS(preset, Boxes(), FakeEncoder(), FakeCaptioner(), PARSER, "cpu")
