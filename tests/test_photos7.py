"""photos7: pictures by hash, masks by geometry, sentences by number, mistakes by one line."""

import importlib.util
import json
from hashlib import sha256

import pytest

from tasutils import paths
from tasutils.datasets import dataset, load_dataset, shipped
from tasutils.errors import TasError
from tasutils.images import read_image

FOLDER = paths.DATA / "photos7"
INSTANCES = json.loads((FOLDER / "instances.json").read_text(encoding="utf-8"))
REFS = json.loads((FOLDER / "refs.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def data():
    if not dataset("photos7").here():
        pytest.skip("needs scikit-image and scikit-learn: the extra photo")
    return load_dataset("photos7", "all")


def test_ids_meet_and_licences_are_stated():
    annotations = {annotation["id"]: annotation for annotation in INSTANCES["annotations"]}
    assert sorted(ref["ann_id"] for ref in REFS) == sorted(annotations)
    for ref in REFS:
        annotation = annotations[ref["ann_id"]]
        assert annotation["image_id"] == ref["image_id"]
        assert annotation["category_id"] == ref["category_id"]
        assert ref["sent_ids"] == [sentence["sent_id"] for sentence in ref["sentences"]]
    stated = (FOLDER / "LICENSES.md").read_text(encoding="utf-8")
    licences = {licence["id"] for licence in INSTANCES["licenses"]}
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
    assert all(len(samples) == 5 for samples in data.by_image().values())
    assert all(s.text == s.raw.lower() and s.split == "all" for s in data.samples)
    directions = [s.raw for s in data.samples if s.flags["has_direction"]]
    parts = [s.raw for s in data.samples if s.flags["part"]]
    assert len(directions) == 15 and "the tree on the right" in directions
    assert len(parts) == 10 and "the handle of the cup" in parts


def test_masks_are_those_of_the_annotations_and_a_part_lies_in_its_thing(data):
    areas = {str(a["id"]): a["area"] for a in INSTANCES["annotations"]}
    masks = {sample.raw: data.gt_mask(sample) for sample in data.samples}
    assert all(masks[sample.raw].sum() == areas[sample.ref_id] for sample in data.samples)
    for one, other, share in [
        ("the eye on the left", "the cat", 1), ("the handle of the cup", "the coffee cup", 1),
        ("the woman's face", "the woman in the orange suit", 1),
        ("the nose cone of the rocket", "the white rocket", 1),
        ("the black seat", "the red motorcycle", 1),
        ("the top roof of the temple", "the Chinese temple", 1),
        ("the coffee cup", "the red saucer under the cup", 0), ("the sky", "the Chinese temple", 0),
        ("the flag on the left", "the woman in the orange suit", 0),
        ("the eye on the left", "right eye of the cat", 0),
    ]:  # fmt: skip
        inside = (masks[one] & masks[other]).sum() / masks[one].sum()
        assert inside == pytest.approx(share, abs=0.02), one


@pytest.mark.parametrize("module", shipped.PACKAGES)
def test_a_missing_package_is_named_with_its_install_line(monkeypatch, module):
    found = importlib.util.find_spec
    missing = lambda name, *more: None if name == module else found(name, *more)  # noqa: E731
    monkeypatch.setattr("importlib.util.find_spec", missing)
    assert not dataset("photos7").here()
    with pytest.raises(TasError, match=r"scikit-.*pip install 'tasutils\[photo\]'"):
        load_dataset("photos7", "all")


@pytest.mark.parametrize("file, key, value, words", [
    ("instances.json", "sha256", "0" * 64, "not the picture.*constraints.txt"),
    ("instances.json", "file_name", "os/x.png", "part of the package os"),
    ("instances.json", "file_name", "../skimage/data/coffee.png", "leaves the image folder"),
    ("instances.json", "file_name", "skimage/data/x.png", "not the picture"),
    ("instances.json", "sha256", None, "not the picture"),
    ("refs.json", "part", None, "a reference without part"),
])  # fmt: skip
def test_another_picture_and_damaged_files_are_refused(data, tmp_path, file, key, value, words):
    for name, content in (("instances.json", INSTANCES), ("refs.json", REFS)):
        content = json.loads(json.dumps(content))
        if name == file:
            (content["images"] if name == "instances.json" else content)[0][key] = value
        (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(TasError, match=words) as caught:
        load_dataset("photos7", "all", root=tmp_path)
    assert "\n" not in str(caught.value)
