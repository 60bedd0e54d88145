"""The engine ray with a session of its own: `test_ray` runs this file in a new process.

A process that has used Ray must not be forked afterwards.
"""

import json
import os
import signal
import sys
from pathlib import Path

import light
import pytest
from light import FakeProposer, make_pictures, slow_tas, store_differences

from tasutils.config import load_preset
from tasutils.engines import describe_dataset
from tasutils.engines import ray as engine
from tasutils.errors import TasError
from tasutils.store import SceneStore
from tasutils.tas import TAS


class Mortal(FakeProposer):
    """At some pictures, counted over all processes by files in a folder, its process is killed."""

    def __init__(self, folder, deadly):
        self.folder, self.deadly = folder, deadly
        folder.mkdir()

    def __call__(self, image):
        seen = len(os.listdir(self.folder))
        (self.folder / f"{seen} {os.getpid()}").touch()
        if seen in self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(image)


def with_proposer(proposer, **changes):
    tas = slow_tas()
    preset = load_preset("tiny").override(changes)
    return TAS(preset, proposer, tas.encoder, tas.captioner, tas.language, "cpu")


def describe(dataset, folder, tas=None, engine="ray", **options):
    tas = slow_tas() if tas is None else tas
    store = SceneStore(folder)
    return describe_dataset(dataset, tas, store, engine=engine, progress=False, **options)


@pytest.fixture
def pictures(tmp_path):
    """20 pictures, of which two cannot be read and two are equal."""
    data = make_pictures(tmp_path / "pictures", 20)
    path = {name: entry.path for name, entry in data.images.items()}
    path["image 12"].write_bytes(path["image 1"].read_bytes())
    path["image 2"].write_text("no picture")
    path["image 17"].unlink()
    return data


@pytest.fixture(scope="module", autouse=True)
def session():
    """One Ray for the tests here, started as a run without an address starts it."""
    import torch

    home = Path.home() / ".ray"
    before = home.exists()
    torch.set_num_threads(1)  # two actors on two CPUs
    with engine._session(None):
        import ray

        for module in (light, sys.modules[__name__]):
            ray.cloudpickle.register_pickle_by_value(module)  # its workers do not know the tests
        yield
    assert not ray.is_initialized() and home.exists() == before


def test_a_killed_worker_loses_and_doubles_nothing(pictures, tmp_path, capfd):
    describe(pictures, tmp_path / "whole", engine="local")
    folder = tmp_path / "scenes"
    assert describe(pictures, folder, engine="local", limit_images=5)[:2] == (4, 0)
    mortal = Mortal(tmp_path / "seen", deadly={1, 6})
    n_done, n_had, failed = describe(pictures, folder, with_proposer(mortal))
    said = capfd.readouterr()
    lines = [*said.out.splitlines(), *said.err.splitlines()]  # Ray may name the worker that died
    assert all(line[:4] == "tas:" for line in lines if "(raylet)" not in line), said
    seen = [name.split() for name in os.listdir(mortal.folder)]
    assert len({pid for _, pid in seen}) > 2  # two were killed, and others took their work
    # image 12 has the scene of image 1; images 2 and 17 cannot be read
    assert (n_done, n_had) == (13, 5)
    assert [name for name, _ in failed] == ["image 2", "image 17"]
    whole, store = SceneStore(tmp_path / "whole"), SceneStore(folder)
    assert store_differences(whole, store) == []
    assert len(list(store.scenes())) == 17
    recorded = (folder / "failed-drawn-val.jsonl").read_text(encoding="utf-8").splitlines()
    assert [tuple(json.loads(line).values()) for line in recorded] == failed


def test_a_deadly_picture_ends_the_run_which_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "_RETRIES", 0)
    data, folder = make_pictures(tmp_path / "pictures", 20), tmp_path / "scenes"
    mortal = Mortal(tmp_path / "seen", deadly={15})
    with pytest.raises(TasError, match="die, or they had too little memory"):
        describe(data, folder, with_proposer(mortal))
    there = len(SceneStore(folder).keys())
    assert describe(data, folder, engine="local") == (20 - there, there, [])
    describe(data, tmp_path / "whole", engine="local")
    assert store_differences(SceneStore(tmp_path / "whole"), SceneStore(folder)) == []


def test_mistakes_come_through_as_they_are(tmp_path, monkeypatch):
    data = make_pictures(tmp_path / "pictures", 1)
    tas = slow_tas()
    lost = load_preset("tiny").override({"encoder.checkpoint": "nowhere.safetensors"})
    without = TAS(lost, tas.proposer, None, tas.captioner, tas.language, "cpu")
    with pytest.raises(TasError, match=r"encoder\.checkpoint is not at"):
        describe(data, tmp_path / "scenes", without)
    monkeypatch.setattr("tasutils.config.DESCRIBE_VERSION", -1)  # of the driver, not of its workers
    with pytest.raises(TasError, match="are not those of the machine"):
        describe(data, tmp_path / "scenes", tas)
    assert SceneStore(tmp_path / "scenes").keys() == set()


def test_shards_of_two_engines_are_the_whole(pictures, tmp_path):
    folder = tmp_path / "scenes"
    n_done, n_had, failed = describe(pictures, folder, shard=(1, 2))
    assert (n_done, n_had, [name for name, _ in failed]) == (9, 0, ["image 17"])
    # image 12 is image 1, which the other shard has
    assert describe(pictures, folder, engine="local", shard=(0, 2))[:2] == (8, 1)
    describe(pictures, tmp_path / "whole", engine="local")
    assert store_differences(SceneStore(tmp_path / "whole"), SceneStore(folder)) == []
