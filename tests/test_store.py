"""Scenes on disk."""

import io
import os
import pickle
import time
from contextlib import redirect_stderr
from multiprocessing import get_context

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from light import assert_equal, make_rows, make_scene

from tasutils import store_writer
from tasutils.errors import TasError
from tasutils.store import SceneStore, scene_key
from tasutils.store_compare import store_differences
from tasutils.store_rows import scene_table, scenes_of, schema
from tasutils.store_writer import SceneWriter


@pytest.mark.parametrize("phrases", [[], ["a red car", "a dog"]])
@pytest.mark.parametrize("n", [0, 1, 3])
def test_round_trip(tmp_path, rng, masks, n, phrases):
    store = SceneStore(tmp_path / "deep" / "store")
    assert store.get("key") is None
    scene = make_scene(rng, masks[:n], phrases)
    path = store.put("key", scene)
    assert_equal(scene, store.get("key"))
    assert_equal(scene, SceneStore(store.folder).get("key"))
    assert_equal(scene, pickle.loads(pickle.dumps(store)).get("key"))
    assert os.listdir(path.parent) == [path.name]
    assert pq.read_table(path).num_rows == 1


@pytest.mark.parametrize("n", [0, 1, 37])
def test_tables_are_the_inverse_of_rows(rng, masks, n):
    rows = make_rows(rng, masks, n)
    table = scene_table(rows, {"key1": "s" * 40})
    assert table.schema == schema() and len(table) == n
    for (key, scene), (other_key, other) in zip(rows, scenes_of(table), strict=True):
        assert key == other_key
        assert_equal(scene, other)
    for chunked in (pa.concat_tables([table.slice(0, 3), table.slice(3)]), table.slice(1)):
        assert scene_table(scenes_of(chunked)).drop("source") == chunked.drop("source")


def test_embeddings_are_rounded_to_float16_and_no_further(rng, masks):
    scene = make_scene(rng, masks, ["a"])
    exact = rng.normal(size=scene.crop_embeddings.shape).astype(np.float32)
    object.__setattr__(scene, "crop_embeddings", exact)
    ((_, back),) = scenes_of(scene_table([("k", scene)]))
    assert np.array_equal(back.crop_embeddings, exact.astype(np.float16).astype(np.float32))


def test_many_scenes_a_file_and_each_is_found(tmp_path, rng, masks):
    store, rows = SceneStore(tmp_path), make_rows(rng, masks, 40)
    paths = [store.put_many(rows[:25], {"key3": "a"}), store.put_many(rows[25:], {"key30": "b"})]
    assert sorted(os.listdir(tmp_path)) == sorted(path.name for path in paths)
    assert store.keys() == dict(rows).keys()
    assert store.keys_by_source("d" * 64) == {"a": "key3", "b": "key30"}
    assert store.keys_by_source("e" * 64) == {}
    for key, scene in rows:
        assert_equal(scene, store.get(key))
    found = list(store.scenes())
    assert len(found) == 40
    for key, scene in found:
        assert_equal(scene, dict(rows)[key])
    assert [key for key, _ in store.scenes(["key30", "key3", "none"])] in (
        ["key3", "key30"], ["key30", "key3"])  # fmt: skip


def test_only_the_columns_asked_for_are_read(tmp_path, rng, masks):
    store = SceneStore(tmp_path)
    path = store.put_many(make_rows(rng, masks, 40))
    data = bytearray(path.read_bytes())
    chunk = pq.read_metadata(path).row_group(1).column(schema().get_field_index("boxes_xyxy"))
    data[chunk.data_page_offset + 30] ^= 1
    path.write_bytes(data)
    (a, b, c) = store.tables(["key", "captions"])  # the damage is in another column
    assert a.column_names == ["key", "captions"] and [len(t) for t in (a, b, c)] == [16, 16, 8]
    assert len(list(store.tables(["boxes_xyxy"], [f"key{k}" for k in range(16)]))) == 1
    with redirect_stderr(io.StringIO()) as told:
        assert len(list(store.tables(["boxes_xyxy"]))) == 1
    assert "is damaged; set aside" in told.getvalue()


def test_what_is_there_is_not_written_again(tmp_path, rng, masks):
    store, rows = SceneStore(tmp_path), make_rows(rng, masks, 6)
    store.put_many(rows[:4])
    other = SceneStore(tmp_path)
    assert other.put_many(rows[2:4]) is None and other.put("key0", rows[0][1]) is None
    path = other.put_many([*rows[2:], rows[5]])
    assert pq.read_table(path)["key"].to_pylist() == ["key4", "key5"]
    assert store.keys() == dict(rows).keys()


