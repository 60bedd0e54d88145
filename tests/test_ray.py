"""The engine ray: the store of the local engine, whatever dies on the way."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from light import make_pictures

from tasutils import cli
from tasutils.config import load_preset
from tasutils.engines import ray as engine
from tasutils.errors import TasError
from tasutils.tas import TAS


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


def test_a_pool_on_the_devices_that_are_there():
    for device, reason in (("cuda", "no GPU"), ("cuda:1", "cpu or cuda"), ("mps", "cpu or cuda")):
        with pytest.raises(TasError, match=reason):
            engine._pool(TAS(load_preset("tiny"), device=device), {"CPU": 2}, 1)
    pool = engine._pool(TAS(load_preset("tiny")), {"CPU": 16, "GPU": 4}, 100)
    assert pool == {"concurrency": 4, "num_gpus": 1, "device": "cuda", "threads": 4}
    assert engine._pool(TAS(load_preset("tiny")), {"CPU": 16, "GPU": 4}, 2)["concurrency"] == 2


def test_mistakes_come_through_as_they_are(tmp_path):
    lost = load_preset("tiny").override({"encoder.checkpoint": "nowhere.safetensors"})
    batch = [list(make_pictures(tmp_path, 1).images.items())]
    for digest, words in (("", "not those of the machine"), (lost.describe_digest(), "not at")):
        worker = engine._Describer(TAS(lost, device="cpu"), tmp_path, 1, digest)
        (result,) = worker({"batch": batch})["described"]
        assert isinstance(result, TasError) and words in str(result)


@pytest.mark.skipif(
    os.environ.get("TAS_RAY") != "1",
    reason="`make test-ray` starts Ray, which gives up after 30 seconds on a busy machine",
)
def test_what_ray_describes_is_what_this_process_would(tmp_path):
    """A proposer beside the preset, unreadable pictures, workers that die: see in_ray.py."""
    inside, home = Path(__file__).with_name("in_ray.py"), tmp_path / "home"
    home.mkdir()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        done = subprocess.run(
            [sys.executable, inside, tmp_path],
            env={**os.environ, "HOME": str(home), "OMP_NUM_THREADS": "1", "TMPDIR": folder},
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert not [name for name in os.listdir(folder) if "ray" in name]
