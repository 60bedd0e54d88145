"""Scenes on disk."""

import io
import os
import time
from contextlib import redirect_stderr
from multiprocessing import get_context

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from light import assert_equal, make_rows, make_scene, store_differences, unit

from tasutils import store as module
from tasutils.errors import TasError
from tasutils.store import SceneStore, scene_key

FORK = get_context("fork")


def fill(store, rows):
    """Put rows into a store; the one file's path."""
    with store:
        for key, scene in rows:
            store.put(key, scene, f"of {key}")
    (path,) = store.folder.glob("scenes-*.parquet")
    return path


@pytest.mark.parametrize("phrases", [[], ["a red car", "a dog"]])
@pytest.mark.parametrize("n", [0, 1, 3])
def test_round_trip(tmp_path, rng, masks, n, phrases):
    store = SceneStore(tmp_path / "deep" / "store")
    assert store.get("key") is None and store.keys() == set()
    scene = make_scene(rng, masks[:n], phrases)
    scene.views["whole"] = unit(rng, n)
    store.put("key", scene)
    assert_equal(scene, store.get("key"))
    assert_equal(scene, SceneStore(store.folder).get("key"))
    (name,) = os.listdir(store.folder)
    table = pq.read_table(store.folder / name)
    assert table.num_rows == 1 and table.schema.metadata[b"tas_describe_digests"] == b"d" * 64


def test_scenes_wait_for_others_and_are_joined_at_the_end(tmp_path, rng, masks, monkeypatch):
    rows, store = make_rows(rng, masks, 21), SceneStore(tmp_path)
    with store:
        for key, scene in rows:
            store.put(key, scene, f"of {key}")
            assert_equal(scene, store.get(key))  # those that wait too
        written = SceneStore(tmp_path)
        assert len(written.keys()) == 16 and len(os.listdir(tmp_path)) == 2
        monkeypatch.setattr(module, "FLUSH_S", -1.0)
        assert store.get("none") is None  # a later call writes what has waited
        assert len(written.keys()) == 21
    assert len(os.listdir(tmp_path)) == 1
    # files that are gone by now are read where their scenes are
    assert written.get("key3") is not None
    assert written.sources("d" * 64) == {f"of key{k}": f"key{k}" for k in range(21)}
    assert written.sources("e" * 64) == {}
    assert [key for key, _ in written.scenes()] == [key for key, _ in rows]
    for key, scene in written.scenes():
        assert_equal(scene, dict(rows)[key])


def test_what_is_there_is_not_written_again(tmp_path, rng, masks):
    rows = make_rows(rng, masks, 6)
    fill(SceneStore(tmp_path), rows[:4])
    before = set(os.listdir(tmp_path))
    with SceneStore(tmp_path) as store:
        for key, scene in rows[2:]:
            store.put(key, scene)
        store.flush()
        (path,) = (tmp_path / name for name in set(os.listdir(tmp_path)) - before)
        assert pq.read_table(path)["key"].to_pylist() == ["key4", "key5"]
    assert SceneStore(tmp_path).keys() == dict(rows).keys()


def test_files_are_joined_up_to_a_size_and_equal_keys_once(tmp_path, rng, masks, monkeypatch):
    monkeypatch.setattr(module, "FILE_SCENES", 10)
    rows, alone = make_rows(rng, masks, 12), [SceneStore(tmp_path), SceneStore(tmp_path)]
    monkeypatch.setattr(SceneStore, "keys", lambda _: set())  # each knows nothing of the other
    for part in (rows[:6], rows[4:], rows[:1]):
        for store in alone:
            for key, scene in part:
                store.put(key, scene)
    monkeypatch.undo()
    monkeypatch.setattr(module, "FILE_SCENES", 10)
    store = SceneStore(tmp_path)
    assert len(os.listdir(tmp_path)) == 12  # equal rows make equal files
    store.join()
    sizes = [pq.read_metadata(path).num_rows for path in tmp_path.iterdir()]
    assert sum(sizes) == 12 and max(sizes) == 10
    assert {key for key, _ in store.scenes()} == dict(rows).keys()


def test_another_form_is_told_skipped_and_stays(tmp_path, rng, masks, monkeypatch, capsys):
    monkeypatch.setattr(module, "SCHEMA_VERSION", 999)
    path = fill(SceneStore(tmp_path), make_rows(rng, masks, 1))
    monkeypatch.undo()
    store = SceneStore(tmp_path)
    assert store.get("key0") is None and path.exists()
    fill_again = make_scene(rng, masks, [])
    store.put("key0", fill_again)
    assert store.get("key0") is not None and len(os.listdir(tmp_path)) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "of another form" in told and str(tmp_path) in told


DAMAGES = {
    "empty": lambda data: b"",
    "cut": lambda data: data[:100],
    "longer": lambda data: data + b"x",
    "flipped": lambda data: data[:99] + bytes([data[99] ^ 1]) + data[100:],
    "no footer": lambda data: data[:-8] + b"\xff" * 4 + b"PAR1",
}