def test_another_schema_version_is_absent_and_stays(tmp_path, rng, masks, monkeypatch, capsys):
    monkeypatch.setattr("tasutils.store_shards.SCHEMA_VERSION", 999)
    path = SceneStore(tmp_path).put("key", make_scene(rng, masks, []))
    monkeypatch.undo()
    store = SceneStore(tmp_path)
    assert store.get("key") is None and store.verify() == [] and path.exists()
    store.put("key", make_scene(rng, masks, []))
    assert store.get("key") is not None and capsys.readouterr().err == ""


DAMAGES = {
    "empty": lambda data: b"",
    "cut": lambda data: data[:100],
    "cut at the end": lambda data: data[:-10],
    "longer": lambda data: data + b"x",
    "noise": lambda data: b"x" * len(data),
    "no footer": lambda data: data[:-8] + b"\xff" * 4 + b"PAR1",
}


@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_shards_are_named_set_aside_and_made_again(tmp_path, rng, masks, how, capsys):
    rows = make_rows(rng, masks, 5)
    path = SceneStore(tmp_path).put_many(rows)
    path.write_bytes(DAMAGES[how](path.read_bytes()))
    store = SceneStore(tmp_path)
    assert store.verify() == [] and store.keys() == set()  # known from its footer already
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and str(path) in told and f"{path.name}.damaged" in told
    assert os.listdir(tmp_path) == [f"{path.name}.damaged"]
    store.put_many(rows)
    assert SceneStore(tmp_path).keys() == dict(rows).keys()
    assert capsys.readouterr().err == ""


def test_a_foreign_file_with_a_shards_name_is_damage(tmp_path, rng, masks):
    path = SceneStore(tmp_path).put("key", make_scene(rng, masks, []))
    pq.write_table(pa.table({"key": ["key"]}), path)
    assert SceneStore(tmp_path).keys() == set() and not path.exists()


def test_other_files_are_left_alone(tmp_path, rng, masks, capsys):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "mine.parquet")
    (tmp_path / "notes.txt").write_text("mine")
    store = SceneStore(tmp_path)
    store.put("key", make_scene(rng, masks, []))
    assert store.verify() == [] and store.keys() == {"key"}
    assert len(os.listdir(tmp_path)) == 3 and capsys.readouterr().err == ""


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), verify=st.booleans())
def test_a_flipped_byte_anywhere_is_found(tmp_path, masks, place, flip, verify):
    for old in tmp_path.iterdir():
        old.unlink()
    rows = make_rows(np.random.default_rng(0), masks, 20)
    path = SceneStore(tmp_path).put_many(rows)
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= flip
    path.write_bytes(data)
    store = SceneStore(tmp_path)
    with redirect_stderr(io.StringIO()) as told:
        if verify:
            store.verify()
        else:
            for key, scene in store.scenes():  # what is still read is right
                assert_equal(scene, dict(rows)[key])
    assert told.getvalue().count("\n") == 1 and not path.exists()
    assert store.keys() == set() and all(store.get(key) is None for key in dict(rows))


def test_a_shard_of_a_folder_that_cannot_be_written_is_ignored(tmp_path, rng, masks, capsys,
                                                               monkeypatch):  # fmt: skip
    path = SceneStore(tmp_path).put("key", make_scene(rng, masks, []))
    path.write_bytes(b"")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "replace", refuse)
    store = SceneStore(tmp_path)
    assert store.get("key") is None and store.get("key") is None and path.exists()
    assert capsys.readouterr().err.count("\n") == 1


def test_a_shard_that_another_process_set_aside(tmp_path, rng, masks):
    rows = make_rows(rng, masks, 3)
    store = SceneStore(tmp_path)
    path = store.put_many(rows[:2])
    store.put_many(rows[2:])
    assert len(store.keys()) == 3
    path.unlink()
    assert store.get("key0") is None and store.get("key2") is not None
    assert [key for key, _ in store.scenes()] == ["key2"]


def test_unwritable_folder(tmp_path, rng, masks):
    (tmp_path / "file").touch()
    with pytest.raises(TasError, match="another folder") as error:
        SceneStore(tmp_path / "file" / "store").put("key", make_scene(rng, masks, []))
    assert "\n" not in str(error.value)
    with (
        pytest.raises(TasError, match="another folder"),
        SceneWriter(SceneStore(tmp_path / "file")) as writer,
    ):
        writer.put("key", make_scene(rng, masks, []))


