"""Readers on hand-made files in the published layouts, sound and damaged; the door of data sets."""

import numpy as np
import pandas as pd
import published_trees as trees
import pytest
from published_trees import FAR, OVERLAPPING, SQUARE, H, W
from pycocotools import mask as coco

from tasutils import paths
from tasutils.datasets import DATASETS, group, load_dataset
from tasutils.datasets.coco import load_refcoco
from tasutils.datasets.phrasecut import load_phrasecut
from tasutils.datasets.sample import segmentation_mask
from tasutils.errors import TasError
from tasutils.images import require_annotated_size

FAMILIES = ("refscenes", "refscenes+", "refscenesg", "phrasescenes")


def disc():
    y, x = np.mgrid[:H, :W]
    return (y - 9) ** 2 + (x - 15) ** 2 < 40


def load(root, split="val", **more):
    return load_refcoco(root, "refcoco", "unc", split, root / "train2014", **more)


def one_line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- RefCOCO


def test_refcoco_layout(tmp_path):
    data = load(trees.write_refcoco(tmp_path), "testA")
    assert [s.sample_id for s in data.samples] == ["1-10", "2-20", "2-21"]
    assert (data.samples[1].text, data.samples[1].raw) == ("far dog", "Far Dog")
    assert (data.samples[1].category, data.samples[1].ann_ids) == ("dog", (102,))
    assert data.image_ids == ("2",) and len(data) == 3 and len(data.index_digest) == 64
    assert {k: len(v) for k, v in data.by_image().items()} == {"2": 3}
    path = tmp_path / "train2014" / trees.file_name(2)
    assert data.image_path("2") == path  # not the reference's own file_name
    assert data.size_hw("2") == (H, W)
    assert load(tmp_path).index_digest == data.index_digest
    with pytest.raises(TasError, match=r"no split 'testC'; it has testA, testB, val"):
        load(tmp_path, "testC")


@pytest.mark.parametrize("form", [trees.compressed, trees.uncompressed])
def test_truth_of_polygons_and_run_lengths(tmp_path, form):
    trees.write_refcoco(tmp_path, content=trees.changed(0, segmentation=form(disc())))
    data, near = load(tmp_path), load(tmp_path, "testA")
    mask = data.gt_mask(data.samples[0])
    assert mask.dtype == bool and (mask == disc()).all() and data.refer_truth is None
    assert near.gt_mask(near.samples[0])[4:14, 4:14].all()
    assert near.gt_mask(near.samples[0]).sum() == 100


def test_pixels_under_two_polygons_are_foreground_or_by_refers_rule_background(tmp_path):
    """REFER's mask is a sum of layers; TAS keeps what is not 0, Global-Local what is 1."""
    layers = coco.decode(coco.frPyObjects(OVERLAPPING, H, W)).sum(axis=2)
    assert layers.max() == 2
    data = load(trees.write_refcoco(tmp_path), "testB")
    (sample,) = data.samples
    assert (data.gt_mask(sample) == (layers > 0)).all()
    assert (data.refer_truth(sample) == (layers == 1)).all()


INSTANCES = [
    {"images": None}, {"images": [{}]}, {"images": [7]}, {"annotations": {}}, {"categories": [{}]},
    *({"images": [{"id": 1, "height": 9, "width": 9} | image]} for image in (
        {"file_name": "../../etc/passwd"}, {"file_name": "/etc/passwd"}, {"file_name": "C:\\x.jpg"},
        {"file_name": "..\\a"}, {"file_name": ""}, {"file_name": "a/../../b"},
        {"file_name": "a.jpg", "height": 0}, {"file_name": "a.jpg", "height": None},
        {"file_name": "a.jpg", "height": 10**400},
        {"file_name": "a.jpg", "height": 9_500, "width": 9_500})),
]  # fmt: skip