@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_files_are_named_set_aside_and_made_again(tmp_path, rng, masks, how, capsys):
    rows = make_rows(rng, masks, 5)
    path = fill(SceneStore(tmp_path), rows)
    path.write_bytes(DAMAGES[how](path.read_bytes()))
    assert SceneStore(tmp_path).keys() == set()
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and str(path) in told and f"{path.name}.damaged" in told
    assert os.listdir(tmp_path) == [f"{path.name}.damaged"]
    fill(SceneStore(tmp_path), rows)
    assert SceneStore(tmp_path).keys() == dict(rows).keys() and capsys.readouterr().err == ""


def test_a_file_of_another_maker_is_one_line(tmp_path, rng, masks):
    path = fill(SceneStore(tmp_path), make_rows(rng, masks, 3))
    table = pq.read_table(path).drop_columns(["captions"])
    path.unlink()
    name = SceneStore(tmp_path)._write(table)
    with pytest.raises(TasError, match=f"{name} cannot be read as scenes") as error:
        SceneStore(tmp_path).get("key0")
    assert "\n" not in str(error.value)


def test_other_files_are_left_alone(tmp_path, rng, masks, capsys):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "mine.parquet")
    (tmp_path / "notes.txt").write_text("mine")
    store = SceneStore(tmp_path)
    store.put("key", make_scene(rng, masks, []))
    assert store.keys() == {"key"}
    assert len(os.listdir(tmp_path)) == 3 and capsys.readouterr().err == ""


def test_a_damaged_file_that_cannot_be_moved_is_ignored(tmp_path, rng, masks, capsys, monkeypatch):
    path = fill(SceneStore(tmp_path), make_rows(rng, masks, 1))
    path.write_bytes(b"")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "replace", refuse)
    store = SceneStore(tmp_path)
    assert store.get("key0") is None and store.get("key0") is None and path.exists()
    assert capsys.readouterr().err.count("\n") == 1


def test_what_killed_processes_left_is_deleted(tmp_path):
    old, new = tmp_path / ".tas-1-a.tmp", tmp_path / ".tas-1-b.tmp"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 8 * 24 * 3600,) * 2)
    with SceneStore(tmp_path):
        assert os.listdir(tmp_path) == [new.name]


def test_keys():
    image = np.zeros((4, 6, 3), np.uint8)
    keys = {scene_key(image, "a"), scene_key(image, "b"), scene_key(image + 1, "a")}
    keys.add(scene_key(image.reshape(6, 4, 3), "a"))
    assert len(keys) == 4
    assert scene_key(image[:, ::-1], "a") == scene_key(image[:, ::-1].copy(), "a")


def test_what_waits_is_written_when_the_work_fails(tmp_path, rng, masks):
    with pytest.raises(KeyboardInterrupt), SceneStore(tmp_path) as store:
        store.put("key", make_scene(rng, masks, []))
        raise KeyboardInterrupt
    assert SceneStore(tmp_path).keys() == {"key"}


def _put_in_turn(folder, seed):
    rng = np.random.default_rng(seed)
    rows = make_rows(np.random.default_rng(7), np.ones((3, 20, 30), bool), 60)
    for part in np.split(rng.permutation(60), 10):
        with SceneStore(folder) as store:  # and so its files are joined all the time
            for k in part:
                store.put(*rows[k])
            store.flush()
            store.get(f"key{rng.integers(60)}")
            assert sum(1 for _ in store.scenes()) >= len(part)


def test_processes_at_once(tmp_path):
    workers = [FORK.Process(target=_put_in_turn, args=(tmp_path / "a", k)) for k in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    _put_in_turn(tmp_path / "b", 5)
    a, b = SceneStore(tmp_path / "a"), SceneStore(tmp_path / "b")
    assert len(list(a.scenes())) == 60 and store_differences(a, b) == []
    assert not [name for name in os.listdir(a.folder) if not name.endswith(".parquet")]


def _put_for_ever(folder):
    rows = make_rows(np.random.default_rng(7), np.ones((3, 200, 300), bool), 2000, d=200)
    with SceneStore(folder) as store:
        for key, scene in rows:
            store.put(key, scene)


def test_a_killed_writer_leaves_whole_files(tmp_path):
    """Each time at another write: after the kill every file that has its name can be read."""
    for n_files in (1, 2, 4, 7):
        folder = tmp_path / str(n_files)
        process = FORK.Process(target=_put_for_ever, args=(folder,))
        process.start()
        while process.is_alive() and len(list(folder.glob("*"))) < n_files:
            time.sleep(0.001)
        process.kill()
        process.join()
        with redirect_stderr(io.StringIO()) as told:
            assert len(list(SceneStore(folder).scenes())) >= 8 * (n_files - 1)
        assert told.getvalue() == ""


def test_a_scene_of_forty_masks_takes_about_100_kB(tmp_path, rng):
    y, x = np.mgrid[:480, :640]
    masks = np.stack([(y - 6 * k) ** 2 + (x - 9 * k) ** 2 < 90**2 for k in range(40)])
    rows = [(f"k{n}", make_scene(rng, masks, ["a dog"] * 8, d=512)) for n in range(20)]
    assert 2 * 2 * 40 * 512 < fill(SceneStore(tmp_path), rows).stat().st_size / 20 < 150_000
