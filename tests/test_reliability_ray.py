"""The engine ray beside a process that has claimed scenes, and what SIGTERM leaves of it."""

import os
import signal
import tempfile
import time
from importlib.util import find_spec

import pytest
from faults import ENDINGS, Child, Fresh, lay_out, leftovers, running, started_by, warm_parser

from tasutils.store import SceneStore

pytestmark = pytest.mark.skipif(
    find_spec("ray") is None, reason="starts Ray, which the extra scale installs"
)


@pytest.mark.slow
@pytest.mark.unmeasured
def test_ray_leaves_to_others_what_they_claim_and_ends_without_a_trace(tmp_path):
    parser, drawn = warm_parser(), lay_out(tmp_path)
    out = tmp_path / "o"
    command = ["describe", *drawn, "--out", out]
    holder = Child(tmp_path / "holder", command, parser, 60).after(1)  # of the first batch of two

    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:
        ray = Fresh(tmp_path / "ray", [*command, "--engine", "ray"], 0.5, TMPDIR=temporary)
        ray.after(3)
        ray.wait(lambda: "3 pictures are described by another process; waiting" in ray.err)
        time.sleep(0.5)
        assert ray.n_described == 3
        os.kill(holder.pid, signal.SIGKILL)
        assert holder.end() == -signal.SIGKILL
        ray.after(4)
        begun = started_by(ray.pid)
        assert len(begun) > 3
        os.kill(ray.pid, signal.SIGTERM)
        start = time.monotonic()
        code, (told, last) = ray.end(), ray.err.splitlines()
        assert (code, last) == ENDINGS[signal.SIGTERM] and told.endswith("; waiting")
        assert time.monotonic() - start < 40 and ray.out == ""
        ray.wait(lambda: not running(begun), 20)
        assert not [name for name in os.listdir(temporary) if "ray" in name]
    there = len(SceneStore(out / "scenes").keys())
    assert there >= 3 and not leftovers(out)
    again = Child(tmp_path / "again", command, parser)
    assert again.end() == 0 and again.out.startswith(f"done {6 - there}, had {there}, failed 0")