@pytest.mark.parametrize("refs, content", [
    *(([*trees.references()[1:], trees.reference(0) | change], {}) for change in (
        {"sentences": [{"raw": "no sent", "sent_id": 1}]}, {"sentences": "dog"}, {"image_id": 99},
        {"ann_id": 99}, {"image_id": 2}, {"category_id": None}, {"sentences": [7]}, {"ref_id": []},
        {"split": None})),
    *((refs, {}) for refs in ({}, [], "dog", [1], [None])),
    *((None, change) for change in INSTANCES),
])  # fmt: skip
def test_damaged_records(tmp_path, refs, content):
    with pytest.raises(TasError, match="refcoco") as caught:
        load(trees.write_refcoco(tmp_path, refs=refs, content=trees.instances() | content))
    one_line(caught)


def test_split_letters_as_refer_takes_them(tmp_path):
    """`test` is all of testA, testB and testAB, `testA` whatever has an A."""
    refs = trees.references()
    refs[0]["split"] = "testAB"
    data = load(trees.write_refcoco(tmp_path, refs=refs), "test")
    assert len(data) == 6 and {s.split for s in data.samples} == {"test"}
    assert data.notes == ("refcoco test: testA and testAB and testB together, as REFER takes it",)
    assert len(load(tmp_path, "testA")) == 5 and len(load(tmp_path, "testB")) == 3
    assert load(tmp_path, "testAB").notes == ()


def test_equal_ids_are_refused_or_named(tmp_path):
    twice = trees.changed(1)
    twice["annotations"].append(trees.annotation(0, segmentation=[FAR]))
    with pytest.raises(TasError, match="two of its annotations have the id 100"):
        load(trees.write_refcoco(tmp_path, content=twice))
    twice = trees.instances()
    twice["images"] = [*twice["images"], twice["images"][0]]  # the very same is none
    refs = [*trees.references(), trees.reference(0), trees.reference(1) | {"ann_id": 102}]
    data = load(trees.write_refcoco(tmp_path, refs=refs, content=twice))
    assert [s.sample_id for s in data.samples] == ["0-0", "0-1", "0-0#2", "0-1#2"]
    assert data.notes == (
        "refcoco val: twice in the file, and counted twice: 2 sentences (0-0#2, 0-1#2)",
    )
    with pytest.raises(TasError, match="ref 1 is annotation 101 and annotation 102"):
        load(tmp_path, "testA")
    twice["images"].append({**twice["images"][0], "file_name": "other.jpg"})
    with pytest.raises(TasError, match="two of its images have the id 1"):
        load(trees.write_refcoco(tmp_path, content=twice))


@pytest.mark.parametrize("shape", [[], [[]], [SQUARE[:4]], [[1, 1], SQUARE[:4]]])
def test_targets_without_a_pixel_are_counted(tmp_path, shape):
    data = load(trees.write_refcoco(tmp_path, content=trees.changed(0, segmentation=shape)))
    assert not data.gt_mask(data.samples[0]).any()
    assert data.notes[0].endswith(": 2 sentences (0-0, 0-1)")


def test_swapped_sides_are_named():
    with pytest.raises(TasError, match=f"of {W} x {H} px, width and height swapped;"):
        segmentation_mask({"size": [W, H], "counts": [H * W]}, (H, W), "x")
    with pytest.raises(TasError, match=f"is {W} x {H} px, .* say {H} x {W} .width and height sw"):
        require_annotated_size(paths.DATA, np.zeros((H, W, 3), np.uint8), (W, H))


# ---- shapes


@pytest.mark.parametrize("segmentation", [
    [[1, 2, 3]], [["a", 1, 2, 3, 4, 5]], [[0, 0, 1e9, 0, 1e9, 1e9]], [[None] * 6], [[[1, 2]] * 3],
    [[0, 0, float("nan"), 1, 1, 1]], [[10**400] * 6], [3], {}, {"size": [H, W]}, None, "abc",
    {"size": [W, H], "counts": [H * W]}, {"size": 3, "counts": [2**80]},
    *({"size": [H, W], "counts": counts} for counts in (
        [], [3], [H * W + 1], [-1, H * W + 1], [[H * W]], [2**62, 2**62], "zzzz", "", "\u00e9",
        "o" * 1000, "0" * 99, "\0", "3")),
])  # fmt: skip
def test_damaged_segmentations(segmentation):
    with pytest.raises(TasError, match=r"^instances\.json: ref 7: "):
        segmentation_mask(segmentation, (H, W), "instances.json: ref 7")


