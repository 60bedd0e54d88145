"""Signals while `tas` starts, two of it in one folder, and surroundings of the real networks."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from faults import ENDINGS, Child, lay_out, leftovers, warm_parser
from light import H, W
from PIL import Image

from tasutils import cli
from tasutils.paths import DATA, ROOT
from tasutils.runs import list_runs


@pytest.fixture(scope="module")
def parser():
    return warm_parser()


# --- signals while it starts ---

AT_IMPORT = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r} and sys.meta_path[0] is self:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize(
    ("name", "number"),
    [("numpy", 2), ("pydantic_core._pydantic_core", 15), ("torch", 2)],
)
def test_a_signal_while_it_is_imported(tmp_path, name, number):
    (tmp_path / "sitecustomize.py").write_text(AT_IMPORT.format(name=name, number=number))
    Image.new("RGB", (32, 24)).save(tmp_path / "p.png")
    command = ["segment", tmp_path / "p.png", "the dog", "--out", tmp_path / "o"]
    run = subprocess.run(
        [sys.executable, "-m", "tasutils.cli", *command],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        preexec_fn=lambda: [signal.signal(n, signal.SIG_DFL) for n in (2, 15)],
    )
    code, said = ENDINGS[signal.Signals(number)]
    assert (run.returncode, run.stdout, run.stderr.strip()) == (code, "", said)
    assert not (tmp_path / "o").exists()


# --- two in one folder ---


def test_two_at_once_answer_into_one_folder(tmp_path, parser):
    """Each answer is of the one or of the other, and whole."""
    out, sentences = tmp_path / "o", [f"the dog {k}" for k in range(3)]
    for name, color in (("a", (200, 0, 0)), ("b", (0, 0, 200))):
        Image.new("RGB", (W, H), color).save(tmp_path / f"{name}.png")
    for round_ in range(2):  # into a new folder, and over answers that are there
        pair = [
            Child(
                tmp_path / f"{name}{round_}",
                ["segment", tmp_path / f"{name}.png", *sentences, "--out", out],
                parser,
            )
            for name in "ab"
        ]
        assert [child.end() for child in pair] == [0, 0], [child.err for child in pair]
        assert not leftovers(out)
        folders = sorted(out.iterdir())
        assert [folder.name for folder in folders] == [f"0{k}-the-dog-{k - 1}" for k in range(1, 4)]
        for folder in folders:
            assert sorted(os.listdir(folder)) == ["answer.json", "mask.png", "overlay.png"]
            name = Path(json.loads((folder / "answer.json").read_text())["image"]).stem
            with Image.open(folder / "overlay.png") as overlay:
                red, _, blue = np.asarray(overlay.convert("RGB")).mean((0, 1))
            assert (red > blue) == (name == "a")


def test_answers_of_many_at_once_are_whole(tmp_path):
    """They meet at each step of putting answers in their places."""
    n, names = 4, ["01-the-dog", "02-the-cat"]

    def keep(barrier, k):
        for round_ in range(40):
            with cli._answer_folder(tmp_path / f"o{round_}", names) as stage:
                for name in names:
                    (stage / name).mkdir()
                    for file in cli.ANSWER_FILES:
                        (stage / name / file).write_text(str(k))
                barrier.wait(30)

    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(n)
    processes = [context.Process(target=keep, args=(barrier, k)) for k in range(n)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * n
    for round_ in range(40):
        folders = list((tmp_path / f"o{round_}").iterdir())
        assert sorted(folder.name for folder in folders) == ["01-the-dog", "02-the-cat"]
        for folder in folders:
            texts = [(folder / file).read_text() for file in cli.ANSWER_FILES]
            assert len(texts) == 3 and len(set(texts)) == 1


def test_runs_that_end_in_the_same_second_are_kept_both(tmp_path, parser):
    """Two `tas evaluate` of the same thing, whose clocks stand still."""

    def stand_still():
        from datetime import UTC, datetime

        import tasutils.evaluate as evaluation

        class Still(datetime):
            @classmethod
            def now(cls, zone=UTC):
                return datetime(2026, 1, 1, tzinfo=zone)

        evaluation.datetime = Still

    command = ["evaluate", *lay_out(tmp_path), "--out", tmp_path / "o"]
    many = [Child(tmp_path / f"{k}", command, parser, 0.01, stand_still) for k in range(4)]
    assert [child.end() for child in many] == [0] * 4, [child.err for child in many]
    runs = list_runs(tmp_path / "o")
    assert len({run.record.run_id for run in runs}) == 4 and not leftovers(tmp_path / "o")
    assert all(run.record.run_id == run.folder.name for run in runs)
    assert len({(run.folder / "samples.parquet").read_bytes() for run in runs}) == 1


# --- what a killed process leaves ---


@pytest.mark.parametrize("command", ["segment", "evaluate"])
def test_what_a_killed_process_leaves_is_gone_after_the_next(tmp_path, parser, command):
    Image.new("RGB", (W, H)).save(tmp_path / "p.png")
    given = [tmp_path / "p.png", "the dog"] if command == "segment" else lay_out(tmp_path)
    command = [command, *given, "--out", tmp_path / "o"]
    killed = Child(tmp_path / "c", command, parser, 30).after(1)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.end() == -signal.SIGKILL
    for left in leftovers(tmp_path / "o"):
        os.utime(left, (time.time() - 8 * 24 * 3600,) * 2)
    assert leftovers(tmp_path / "o")
    again = Child(tmp_path / "c", command, parser)
    assert again.end() == 0 and not leftovers(tmp_path / "o"), again.err


# --- surroundings of the real networks ---


READ_ONLY = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
while read -r _ place _ _; do
  [ "$place" = "$1" ] || mount -o remount,ro,bind "$place" 2>/dev/null || true
done < /proc/mounts
! touch "$2" 2>/dev/null
cd /
shift 2
"$@"
"""
CALLS = """
import sys
from tasutils.cli import main
picture, out = sys.argv[1:]
given = ["evaluate", "refscenes", "val", "--family", "refscenes+", "--limit", "1"]
codes = [main(["segment", picture, "the car", "--preset", "tiny", "--out", out + "/s"])]
codes += [main([*given, "--out", out]) for _ in codes if not codes[0]]
sys.exit(max(codes))
"""


@pytest.mark.slow
@pytest.mark.unmeasured
def test_a_machine_that_is_read_only(tmp_path):
    """Data and weights too, but one folder, and without a home; with the real networks."""
    out = tmp_path / "out"
    out.mkdir()
    if subprocess.run(["unshare", "-m", "mount", "--make-rprivate", "/"]).returncode:
        pytest.skip("this machine lets nobody mount")
    picture = min((DATA / "refscenes" / "images").iterdir())
    command = ["unshare", "-m", "bash", "-c", READ_ONLY, "-", out, tmp_path / "x"]
    variables = {"PYTHONPATH": str(ROOT), "HOME": "/nonexistent/home", "TMPDIR": str(out)}
    ran = subprocess.run(
        [*command, sys.executable, "-c", CALLS, picture, out],
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    bars = [line for line in ran.stderr.splitlines() if line]
    assert bars and all(line.startswith("refscenes+ val: ") for line in bars)
    assert "refscenes+ val tiny (partial" in ran.stdout