def test_failed_write_leaves_nothing(tmp_path, rng, masks, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TasError, match="No space"):
        SceneStore(tmp_path).put("key", make_scene(rng, masks, []))
    assert os.listdir(tmp_path) == []


def test_what_killed_processes_left_is_deleted(tmp_path):
    old, new = tmp_path / "scenes-1.tmp", tmp_path / "scenes-2.tmp"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 4000,) * 2)
    SceneStore(tmp_path).verify()
    assert os.listdir(tmp_path) == [new.name]


def test_keys():
    image = np.zeros((4, 6, 3), np.uint8)
    keys = {scene_key(image, "a"), scene_key(image, "b"), scene_key(image + 1, "a")}
    keys.add(scene_key(image.reshape(6, 4, 3), "a"))
    assert len(keys) == 4
    assert scene_key(image[:, ::-1], "a") == scene_key(image[:, ::-1].copy(), "a")


def test_the_writer_gathers_by_number_and_by_time(tmp_path, rng, masks, monkeypatch):
    monkeypatch.setattr(store_writer, "FLUSH_SCENES", 8)
    monkeypatch.setattr(store_writer, "FLUSH_S", 0.3)
    store, rows = SceneStore(tmp_path), make_rows(rng, masks, 20)
    with SceneWriter(store) as writer:
        for key, scene in rows:
            writer.put(key, scene, f"of {key}")
        deadline = time.monotonic() + 10
        while len(store.keys()) < 20 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(store.keys()) == 20 and len(os.listdir(tmp_path)) == 3  # 8, 8, and 4 in time
        writer.put("last", rows[0][1])
        assert writer.get("key7") is not None
    assert store.get("last") is not None
    assert store.keys_by_source("d" * 64)["of key3"] == "key3"


def test_the_writer_keeps_what_it_has_when_the_work_fails(tmp_path, rng, masks):
    with pytest.raises(KeyboardInterrupt), SceneWriter(SceneStore(tmp_path)) as writer:
        writer.put("key", make_scene(rng, masks, []))
        raise KeyboardInterrupt
    assert SceneStore(tmp_path).keys() == {"key"}


def _put_in_turn(folder, seed):
    rng = np.random.default_rng(seed)
    masks = np.ones((3, 20, 30), bool)
    rows, store = make_rows(np.random.default_rng(7), masks, 60), SceneStore(folder)
    order = rng.permutation(60)
    for part in np.split(order, 10):
        store.put_many([rows[k] for k in part])
        store.get(f"key{rng.integers(60)}")


def test_processes_at_once(tmp_path):
    context = get_context("fork")
    workers = [context.Process(target=_put_in_turn, args=(tmp_path / "a", k)) for k in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    _put_in_turn(tmp_path / "b", 5)
    a, b = SceneStore(tmp_path / "a"), SceneStore(tmp_path / "b")
    assert a.verify() == [] and len(list(a.scenes())) == 60
    assert store_differences(a, b) == []


def test_differences_between_stores(tmp_path, rng, masks):
    rows = make_rows(rng, masks, 8)
    a, b = SceneStore(tmp_path / "a"), SceneStore(tmp_path / "b")
    a.put_many(rows[:6], {"key2": "a file"})
    b.put_many(rows[:4])
    object.__setattr__(rows[5][1], "times_s", {"caption": 9.0})
    object.__setattr__(rows[4][1], "image_caption", "another")
    b.put_many(rows[4:7])
    assert store_differences(a, a) == []
    assert store_differences(a, b) == ["key4: another image_caption", f"key6: only in {b.folder}"]


def test_bytes_by_column_add_up(tmp_path, rng):
    y, x = np.mgrid[:480, :640]
    masks = np.stack([(y - 6 * k) ** 2 + (x - 9 * k) ** 2 < 90**2 for k in range(40)])
    rows = [(f"k{n}", make_scene(rng, masks, ["a dog"] * 8, d=512)) for n in range(20)]
    store = SceneStore(tmp_path)
    path = store.put_many(rows)
    sizes = store.bytes_by_column()
    assert set(sizes) == {*schema().names, "footer"} and all(sizes.values())
    assert sum(sizes.values()) == path.stat().st_size < 20 * 250_000
    assert 2 * 40 * 512 * 20 <= sizes["crop_embeddings"] < 1.01 * 2 * 40 * 512 * 20
