"""Scenes on disk."""

import os

import numpy as np
import pyarrow.parquet as pq
import pytest

from tasutils.errors import TasError
from tasutils.scene import Proposals, Scene
from tasutils.store import SceneStore, scene_key


def unit(rng, n, d=5):
    rows = rng.normal(size=(n, d)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def make_scene(rng, masks, phrases):
    n = len(masks)
    scores = rng.random(n).astype(np.float32)
    return Scene(
        image_id="café 1",
        size_hw=masks.shape[1:],
        proposals=Proposals.from_masks(masks, scores, scores / 2),
        crop_embeddings=unit(rng, n),
        captions=["a red car", "", "naïve 🐈"][:n],
        captions_raw=["a red car ", "a photo of", "naïve 🐈"][:n],
        caption_embeddings=unit(rng, n),
        image_caption="a red car",
        image_caption_raw=" a red car",
        phrases=phrases,
        phrase_embeddings=unit(rng, len(phrases)),
        times_s={"proposals": 0.25, "caption": 1.5},
        describe_digest="d" * 64,
    )


def assert_equal(a, b):
    for part_a, part_b in ((a, b), (a.proposals, b.proposals)):
        for name, value in vars(part_a).items():
            other = getattr(part_b, name)
            if isinstance(value, np.ndarray):
                assert other.dtype == value.dtype and other.shape == value.shape, name
                assert np.array_equal(value, other), name
            elif name != "proposals":
                assert value == other, name
    assert np.array_equal(a.proposals.masks(), b.proposals.masks())


@pytest.mark.parametrize("phrases", [[], ["a red car", "a dog"]])
@pytest.mark.parametrize("n", [0, 1, 3])
def test_round_trip(tmp_path, rng, masks, n, phrases):
    store = SceneStore(tmp_path / "deep" / "store")
    assert store.get("key") is None
    scene = make_scene(rng, masks[:n], phrases)
    path = store.put("key", scene)
    assert_equal(scene, store.get("key"))
    assert os.listdir(path.parent) == ["key.parquet"]
    assert pq.read_table(path).num_rows == 1


def test_another_schema_version_is_absent(tmp_path, rng, masks, monkeypatch):
    store = SceneStore(tmp_path)
    store.put("key", make_scene(rng, masks, []))
    monkeypatch.setattr("tasutils.store.SCHEMA_VERSION", 999)
    assert store.get("key") is None


def test_damaged_files_are_absent(tmp_path, rng, masks):
    store = SceneStore(tmp_path)
    path = store.put("key", make_scene(rng, masks, []))
    data = path.read_bytes()
    for damaged in (b"", data[:100], data[:-10], b"x" * len(data)):
        path.write_bytes(damaged)
        assert store.get("key") is None
    store.put("key", make_scene(rng, masks, []))
    assert store.get("key") is not None


def test_unwritable_folder(tmp_path, rng, masks):
    (tmp_path / "file").touch()
    with pytest.raises(TasError, match="another folder") as error:
        SceneStore(tmp_path / "file" / "store").put("key", make_scene(rng, masks, []))
    assert "\n" not in str(error.value)


def test_failed_write_leaves_nothing(tmp_path, rng, masks, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(TasError, match="No space"):
        SceneStore(tmp_path).put("key", make_scene(rng, masks, []))
    assert os.listdir(tmp_path) == []


def test_keys(tmp_path):
    image = np.zeros((4, 6, 3), np.uint8)
    keys = {scene_key(image, "a"), scene_key(image, "b"), scene_key(image + 1, "a")}
    keys.add(scene_key(image.reshape(6, 4, 3), "a"))
    assert len(keys) == 4
    assert scene_key(image[:, ::-1], "a") == scene_key(image[:, ::-1].copy(), "a")
    for bad in ("", "../x", "a/b", ".hidden"):
        with pytest.raises(ValueError, match="plain file name"):
            SceneStore(tmp_path).path(bad)
