"""The engine ray: the store of the local engine, whatever dies on the way."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import light
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from light import FakeProposer, make_pictures, slow_tas

import tasutils
from tasutils import cli
from tasutils.config import load_preset
from tasutils.datasets import load_dataset
from tasutils.engines import describe_dataset, items_of, shard_of
from tasutils.engines import ray as engine
from tasutils.engines.ray_pool import READER_CPUS, pool_for
from tasutils.engines.ray_session import ray_session
from tasutils.errors import TasError
from tasutils.evaluate import evaluate
from tasutils.runs import SAMPLES_FILE, SCORES_FILE, read_run
from tasutils.store import SceneStore
from tasutils.store_compare import store_differences
from tasutils.tas import TAS

needs_ray = pytest.mark.skipif(
    find_spec("ray") is None, reason="starts Ray, which the extra scale installs"
)

ON_CPU = TAS(load_preset("tiny"), device="cpu")


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


@pytest.fixture(scope="module")
def session():
    """One Ray for the tests here, started as a run without an address starts it."""
    import torch

    home, threads = Path.home() / ".ray", torch.get_num_threads()
    before = home.exists()
    torch.set_num_threads(1)  # two actors on two CPUs
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", folder)
        here = ray_session()
        here.__enter__()
        patch.undo()
        assert [name[:8] for name in os.listdir(folder)] == ["tas-ray-"]
        import ray

        for module in (light, sys.modules[__name__]):
            ray.cloudpickle.register_pickle_by_value(module)  # its workers do not know the tests
        yield
        here.__exit__(None, None, None)
        assert not ray.is_initialized() and not os.listdir(folder)
    torch.set_num_threads(threads)
    assert home.exists() == before


def test_without_ray_one_line_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    out = str(tmp_path / "r")
    assert cli.main(["describe", "refscenes", "val", "--engine", "ray", "--out", out]) == 2
    said = "install the extra: pip install -e '.[scale]' -c constraints.txt\n"
    shown = capsys.readouterr().err
    assert shown.endswith(said) and shown.count("\n") == 1


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nonsense", "a:1/2"])
def test_an_address_without_a_cluster_is_known_at_once(address):
    with pytest.raises(TasError, match=r"no Ray cluster at|is HOST:PORT of"), ray_session(address):
        raise AssertionError("connected")


@settings(deadline=None)
@given(
    cpus=st.integers(1, 64),
    threads=st.integers(1, 64),
    batches=st.integers(1, 100),
    actors=st.none() | st.integers(1, 64),
    gib=st.integers(1, 200),
)
def test_actors_leave_room_for_the_readers(cpus, threads, batches, actors, gib):
    threads = min(threads, cpus)
    pool = pool_for(ON_CPU, {"CPU": cpus, "memory": gib << 30}, threads, batches, actors)
    assert pool.threads == threads and pool.gpus == 0
    assert 1 <= pool.actors <= min(batches, actors or cpus // threads)
    assert pool.cpus * pool.actors + READER_CPUS <= cpus
    if actors is None and 1 < pool.actors < min(cpus // threads, batches):
        assert 2.5 * (pool.actors + 1) > gib >= 2 * pool.actors  # each 2 GiB and the weights


@settings(deadline=None)
@given(gpus=st.integers(1, 16), actors=st.none() | st.integers(1, 40))
def test_actors_on_gpus_fit_whatever_gpu_they_get(gpus, actors):
    pool = pool_for(TAS(ON_CPU.preset), {"CPU": 16, "GPU": gpus}, 2, 1000, actors)
    assert pool.device == "cuda" and pool.actors == (actors or gpus) and 0 < pool.gpus <= 1
    assert int(1 / pool.gpus + 1e-9) * gpus >= pool.actors
    assert pool.cpus * pool.actors + READER_CPUS <= 16 and pool.threads >= 1


def test_a_pool_on_a_device_that_is_not_there():
    for device, reason in (("cuda", "no GPU"), ("cuda:1", "cpu or cuda"), ("mps", "cpu or cuda")):
        with pytest.raises(TasError, match=reason):
            pool_for(TAS(ON_CPU.preset, device=device), {"CPU": 2}, 2, 1)


@needs_ray
def test_a_killed_worker_loses_and_doubles_nothing(session, pictures, tmp_path, capfd):
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
    keys = [key for table in store.tables(["key"]) for key in table["key"].to_pylist()]
    assert sorted(keys) == sorted(store.keys()) and len(keys) == 17
    recorded = (folder / "failed-drawn-val.jsonl").read_text(encoding="utf-8").splitlines()
    assert [tuple(json.loads(line).values()) for line in recorded] == failed


@needs_ray
def test_a_deadly_picture_ends_the_run_which_goes_on(session, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "_RETRIES", 0)
    data, folder = make_pictures(tmp_path / "pictures", 20), tmp_path / "scenes"
    mortal = Mortal(tmp_path / "seen", deadly={15})
    with pytest.raises(TasError, match="die, or they had too little memory"):
        describe(data, folder, with_proposer(mortal))
    there = len(SceneStore(folder).keys())
    assert describe(data, folder, engine="local") == (20 - there, there, [])
    describe(data, tmp_path / "whole", engine="local")
    assert store_differences(SceneStore(tmp_path / "whole"), SceneStore(folder)) == []


@needs_ray
def test_mistakes_come_through_as_they_are(session, tmp_path, monkeypatch):
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


@needs_ray
def test_shards_of_two_engines_are_the_whole(session, pictures, tmp_path):
    folder, items = tmp_path / "scenes", shard_of(items_of(pictures), 1, 2)
    (n_done, n_had, failed), seconds = engine.timed_describe_items(
        items, slow_tas(), SceneStore(folder), actors=2
    )
    assert (n_done, n_had, [name for name, _ in failed]) == (9, 0, ["image 17"]) and seconds > 0
    # image 12 is image 1, which the other shard has
    assert describe(pictures, folder, engine="local", shard=(0, 2))[:2] == (8, 1)
    describe(pictures, tmp_path / "whole", engine="local")
    assert store_differences(SceneStore(tmp_path / "whole"), SceneStore(folder)) == []


@needs_ray
@pytest.mark.slow
def test_the_command_needs_no_set_up_and_leaves_nothing(tmp_path):
    """With the real parts, in a process of its own; with its threads the rows are as here."""
    import torch

    home, threads = tmp_path / "home", min(2, len(os.sched_getaffinity(0)))
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        done = subprocess.run(
            [sys.executable, "-m", "tasutils.cli", "describe", "refscenes", "val"]
            + ["--limit", "4", "--engine", "ray", "--device", "cpu", "--out", str(tmp_path / "r")],
            env={**environment, "TMPDIR": folder},
            capture_output=True,
        )
        assert not [name for name in os.listdir(folder) if "ray" in name]
    assert ".ray" not in os.listdir(home)
    scenes = tmp_path / "r" / "scenes"
    said = f"done 4, had 0, failed 0; partial, 4 of 200 images; scenes in {scenes}\n"
    assert (done.returncode, done.stdout.decode()) == (0, said), done.stderr
    (bar,) = done.stderr.decode().strip().split("\n")
    assert bar.split("\r")[-1].startswith("describe: 100%")
    data, tas = load_dataset("refscenes", "val"), tasutils.load("tiny", device="cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    describe(data, tmp_path / "local", tas, "local", limit_images=4)
    torch.set_num_threads(before)
    assert store_differences(SceneStore(tmp_path / "local"), SceneStore(scenes)) == []
    runs = [
        read_run(evaluate(data, tas, limit_images=4, store=SceneStore(store), progress=False,
                          out=tmp_path / store.name))
        for store in (tmp_path / "local", scenes)
    ]  # fmt: skip
    assert [run.record.n_described for run in runs] == [0, 0] and runs[0].record.n_used > 12
    for name in (SAMPLES_FILE, SCORES_FILE):
        one, other = ((run.folder / name).read_bytes() for run in runs)
        assert one == other, name
