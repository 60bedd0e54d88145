"""photos7: pictures by hash, polygons by geometry, sentences by number, mistakes by one line."""

import json
from hashlib import sha256
from itertools import combinations

import numpy as np
import pytest

from tasutils import cli, paths
from tasutils.datasets import dataset, load_dataset, shipped
from tasutils.errors import TasError
from tasutils.images import read_image

FOLDER = paths.DATA / "photos7"
INSTANCES = json.loads((FOLDER / "instances.json").read_text(encoding="utf-8"))
REFS = json.loads((FOLDER / "refs.json").read_text(encoding="utf-8"))
SIZES = {image["id"]: (image["height"], image["width"]) for image in INSTANCES["images"]}


@pytest.fixture(scope="module")
def data():
    if not dataset("photos7").here():
        pytest.skip("needs scikit-image and scikit-learn: the extra photo")
    return load_dataset("photos7", "all")


@pytest.fixture
def copy(tmp_path):
    for name in ("instances.json", "refs.json"):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    return tmp_path


def edit(path, change):
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def crossing(a, b, c, d):
    """Whether the segments a-b and c-d share a point."""
    if any(max(a[i], b[i]) < min(c[i], d[i]) or max(c[i], d[i]) < min(a[i], b[i]) for i in (0, 1)):
        return False

    def turn(p, q, r):
        return np.sign((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]))

    return turn(a, b, c) * turn(a, b, d) <= 0 and turn(c, d, a) * turn(c, d, b) <= 0


@pytest.mark.parametrize("annotation", INSTANCES["annotations"], ids=lambda a: f"ann{a['id']}")
def test_polygons_are_simple_and_agree_with_box_and_area(annotation):
    height, width = SIZES[annotation["image_id"]]
    corners = [np.array(p, float).reshape(-1, 2) for p in annotation["segmentation"]]
    for points in corners:
        assert len(points) >= 4 and len(np.unique(points, axis=0)) == len(points)
        assert (points >= 0).all() and (points <= (width, height)).all()
        n = len(points)
        for i, j in combinations(range(n), 2):
            if j - i not in (1, n - 1):
                edges = points[i], points[(i + 1) % n], points[j], points[(j + 1) % n]
                assert not crossing(*edges), edges
    every = np.concatenate(corners)
    low, high = every.min(axis=0), every.max(axis=0)
    assert annotation["bbox"] == [*low, *(high - low)] and annotation["iscrowd"] == 0
    shoelace = sum(
        abs((x * v - u * y).sum()) / 2
        for (x, y), (u, v) in ((p.T, np.roll(p, -1, axis=0).T) for p in corners)
    )
    assert annotation["area"] == pytest.approx(shoelace, rel=0.08)


def test_ids_meet_and_licences_are_stated():
    annotations = {annotation["id"]: annotation for annotation in INSTANCES["annotations"]}
    categories = {category["id"] for category in INSTANCES["categories"]}
    licences = {licence["id"] for licence in INSTANCES["licenses"]}
    assert sorted(ref["ann_id"] for ref in REFS) == sorted(annotations)
    for ref in REFS:
        annotation = annotations[ref["ann_id"]]
        assert annotation["image_id"] == ref["image_id"] and ref["category_id"] in categories
        assert annotation["category_id"] == ref["category_id"]
        assert ref["sent_ids"] == [sentence["sent_id"] for sentence in ref["sentences"]]
    stated = (FOLDER / "LICENSES.md").read_text(encoding="utf-8")
    for image in INSTANCES["images"]:
        assert image["license"] in licences and f"`{image['file_name'].split('/')[-1]}`" in stated


def test_seven_pictures_and_thirty_five_sentences(data):
    digests = {str(image["id"]): image["sha256"] for image in INSTANCES["images"]}
    assert len(data.image_ids) == 7 == len(set(digests.values()))
    for image_id in data.image_ids:
        path = data.image_path(image_id)
        assert sha256(path.read_bytes()).hexdigest() == digests[image_id]
        assert read_image(path).shape == (*data.size_hw(image_id), 3)
    assert len(data) == 35 == len({(s.image_id, s.text) for s in data.samples})
    for samples in data.by_image().values():
        assert len(samples) == 5 and len({sample.category for sample in samples}) >= 3
    assert all(s.text == s.raw.lower() and s.split == "all" for s in data.samples)
    directions = [s.raw for s in data.samples if s.flags["has_direction"]]
    parts = [s.raw for s in data.samples if s.flags["part"]]
    assert len(directions) == 15 and "the tree on the right" in directions
    assert len(parts) == 10 and "the handle of the cup" in parts


