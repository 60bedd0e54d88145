"""The engine ray: the store of the local engine, whatever dies on the way."""

import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from light import store_differences

import tasutils
from tasutils import cli
from tasutils.config import load_preset
from tasutils.datasets import load_dataset
from tasutils.engines import describe_dataset
from tasutils.engines import ray as engine
from tasutils.errors import TasError
from tasutils.evaluate import evaluate
from tasutils.runs import SAMPLES_FILE, SCORES_FILE, read_run
from tasutils.store import SceneStore
from tasutils.tas import TAS

needs_ray = pytest.mark.skipif(
    find_spec("ray") is None, reason="starts Ray, which the extra scale installs"
)


def describe(dataset, folder, tas, engine, **options):
    return describe_dataset(
        dataset, tas, SceneStore(folder), engine=engine, progress=False, **options
    )


def test_without_ray_one_line_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    out = str(tmp_path / "r")
    assert cli.main(["describe", "refscenes", "val", "--engine", "ray", "--out", out]) == 2
    said = "install the extra: pip install -e '.[scale]' -c constraints.txt\n"
    shown = capsys.readouterr().err
    assert shown.endswith(said) and shown.count("\n") == 1


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nonsense", "a:1/2"])
def test_an_address_without_a_cluster_is_known_at_once(address):
    with (
        pytest.raises(TasError, match=r"no Ray cluster at|is HOST:PORT of"),
        engine._session(address),
    ):
        raise AssertionError("connected")


def test_a_pool_on_a_device_that_is_not_there():
    for device, reason in (("cuda", "no GPU"), ("cuda:1", "cpu or cuda"), ("mps", "cpu or cuda")):
        with pytest.raises(TasError, match=reason):
            engine._pool(TAS(load_preset("tiny"), device=device), {"CPU": 2}, 1)


def test_one_process_a_gpu():
    pool = engine._pool(TAS(load_preset("tiny")), {"CPU": 16, "GPU": 4}, 100)
    assert pool == {"concurrency": 4, "num_gpus": 1, "device": "cuda", "threads": 4}
    assert engine._pool(TAS(load_preset("tiny")), {"CPU": 16, "GPU": 4}, 2)["concurrency"] == 2


@needs_ray
def test_scenarios_in_a_new_process():
    inside = Path(__file__).with_name("in_ray.py")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(inside)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_ray
@pytest.mark.slow
def test_the_command_needs_no_set_up(tmp_path):
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
    scenes = tmp_path / "r" / "scenes"
    said = f"done 4, had 0, failed 0; partial, 4 of 200 images; scenes in {scenes}\n"
    assert (done.returncode, done.stdout.decode()) == (0, said), done.stderr
    assert "describe: 100%" in done.stderr.decode()
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