def test_run_lengths_as_pycocotools_decodes_them(rng):
    for shape in ((1, 1), (7, 5), (240, 320)):
        for density in (0.0, 0.02, 0.5, 1.0):
            mask = rng.random(shape) < density
            for rle in (trees.compressed(mask), trees.uncompressed(mask)):
                assert (segmentation_mask(rle, shape, "x") == mask).all()


def test_polygons_of_a_million_points(rng):
    angle = np.linspace(0, 2 * np.pi, 1_000_000, endpoint=False)
    circle = np.stack([320 + 200 * np.cos(angle), 240 + 200 * np.sin(angle)], 1).ravel().tolist()
    assert abs(segmentation_mask([circle], (480, 640), "circle").sum() - np.pi * 200**2) < 1500
    jumps = rng.uniform(-6000, 6000, 2_000_000).tolist()
    for raster in ("coco", "outline"):
        with pytest.raises(TasError, match="px long"):
            segmentation_mask([jumps], (480, 640), "jumps", raster)


# ---- PhraseCut


def test_phrasecut_layout(tmp_path):
    data = load_phrasecut(trees.write_phrasecut(tmp_path) / "phrasecut", "test")
    assert [s.sample_id for s in data.samples] == ["1__0", "1__1", "2__2", "3__3"]
    one, two = data.samples[:2]
    assert (one.text, one.category, one.ref_id, one.ann_ids) == ("red dog", "dog", "1__0", (0,))
    assert [s.flags["n_instances"] for s in data.samples] == [1, 2, 1, 5]
    assert (one.flags["multi"], two.flags["multi"]) == (False, True)
    assert (one.flags["n_attributes"], one.flags["phrase_type"]) == (1, "attribute")
    assert (one.flags["n_relations"], one.flags["image_area_px"]) == (0, H * W)
    union = data.gt_mask(two)
    assert (union == segmentation_mask([SQUARE, FAR], (H, W), "x")).all() and union.sum() == 180
    assert data.image_path("2") == tmp_path / "phrasecut" / "images" / "2.jpg"
    elsewhere = load_phrasecut(tmp_path / "phrasecut", "test", tmp_path / "VG")
    assert elsewhere.image_path("2") == tmp_path / "VG" / "2.jpg"


def test_phrasecut_prefers_the_3000_file_lists_splits_and_keeps_equal_ids_apart(tmp_path):
    near, far = [trees.polygon(SQUARE)], [trees.polygon(FAR)]
    twice = [trees.task(0, 1, "a", [near]), trees.task(0, 1, "a", [far])]
    folder = trees.write_phrasecut(tmp_path, test=twice)
    (folder / "phrasecut" / "image_data_split.json").write_text("damaged")
    data = load_phrasecut(folder / "phrasecut", "test")
    assert [s.sample_id for s in data.samples] == ["1__0", "1__0#2"]
    assert [data.gt_mask(s).sum() for s in data.samples] == [100, 80]
    assert data.notes == (
        "phrasecut test: twice in the file, and counted twice: 1 sentence (1__0#2)",
    )
    tiny = [trees.task(0, 1, "a", [[[[1.0, 1.0]]]]), trees.task(1, 1, "a", [near])]
    trees.write_phrasecut(tmp_path, test=tiny)
    for raster in ("coco", "outline"):
        (note,) = load_phrasecut(folder / "phrasecut", "test", raster=raster).notes
        assert note.endswith("on which every method scores 0: 1 sentence (1__0)")
    with pytest.raises(TasError, match="no split 'miniv' of phrasecut; it has test"):
        load_phrasecut(folder / "phrasecut", "miniv")


