"""`tas describe`: a store filled by engines that are killed, sharded, or meet bad pictures."""

import json
import os
from multiprocessing import get_context

import numpy as np
import pytest
from light import (
    FakeCaptioner,
    FakeProposer,
    H,
    W,
    Words,
    batch_tas,
    make_pictures,
    store_differences,
)
from PIL import Image

import tasutils
from tasutils import cli
from tasutils.config import load_preset
from tasutils.engines import describe_dataset
from tasutils.errors import TasError
from tasutils.scene import Proposals
from tasutils.store import SceneStore
from tasutils.tas import TAS

FORK = get_context("fork")


@pytest.fixture
def pictures(tmp_path):
    return make_pictures(tmp_path / "pictures", 20)


def describe(dataset, folder, tas=None, **options):
    tas = batch_tas() if tas is None else tas
    return describe_dataset(dataset, tas, SceneStore(folder), progress=False, **options)


def test_each_picture_is_described_once(pictures, tmp_path, monkeypatch):
    tas, folder = batch_tas(), tmp_path / "scenes"
    assert describe(pictures, folder, tas, limit_images=7) == (7, 0, [])
    assert describe(pictures, folder, tas) == (13, 7, [])
    monkeypatch.setattr("tasutils.engines.decode_image", None)  # nothing is decoded again
    assert describe(pictures, folder, tas) == (0, 20, [])
    assert tas.proposer.n == 20
    ids = [scene.image_id for _, scene in SceneStore(folder).scenes()]
    assert sorted(ids) == sorted(pictures.image_ids)


def test_the_shards_together_are_the_whole(pictures, tmp_path):
    for i, n in ((2, 2), (-1, 2), (0, 0)):
        with pytest.raises(TasError, match="no shard"):
            describe(pictures, tmp_path / "none", shard=(i, n))
    describe(pictures, tmp_path / "whole")
    for i, n in enumerate((7, 7, 6)):
        assert describe(pictures, tmp_path / "parts", shard=(i, 3)) == (n, 0, [])
    whole, parts = SceneStore(tmp_path / "whole"), SceneStore(tmp_path / "parts")
    assert store_differences(whole, parts) == []


def test_a_changed_picture_is_seen_whatever_its_date(pictures, tmp_path):
    folder = tmp_path / "scenes"
    path = pictures.images["image 3"].path
    Image.fromarray(np.zeros((H, W, 3), np.uint8)).save(path, "BMP")
    describe(pictures, folder)
    before = path.stat()
    Image.fromarray(np.full((H, W, 3), 9, np.uint8)).save(path, "BMP")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert describe(pictures, folder) == (1, 19, [])


def test_equal_pictures_are_one_scene(pictures, tmp_path):
    for k in (1, 12):
        path = pictures.images[f"image {k}"].path
        path.write_bytes(pictures.images["image 0"].path.read_bytes())
    tas = batch_tas()
    assert describe(pictures, tmp_path / "scenes", tas) == (18, 2, [])
    assert tas.proposer.n == 18 == len(SceneStore(tmp_path / "scenes").keys())


def test_another_preset_has_scenes_of_its_own(pictures, tmp_path):
    describe(pictures, tmp_path / "scenes")
    other = batch_tas()
    other.preset = other.preset.override({"language.negative_template": "this is {}"})
    assert describe(pictures, tmp_path / "scenes", other) == (20, 0, [])
    assert len(SceneStore(tmp_path / "scenes").keys()) == 40