def test_masks_are_those_of_the_annotations_and_a_part_lies_in_its_thing(data):
    areas = {str(a["id"]): a["area"] for a in INSTANCES["annotations"]}
    masks = {sample.raw: data.gt_mask(sample) for sample in data.samples}
    assert all(masks[sample.raw].sum() == areas[sample.ref_id] for sample in data.samples)
    for part, whole in {
        "the eye on the left": "the cat",
        "the handle of the cup": "the coffee cup",
        "the woman's face": "the woman in the orange suit",
        "the nose cone of the rocket": "the white rocket",
        "the black seat": "the red motorcycle",
        "the top roof of the temple": "the Chinese temple",
    }.items():
        assert (masks[part] & masks[whole]).sum() > 0.98 * masks[part].sum(), part
    for one, other in {
        "the coffee cup": "the red saucer under the cup",
        "the sky": "the Chinese temple",
        "the flag on the left": "the woman in the orange suit",
        "the eye on the left": "right eye of the cat",
    }.items():
        assert (masks[one] & masks[other]).sum() < 0.01 * masks[one].sum(), one


@pytest.mark.parametrize(("module", "package"), shipped.PACKAGES.items())
def test_a_missing_package_is_named_with_its_install_line(monkeypatch, module, package):
    found = shipped.find_spec
    monkeypatch.setattr(shipped, "find_spec", lambda name: None if name == module else found(name))
    assert not dataset("photos7").here()
    with pytest.raises(TasError, match=r"scikit-.*pip install 'tasutils\[photo\]'") as caught:
        load_dataset("photos7", "all")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key, value", [
    ("sha256", "0" * 64), ("file_name", "os/x.png"), ("file_name", "../skimage/data/coffee.png"),
    ("file_name", "skimage/data/x.png"), ("sha256", None),
])  # fmt: skip
def test_another_picture_or_one_elsewhere_is_refused(data, copy, key, value):
    edit(copy / "instances.json", lambda c: c["images"][0].update({key: value}))
    words = "not the picture.*constraints.txt" if value == "0" * 64 else None
    with pytest.raises(TasError, match=words) as caught:
        load_dataset("photos7", "all", root=copy)
    assert "\n" not in str(caught.value)


def test_damaged_files_are_told(data, copy):
    edit(copy / "refs.json", lambda c: c[3].pop("part"))
    with pytest.raises(TasError, match=r"refs.json: part: "):
        load_dataset("photos7", "all", root=copy)
    (copy / "refs.json").write_text("[", encoding="utf-8")
    with pytest.raises(TasError, match=r"refs.json: damaged JSON"):
        load_dataset("photos7", "all", root=copy)
    with pytest.raises(TasError, match="no split 'val'; it has all"):
        load_dataset("photos7", "val")


def test_evaluate_knows_photos7(monkeypatch, capsys):
    asked = []

    def evaluate_families(families, split, preset, **options):
        asked.append((families, split, preset.name))
        return []

    monkeypatch.setattr("tasutils.evaluate.evaluate_families", evaluate_families)
    assert cli.main(["evaluate", "photos7", "all"]) == 0
    assert cli.main(["evaluate", "photos7", "all", "--preset", "tiny"]) == 0
    assert asked == [(["photos7"], "all", "photo"), (["photos7"], "all", "tiny")]
    assert cli.main(["evaluate", "refscenes", "val"]) == 0
    assert "photos7" not in asked[-1][0] and asked[-1][2] == "tiny"
    assert cli.main(["evaluate", "photos7", "all", "--family", "photos7"]) == 2
    assert "photos7 has no families" in capsys.readouterr().err