@pytest.mark.parametrize("entry", [
    {}, 7, {"task_id": "1", "image_id": 8, "phrase": "x", "Polygons": []},
    {"task_id": "1", "image_id": 1, "phrase": "x", "Polygons": [[[[1, 2, 3]]]]},
    {"task_id": "1", "image_id": 1, "phrase": "x", "Polygons": [[[["a", 2]]]]},
    {"task_id": "1", "image_id": 1, "phrase": None, "Polygons": []},
])  # fmt: skip
def test_damaged_phrasecut(tmp_path, entry):
    with pytest.raises(TasError) as caught:
        load_phrasecut(trees.write_phrasecut(tmp_path, test=[entry]) / "phrasecut", "test")
    one_line(caught)


# ---- RefScenes


@pytest.fixture
def world(tmp_path):
    """A RefScenes of two families in a few bytes."""
    trees.write_refcoco(tmp_path, "refscenes+", "tas")
    trees.write_phrasecut(tmp_path, "phrasescenes", images=False)
    rows = [
        {"family": "refscenes+", "split": ref["split"], "ref_id": str(ref["ref_id"]),
         "sent_id": s["sent_id"], "has_direction": "left" in s["sent"]}
        for ref in trees.references() for s in ref["sentences"]
    ] + [
        {"family": "phrasescenes", "split": "test", "ref_id": key, "sent_id": 0,
         "has_direction": False}
        for key in ("1__0", "1__1", "2__2", "3__3")
    ]  # fmt: skip
    known = {"image_id": "1", "text": "", "kind": "plain", "pronoun": False, "hidden": np.nan}
    pd.DataFrame([row | known for row in rows]).to_parquet(tmp_path / "expressions.parquet")
    return tmp_path


def test_refscenes_joins_the_flags(world):
    data = load_dataset("refscenes+", "val", root=world)
    assert data.name == "refscenes+" and data.image_path("1").parent == world / "images"
    assert data.samples[0].flags == {
        "kind": "plain", "pronoun": False, "hidden": "", "has_direction": True,
    }  # fmt: skip
    assert [s.flags["has_direction"] for s in data.samples] == [True, False]
    phrases = load_dataset("phrasescenes", "test", root=world)
    assert phrases.samples[1].flags["multi"] is True and phrases.samples[0].flags["kind"] == "plain"
    assert data.index_digest != phrases.index_digest


def test_refscenes_mistakes(world):
    path = world / "expressions.parquet"
    with pytest.raises(TasError, match=r"no split 'test'; it has val, testA"):
        load_dataset("refscenes+", "test", root=world)
    with pytest.raises(TasError, match="cannot be read"):
        load_dataset("refscenesg", "val", root=world)
    table = pd.read_parquet(path)
    table.iloc[1:].to_parquet(path)
    with pytest.raises(TasError, match="no row for"):
        load_dataset("refscenes+", "val", root=world)
    table.drop(columns="split").to_parquet(path)
    for raw in (None, b"", b"PAR1" + b"x" * 50, ...):
        if raw is ...:
            path.unlink()
        elif raw is not None:
            path.write_bytes(raw)
        with pytest.raises(TasError, match="restore it"):
            load_dataset("refscenes+", "val", root=world)


# ---- the door


def test_names():
    published = ("refcoco", "refcoco+", "refcocog", "phrasecut", "grefcoco", "refcoco-m")
    assert tuple(DATASETS) == (*FAMILIES, "grefscenes", "photos7", *published, "own")
    assert group("refscenes") == list(FAMILIES) and group("refcoco") == ["refcoco"]
    assert group("refscenes+") == ["refscenes+"]
    assert group("refscenes", ["refscenesg", "refscenesg"]) == ["refscenesg"]
    assert group("refscenes", ["all"]) == list(FAMILIES)
    for wrong in (("coco",), ("photos7", ["photos7"]), ("refscenes", ["x"])):
        with pytest.raises(TasError, match="'coco' is none of DATASETS|no famil"):
            group(*wrong)