def test_bad_pictures_are_recorded_and_the_run_goes_on(pictures, tmp_path, capsys):
    paths = [pictures.images[f"image {k}"].path for k in range(5)]
    good = [path.read_bytes() for path in paths]
    paths[0].unlink()
    paths[1].write_bytes(good[1][:-40])
    paths[2].write_text("no picture")
    Image.new("RGB", (W, H + 1)).save(paths[3])
    paths[4].unlink()
    paths[4].mkdir()
    folder = tmp_path / "scenes"
    n_done, n_had, failed = describe(pictures, folder)
    assert (n_done, n_had) == (15, 0) and dict(failed).keys() == {f"image {k}" for k in range(5)}
    record = folder / "failed-drawn-val.jsonl"
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    assert [(line["image_id"], line["reason"]) for line in lines] == failed
    for k, word in enumerate(("no picture", "truncated", "no picture", "32 x 25", "directory")):
        assert word in dict(failed)[f"image {k}"] and str(paths[k]) in dict(failed)[f"image {k}"]
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 5 and all(line.startswith("tas: ") for line in told)
    describe(pictures, folder, shard=(0, 2))
    sharded = folder / "failed-drawn-val-0of2.jsonl"
    assert len(sharded.read_text().splitlines()) == 3
    assert len(describe(pictures, folder, limit_images=2)[2]) == 2  # tells nothing of the others
    assert len(record.read_text().splitlines()) == 5 and sharded.exists()
    paths[4].rmdir()
    for path, data in zip(paths, good, strict=True):
        path.write_bytes(data)
    assert describe(pictures, folder) == (5, 15, [])
    assert not record.exists() and not sharded.exists()


def share(dataset, folder, barrier, made):
    tas = batch_tas(lambda n: n > 1 or barrier.wait(900))
    describe(dataset, folder, tas)
    made.put(tas.proposer.n)


def test_two_processes_on_one_store_share_the_work(tmp_path):
    pictures, folder, made = make_pictures(tmp_path / "p", 30), tmp_path / "scenes", FORK.Queue()
    given = (pictures, folder, FORK.Barrier(2), made)  # each begins before the other has done any
    runs = [FORK.Process(target=share, args=given) for _ in range(2)]
    for run in runs:
        run.start()
    numbers = [made.get() for _ in runs]
    for run in runs:
        run.join()
        assert run.exitcode == 0
    assert 30 <= sum(numbers) < 60  # some twice, but not each
    describe(pictures, tmp_path / "whole")
    assert store_differences(SceneStore(folder), SceneStore(tmp_path / "whole")) == []
    assert len(list(SceneStore(folder).scenes())) == 30


def test_masks_of_another_size_are_one_line(pictures, tmp_path):
    tas = batch_tas()
    tas.__dict__["proposer"] = lambda _: Proposals.from_masks(np.ones((2, H, W - 1), bool))
    with pytest.raises(TasError, match=f"masks of .*{H}, {W - 1}.* picture of .*{H}, {W}"):
        describe(pictures, tmp_path / "scenes", tas)


def test_the_command(pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tasutils, "load", lambda *_, **__: batch_tas())
    monkeypatch.setattr("tasutils.datasets.load_dataset", lambda *_: pictures)
    out = str(tmp_path / "r")
    command = ["describe", "refscenes", "val", "--out", out]
    where = f"; scenes in {tmp_path / 'r' / 'scenes'}\n"
    assert cli.main([*command, "--shard", "1/2"]) == 0
    assert capsys.readouterr().out == "done 10, had 0, failed 0; partial, 10 of 20 images" + where
    assert cli.main([*command, "--limit", "5"]) == 0
    assert capsys.readouterr().out == "done 3, had 2, failed 0; partial, 5 of 20 images" + where
    pictures.images["image 4"].path.write_bytes(b"")
    assert cli.main(command) == 1
    shown = capsys.readouterr()
    assert shown.out == "done 7, had 12, failed 1" + where
    assert "4.png is no picture" in shown.err


@pytest.mark.parametrize("options, reason", [
    (["--engine", "spark"], "no engine 'spark'"),
    (["--address", "auto"], "takes no address"),
    (["--shard", "2/2"], "--shard is i/n"),
    (["--shard", "one"], "--shard is i/n"),
    (["--limit", "0"], "--limit"),
])  # fmt: skip
def test_mistakes_of_the_command(tmp_path, capsys, options, reason):
    out = tmp_path / "r"
    assert cli.main(["describe", "refscenes", "val", "--out", str(out), *options]) == 2
    shown = capsys.readouterr()
    assert reason in shown.err and shown.err.count("\n") == 1 and not out.exists()


def test_missing_weights_are_known_before_the_work(pictures, tmp_path):
    preset = load_preset("tiny").override({"encoder.checkpoint": "nowhere.safetensors"})
    tas = TAS(preset, FakeProposer(), None, FakeCaptioner(), Words(), "cpu")
    with pytest.raises(TasError, match=r"encoder\.checkpoint is not at"):
        describe(pictures, tmp_path / "scenes", tas)
