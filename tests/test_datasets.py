"""Readers on hand-made files in the published layouts, sound and damaged."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
from pycocotools import mask as coco

from tasutils import paths
from tasutils.datasets import dataset_names, load_dataset
from tasutils.datasets.phrasecut import load_phrasecut
from tasutils.datasets.refcoco import load_refcoco
from tasutils.datasets.refscenes import FAMILIES, load_refscenes
from tasutils.datasets.shapes import polygon_mask, run_length_mask, segmentation_mask
from tasutils.errors import TasError

SQUARE = [2.0, 2.0, 10.0, 2.0, 10.0, 10.0, 2.0, 10.0]
OVERLAPPING = [[2, 2, 10, 2, 10, 10, 2, 10], [6, 2, 14, 2, 14, 10, 6, 10]]
H, W = 20, 30


def disc():
    y, x = np.mgrid[:H, :W]
    return (y - 9) ** 2 + (x - 15) ** 2 < 40


def compressed(mask):
    rle = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode()}


def uncompressed(mask):
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if flat[0] else runs}


def instances():
    shapes = {11: [SQUARE], 12: OVERLAPPING, 13: compressed(disc()), 14: uncompressed(disc())}
    return {
        "images": [
            {"id": 1, "file_name": "COCO_train2014_000000000001.jpg", "height": H, "width": W},
            {"id": 2, "file_name": "COCO_train2014_000000000002.jpg", "height": H, "width": W},
        ],
        "annotations": [
            {"id": k, "image_id": 1 + k // 13, "category_id": 18, "iscrowd": 0, "segmentation": s}
            for k, s in shapes.items()
        ],
        "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}],
    }


def reference(ref_id, ann_id, split, sentences, **changes):
    return {
        "ref_id": ref_id, "ann_id": ann_id, "category_id": 18, "image_id": 1 + ann_id // 13,
        "file_name": f"COCO_train2014_000000000001_{ref_id}.jpg", "split": split,
        "sent_ids": [s for s, _ in sentences],
        "sentences": [
            {"raw": text, "sent": text.lower(), "sent_id": s, "tokens": text.lower().split()}
            for s, text in sentences
        ],
        **changes,
    }  # fmt: skip


def references():
    return [
        reference(0, 11, "val", [(0, "Left dog"), (1, "the DOG"), (2, "dog")]),
        reference(1, 12, "val", [(3, "Right dog")]),
        reference(2, 13, "testA", [(4, "far dog")]),
        reference(3, 14, "val", [(5, "near dog")]),
    ]


def write_refcoco(root, refs=None, content=None, protocol=2):
    folder = root / "refcoco"
    folder.mkdir(parents=True, exist_ok=True)
    refs = references() if refs is None else refs
    (folder / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol))
    content = instances() if content is None else content
    (folder / "instances.json").write_text(json.dumps(content))
    return root


def load(root, split="val", **more):
    return load_refcoco(root, "refcoco", "unc", split, root / "train2014", **more)


@pytest.mark.parametrize("protocol", [0, 2])
def test_refcoco_layout(tmp_path, protocol):
    data = load(write_refcoco(tmp_path, protocol=protocol))
    assert [s.sample_id for s in data.samples] == ["0-0", "0-1", "0-2", "1-3", "3-5"]
    assert [s.text for s in data.samples][:2] == ["left dog", "the dog"]
    assert data.samples[1].raw == "the DOG" and data.samples[1].category == "dog"
    assert data.image_ids == ("1", "2") and len(data) == 5
    assert {k: len(v) for k, v in data.by_image().items()} == {"1": 4, "2": 1}
    path = tmp_path / "train2014" / "COCO_train2014_000000000001.jpg"
    assert data.image_path("1") == path  # not the reference's own file_name
    assert data.size_hw("2") == (H, W)
    assert len(data.index_digest) == 64
    assert load(tmp_path, "testA").index_digest == data.index_digest


def test_ground_truth_of_polygons_and_run_lengths(tmp_path):
    data = load(write_refcoco(tmp_path))
    by_ref = {sample.ref_id: data.gt_mask(sample) for sample in data.samples}
    assert all(mask.dtype == bool and mask.shape == (H, W) for mask in by_ref.values())
    assert by_ref["0"][2:10, 2:10].all() and by_ref["0"].sum() == 64
    assert by_ref["1"][2:10, 2:14].all() and by_ref["1"].sum() == 96
    assert (by_ref["3"] == disc()).all()
    far = load(tmp_path, "testA")
    assert (far.gt_mask(far.samples[0]) == disc()).all()


def test_exclusive_overlap_is_background(tmp_path):
    data = load(write_refcoco(tmp_path), overlap="exclusive")
    mask = data.gt_mask(data.samples[3])
    assert not mask[2:10, 6:10].any() and mask[2:10, 2:6].all() and mask[2:10, 10:14].all()
    assert data.gt_mask(data.samples[0]).sum() == 64


def test_unknown_split_and_missing_files(tmp_path):
    write_refcoco(tmp_path)
    with pytest.raises(TasError, match=r"no split 'testC'; it has testA, val"):
        load(tmp_path, "testC")
    with pytest.raises(TasError, match="cannot be read"):
        load_refcoco(tmp_path, "refcoco", "google", "val", tmp_path)
    (tmp_path / "refcoco" / "instances.json").unlink()
    with pytest.raises(TasError, match=r"instances\.json: cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize("change", [
    {"sentences": [{"raw": "no sent", "sent_id": 1}]}, {"sentences": "dog"}, {"image_id": 99},
    {"ann_id": 99}, {"image_id": 2}, {"category_id": None}, {"sentences": [7]}, {"ref_id": []},
])  # fmt: skip
def test_damaged_references(tmp_path, change):
    refs = [reference(0, 11, "val", [(0, "dog")]) | change]
    with pytest.raises(TasError) as caught:
        load(write_refcoco(tmp_path, refs))
    assert "\n" not in str(caught.value) and "refcoco" in str(caught.value)


@pytest.mark.parametrize("refs", [{}, [], "dog", [1], [{"split": []}], [None]])
def test_damaged_reference_lists(tmp_path, refs):
    with pytest.raises(TasError):
        load(write_refcoco(tmp_path, refs))


@pytest.mark.parametrize("key, value", [
    ("images", None), ("images", [{}]), ("images", [7]), ("annotations", {}), ("categories", [{}]),
    ("images", [{"id": 1, "file_name": "../../etc/passwd", "height": 9, "width": 9}]),
    ("images", [{"id": 1, "file_name": "/etc/passwd", "height": 9, "width": 9}]),
    ("images", [{"id": 1, "file_name": "C:\\x.jpg", "height": 9, "width": 9}]),
    ("images", [{"id": 1, "file_name": "a.jpg", "height": 0, "width": 9}]),
    ("images", [{"id": 1, "file_name": "a.jpg", "width": 9}]),
])  # fmt: skip
def test_damaged_instances(tmp_path, key, value):
    content = instances() | {key: value}
    with pytest.raises(TasError) as caught:
        load(write_refcoco(tmp_path, references()[:2], content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_damaged_json(tmp_path, raw):
    write_refcoco(tmp_path)
    (tmp_path / "refcoco" / "instances.json").write_bytes(raw)
    with pytest.raises(TasError, match=r"instances\.json"):
        load(tmp_path)


@pytest.mark.parametrize("segmentation", [
    [[1, 2, 3]], [["a", 1, 2, 3, 4, 5]], [[0, 0, 1e9, 0, 1e9, 1e9]], [[None] * 6], [[[1, 2]] * 3],
    [[0, 0, float("nan"), 1, 1, 1]], [3], {}, {"size": [H, W]}, {"size": [H, W], "counts": []},
    {"size": [H, W], "counts": [3]}, {"size": [H, W], "counts": [H * W + 1]},
    {"size": [H, W], "counts": [-1, H * W + 1]}, {"size": [W, H], "counts": [H * W]},
    {"size": [H, W], "counts": "zzzz"}, {"size": [H, W], "counts": ""},
    {"size": [H, W], "counts": "\u00e9"}, {"size": [H, W], "counts": "o" * 1000},
    {"size": [H, W], "counts": [[H * W]]}, {"size": 3, "counts": [2**80]}, None, "abc",
])  # fmt: skip
def test_damaged_segmentations_read_no_memory_they_should_not(segmentation):
    with pytest.raises(TasError) as caught:
        segmentation_mask(segmentation, (H, W), "instances.json: ref 7")
    assert str(caught.value).startswith("instances.json: ref 7: ")


def test_degenerate_polygons_cover_nothing():
    for polygon in ([], [3, 3], [3, 3, 9, 9]):
        assert not segmentation_mask([polygon], (H, W), "x").any()
    assert not segmentation_mask([], (H, W), "x").any()


def test_run_lengths_as_pycocotools_decodes_them(rng):
    for shape in ((1, 1), (7, 5), (240, 320)):
        for density in (0.0, 0.02, 0.5, 1.0):
            mask = rng.random(shape) < density
            for rle in (compressed(mask), uncompressed(mask)):
                assert (run_length_mask(rle, shape, "x") == mask).all()
            assert (coco.decode(compressed(mask)).astype(bool) == mask).all()


def test_outline_is_larger_than_coco():
    inner = polygon_mask(SQUARE, (H, W), "x")
    outer = polygon_mask(SQUARE, (H, W), "x", "outline")
    assert inner.sum() == 64 and outer.sum() == 81 and (inner & ~outer).sum() == 0


def write_phrasecut(root, tasks=None, name="image_data_split.json"):
    root.mkdir(parents=True, exist_ok=True)
    square = [[2.5, 2.0], [10.0, 2.0], [10.0, 10.0], [2.5, 10.0]]
    far = [[x + 15, y] for x, y in square]
    structure = {"name": "dog", "attributes": ["black"], "relation_ids": [], "type": "attribute"}
    common = {"image_id": 7, "phrase": "black dogs", "phrase_structure": structure, "ann_ids": [1]}
    tasks = tasks if tasks is not None else [
        common | {"task_id": "7__0", "Polygons": [[square], [far]]},
        common | {"task_id": "7__1", "Polygons": [[square, far]]},
    ]  # fmt: skip
    images = [{"image_id": 7, "height": H, "width": W, "split": "val", "url": "", "coco_id": None}]
    (root / name).write_text(json.dumps(images))
    (root / "refer_val.json").write_text(json.dumps(tasks))
    return root


def test_phrasecut_layout(tmp_path):
    data = load_phrasecut(write_phrasecut(tmp_path), "val")
    assert [s.sample_id for s in data.samples] == ["7__0", "7__1"]
    first, second = data.samples
    assert (first.text, first.category, first.ref_id) == ("black dogs", "dog", "7__0")
    assert (first.flags["multi"], second.flags["multi"]) == (True, False)
    assert (first.flags["n_instances"], second.flags["n_instances"]) == (2, 1)
    assert (first.flags["n_attributes"], first.flags["phrase_type"]) == (1, "attribute")
    assert (first.flags["n_relations"], first.flags["image_area_px"]) == (0, H * W)
    union = data.gt_mask(first)
    assert (union == data.gt_mask(second)).all()
    assert union[3:9, 4:9].all() and union[3:9, 19:24].all() and not union[:, 11:16].any()
    assert data.image_path("7") == tmp_path / "images" / "7.jpg"
    elsewhere = load_phrasecut(tmp_path, "val", tmp_path / "VG")
    assert elsewhere.image_path("7") == tmp_path / "VG" / "7.jpg"
    outline = load_phrasecut(tmp_path, "val", raster="outline")
    assert outline.gt_mask(first).sum() > union.sum()


def test_phrasecut_prefers_the_3000_file_and_lists_splits(tmp_path):
    write_phrasecut(tmp_path, name="image_data_split3000.json")
    (tmp_path / "image_data_split.json").write_text("damaged")
    assert len(load_phrasecut(tmp_path, "val")) == 2
    with pytest.raises(TasError, match="no split 'miniv' of phrasecut; it has val"):
        load_phrasecut(tmp_path, "miniv")


@pytest.mark.parametrize("task", [
    {}, {"task_id": "1", "image_id": 8, "phrase": "x", "Polygons": []}, 7,
    {"task_id": "1", "image_id": 7, "phrase": "x", "Polygons": [[[[1, 2, 3]]]]},
    {"task_id": "1", "image_id": 7, "phrase": "x", "Polygons": [[[["a", 2]]]]},
    {"task_id": "1", "image_id": 7, "phrase": None, "Polygons": []},
])  # fmt: skip
def test_damaged_phrasecut(tmp_path, task):
    with pytest.raises(TasError) as caught:
        load_phrasecut(write_phrasecut(tmp_path, [task]), "val")
    assert "\n" not in str(caught.value)


@pytest.fixture
def world(tmp_path):
    """A RefScenes of two families in a few bytes."""
    write_refcoco(tmp_path)
    folder = tmp_path / "refcoco"
    (folder / "refs(unc).p").rename(folder / "refs(tas).p")
    folder.rename(tmp_path / "refscenes+")
    write_phrasecut(tmp_path / "phrasescenes")
    flags = {"image_id": "1", "text": "", "kind": "plain", "pronoun": False, "hidden_fraction": 0.2}
    rows = [
        {"family": "refscenes+", "split": split, "ref_id": r, "sent_id": s, "has_direction": s == 0}
        for split, r, s in [("val", 0, 0), ("val", 0, 1), ("val", 0, 2), ("val", 1, 3),
                            ("val", 3, 5), ("testA", 2, 4)]
    ] + [
        {"family": "phrasescenes", "split": "val", "ref_id": f"7__{k}", "sent_id": 0,
         "has_direction": False}
        for k in range(2)
    ]  # fmt: skip
    for row in rows:
        row |= flags | {"ref_id": str(row["ref_id"])}
    pd.DataFrame(rows).to_parquet(tmp_path / "expressions.parquet")
    return tmp_path


def test_refscenes_joins_the_flags(world):
    data = load_refscenes("refscenes+", "val", world)
    assert data.name == "refscenes+" and data.image_path("1").parent == world / "images"
    assert data.samples[0].flags == {
        "kind": "plain", "pronoun": False, "hidden_fraction": 0.2, "has_direction": True,
    }  # fmt: skip
    assert [s.flags["has_direction"] for s in data.samples] == [True] + [False] * 4
    phrases = load_refscenes("phrasescenes", "val", world)
    assert phrases.samples[0].flags["multi"] is True
    assert phrases.samples[0].flags["kind"] == "plain"
    assert phrases.image_path("7") == world / "images" / "7.jpg"
    assert data.index_digest != phrases.index_digest


def test_refscenes_mistakes(world):
    with pytest.raises(TasError, match=r"no RefScenes family 'refcoco'.*refscenes\+"):
        load_refscenes("refcoco", "val", world)
    with pytest.raises(TasError, match=r"no split 'test'; it has testA, val"):
        load_refscenes("refscenes+", "test", world)
    with pytest.raises(TasError, match="cannot be read"):
        load_refscenes("refscenesg", "val", world)
    path = world / "expressions.parquet"
    table = pd.read_parquet(path)
    table.iloc[1:].to_parquet(path)
    with pytest.raises(TasError, match="no row for"):
        load_refscenes("refscenes+", "val", world)
    table.drop(columns="split").to_parquet(path)
    with pytest.raises(TasError, match="damaged"):
        load_refscenes("refscenes+", "val", world)
    for raw in (b"", b"PAR1" + b"x" * 50):
        path.write_bytes(raw)
        with pytest.raises(TasError, match="restore it"):
            load_refscenes("refscenes+", "val", world)
    path.unlink()
    with pytest.raises(TasError, match="restore it"):
        load_refscenes("refscenes+", "val", world)


def test_names():
    published = ("refcoco", "refcoco+", "refcocog", "phrasecut")
    assert dataset_names() == (*FAMILIES, "photos7", *published, "own")
    with pytest.raises(TasError, match="no data set 'coco'; there are refscenes"):
        load_dataset("coco", "val")


def test_unknown_image(tmp_path):
    with pytest.raises(TasError, match="has no image '9'"):
        load(write_refcoco(tmp_path)).image_path("9")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("split", ["val", "testA", "testB", "testS"])
def test_the_world_that_ships(family, split):
    assert (paths.REFSCENES / "expressions.parquet").is_file()
    data = load_dataset(family, split)
    assert len(data) > 100 and len(data.image_ids) > 20
    assert all(data.image_path(image_id).is_file() for image_id in data.image_ids)
    for sample in data.samples[::25]:
        mask = data.gt_mask(sample)
        assert mask.shape == data.size_hw(sample.image_id) and mask.any()
        assert {"kind", "has_direction", "pronoun", "seen", "distractor"} <= set(sample.flags)
        assert sample.text.strip() and sample.text == sample.text.lower()
