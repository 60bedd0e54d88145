"""Commands that are ended, disks that refuse, two at a time, odd surroundings: nothing is lost.

`tas` runs in forks of this process with light parts. Nothing here waits for a clock, only for a
state: a picture begun, a file that is there, a process that has ended.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from multiprocessing import get_context
from pathlib import Path

import nbformat
import numpy as np
import psutil
import pytest
from light import PARSER, FakeEncoder, H, W, batch_tas, make_dataset, store_differences
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

import tasutils
import tasutils.evaluate
from tasutils import cli, store
from tasutils import tas as tas_module
from tasutils.config import load_preset
from tasutils.runs import list_runs, model_files
from tasutils.store import SceneStore

TIMES = {"created", "run_id", "wall_s", "answer_s", "times_s", "n_described", "peak_memory_mib"}
ENDS = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]
SOME_ENDS = [signal.SIGINT, signal.SIGKILL]


def until(true):
    """Steps until something is true; a quarter of an hour is not slowness, but a fault."""
    for _ in range(45_000):
        if true():
            return
        yield
        time.sleep(0.02)
    pytest.fail("it never came")


class Child:
    """A fork that runs `tas` with some arguments; its output goes to files.

    begun: called with the number of each picture that is begun; prepare: called before all.
    """

    def __init__(self, folder, args, begun=lambda n: None, prepare=lambda: None):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.calls = self.folder / "calls"
        self.calls.write_bytes(b"")
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC
        streams = [os.open(self.folder / name, flags, 0o666) for name in ("out", "err")]
        self.pid = os.fork()
        if self.pid == 0:
            for number, stream in enumerate(streams, start=1):
                os.dup2(stream, number)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            self._run([str(arg) for arg in args], begun, prepare)
        for stream in streams:
            os.close(stream)

    def _run(self, args, begun, prepare):
        code = 99
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # under nohup a test would hear none

            def counted(n):
                self.calls.write_bytes(b"." * n)
                begun(n)

            tas_module.load = tasutils.load = lambda *_, **__: batch_tas(counted, PARSER)
            prepare()
            code = cli.main(args)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    @property
    def n_described(self):
        """Pictures begun until now."""
        return self.calls.stat().st_size

    def wait(self, true):
        """Wait until something is true; fail if the process has ended before."""
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        for _ in until(true):
            assert os.waitid(os.P_PID, self.pid, options) is None or true(), self.err

    def ended(self, number):
        """Wait until a picture `hangs`, then send a signal and wait for the end."""
        self.wait(lambda: (self.folder / "hangs").exists())
        os.kill(self.pid, number)
        code = self.end()
        # as Python ends, or as a shell tells it
        assert code in (-number, 128 + number) and "Traceback" not in self.err, (code, self.err)
        return self

    def end(self):
        """Wait for the end; the exit code, or minus the signal that killed it."""
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def well(self):
        """Wait for an end with exit code 0."""
        assert self.end() == 0, self.err
        return self

    def refused(self):
        """Wait for an end with exit code 2 and one line; return it."""
        code, said = self.end(), self.err
        assert code == 2 and said.startswith("tas: ") and said.count("\n") == 0, (code, said)
        return said

    @property
    def out(self):
        return (self.folder / "out").read_text("utf-8")

    @property
    def err(self):
        """What it said on stderr, without progress bars."""
        text = (self.folder / "err").read_bytes().decode()
        lines = [line.split("\r")[-1] for line in text.split("\n")]
        bars = ("image/s]", "s/image]", "?image", "/6 images")
        return "\n".join(x for x in lines if x.strip() and not any(bar in x for bar in bars))


@pytest.fixture(scope="module", autouse=True)
def warm():
    """What a command loads is there before the forks."""
    from tasutils.language.wordnet import wordnet

    PARSER.noun_chunks("a dog")
    wordnet().synsets("dog")
    model_files(load_preset("tiny"), "tas", {})


@pytest.fixture
def given(tmp_path):
    """A data set of six pictures as RefCOCO lays it out; the options that name it."""
    make_dataset(tmp_path, "refcoco")
    shutil.move(tmp_path / "refcoco" / "refs(tas).p", tmp_path / "refcoco" / "refs(unc).p")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (H, W, 3), np.uint8)).save(
        tmp_path / "p.png"
    )
    return ["refcoco", "val", "--root", tmp_path, "--images", tmp_path / "images",
            "--split-by", "unc", "--preset", "tiny"]  # fmt: skip


def hangs(folder, last):
    """A picture of that number takes until the process is ended, and says so in a file."""

    def begun(n):
        if n == last:
            (folder / "hangs").touch()
            for _ in until(lambda: False):
                pass

    return begun


def together(number):
    """Of so many processes none has done a picture before each has begun one."""
    barrier = get_context("fork").Barrier(number)
    return lambda n: n > 1 or barrier.wait(900)


def command(name, given, tmp_path, out):
    words = {"segment": [tmp_path / "p.png", "the dog"], "report": ["--limit", 1]}
    return [name, *words.get(name, given), "--out", out]


def whole_results(out):
    """The tables of the one run of a folder, and its record without times."""
    (run,) = list_runs(out)
    names = ("samples.parquet", "scores.parquet")
    return [(run.folder / name).read_bytes() for name in names], run.record.model_dump(
        exclude=TIMES
    )


def answered(out):
    """The answers of `tas segment` in a folder, each of them whole."""
    folders = [path for path in Path(out).glob("*") if not path.name.startswith(".")]
    files = {"answer.json", "mask.png", "overlay.png"}
    assert all(set(os.listdir(folder)) == files for folder in folders)
    return folders


# ------------------------------------------------------------------ ended, and gone on


def soon():
    """Each scene is written when it is made, as it is where describing takes its time."""
    assert store.FLUSH_S <= 10
    store.FLUSH_S = -1.0


@pytest.mark.parametrize("number", ENDS)
@pytest.mark.parametrize("name", ["describe", "evaluate"])
def test_an_ended_command_goes_on_and_equals_an_uninterrupted_one(given, tmp_path, name, number):
    """At most the batch under way is lost, of evaluate the picture, however early it ends."""
    out, whole = tmp_path / "o", tmp_path / "whole"
    args = command(name, given, tmp_path, out)
    Child(tmp_path / "c", args, hangs(tmp_path / "c", 5), soon).ended(number)
    there = len(SceneStore(out / "scenes").keys())
    assert there == (3 if name == "describe" else 4) and not list_runs(out)
    again = Child(tmp_path / "c", args).well()
    assert again.n_described == 6 - there
    Child(tmp_path / "w", command(name, given, tmp_path, whole)).well()
    assert store_differences(SceneStore(out / "scenes"), SceneStore(whole / "scenes")) == []
    if name == "evaluate":
        assert whole_results(out) == whole_results(whole)
    else:
        assert again.out.startswith(f"done {6 - there}, had {there}, failed 0")


@pytest.mark.parametrize("number", SOME_ENDS)
def test_an_ended_segment_leaves_no_answer(given, tmp_path, number):
    args = command("segment", given, tmp_path, tmp_path / "deep" / "o")
    Child(tmp_path / "c", args, hangs(tmp_path / "c", 1)).ended(number)
    assert not answered(tmp_path / "deep" / "o")
    Child(tmp_path / "c", args).well()
    assert len(answered(tmp_path / "deep" / "o")) == 1


# ------------------------------------------------------------------ disks, memory, folders


@pytest.mark.parametrize("name", ["describe", "evaluate", "segment"])
def test_files_that_may_not_grow_are_told_in_one_line(given, tmp_path, name):
    """As on a full disk; nothing half-written is taken for a result, and the next one succeeds."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    out = tmp_path / "o"
    args = command(name, given, tmp_path, out)
    assert "File too large" in Child(tmp_path / "c", args, prepare=limit).refused()
    assert not list_runs(out) and not SceneStore(out / "scenes").keys()
    assert name != "segment" or not answered(out)
    Child(tmp_path / "c", args).well()


@pytest.mark.parametrize("name", ["describe", "evaluate", "segment", "report"])
@pytest.mark.parametrize("place", ["p.png/o", "x" * 300])
def test_a_folder_that_cannot_be_written_is_known_before_the_work(given, tmp_path, name, place):
    child = Child(tmp_path / "c", command(name, given, tmp_path, tmp_path / place))
    child.refused()
    assert child.n_described == 0


def test_memory_that_does_not_suffice_is_told_in_one_line(given, tmp_path):
    def scarce():
        FakeEncoder.encode_images = lambda *_: np.ones((1 << 40, 1 << 16))

    child = Child(
        tmp_path / "c", command("evaluate", given, tmp_path, tmp_path / "o"), prepare=scarce
    )
    assert "out of memory" in child.refused() and not list_runs(tmp_path / "o")


# ------------------------------------------------------------------ two at a time


def test_runs_that_end_in_the_same_second_are_kept_all(given, tmp_path):
    """Several `tas evaluate` of the same thing on one store, whose clocks stand still."""

    def stand_still():
        from datetime import UTC, datetime

        class Still(datetime):
            @classmethod
            def now(cls, zone=UTC):
                return datetime(2026, 1, 1, tzinfo=zone)

        tasutils.evaluate.datetime = Still

    out = tmp_path / "o"
    args = command("evaluate", given, tmp_path, out)
    begun = together(3)
    for child in [Child(tmp_path / f"{k}", args, begun, stand_still) for k in range(3)]:
        child.well()
    runs = list_runs(out)
    assert len({run.record.run_id for run in runs}) == 3
    assert all(run.record.run_id == run.folder.name for run in runs)
    assert len({(run.folder / "samples.parquet").read_bytes() for run in runs}) == 1
    assert len(list(SceneStore(out / "scenes").scenes())) == 6


def test_two_at_once_answer_into_one_folder(given, tmp_path):
    """Each answer is of the one or of the other, and whole."""
    out, sentences = tmp_path / "o", ["the dog 0", "the dog 1"]
    for name, color in (("a", (200, 0, 0)), ("b", (0, 0, 200))):
        Image.new("RGB", (W, H), color).save(tmp_path / f"{name}.png")
    for round_ in range(2):  # into a new folder, and over answers that are there
        pair = [
            Child(tmp_path / f"{name}{round_}",
                  ["segment", tmp_path / f"{name}.png", *sentences, "--out", out])
            for name in "ab"
        ]  # fmt: skip
        for child in pair:
            child.well()
        assert [place.name for place in sorted(answered(out))] == ["01-the-dog-0", "02-the-dog-1"]
        for place in answered(out):
            name = Path(json.loads((place / "answer.json").read_text())["image"]).stem
            with Image.open(place / "overlay.png") as overlay:
                red, _, blue = np.asarray(overlay.convert("RGB")).mean((0, 1))
            assert (red > blue) == (name == "a")


# ------------------------------------------------------------------ odd surroundings


def homeless():
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        os.environ.pop(name, None)
    os.environ["HOME"] = "/nonexistent/home"


def back():
    """A clock that goes backwards."""
    now = time.time()
    time.time = lambda: now - 1e5 * time.perf_counter()


@pytest.mark.parametrize("prepare", [homeless, back])
def test_no_home_and_a_clock_that_jumps(given, tmp_path, prepare):
    args = command("evaluate", given, tmp_path, tmp_path / "o")
    assert Child(tmp_path / "c", args, prepare=prepare).well().err == ""


def test_paths_are_of_the_working_folder(given, tmp_path):
    (tmp_path / "deep").mkdir()
    given[3], given[5] = "..", "../images"
    args = command("evaluate", given, tmp_path, "../o")
    Child(tmp_path / "c", args, prepare=lambda: os.chdir(tmp_path / "deep")).well()
    assert len(list_runs(tmp_path / "o")) == 1 and not os.listdir(tmp_path / "deep")


def test_names_with_spaces_and_of_other_scripts(given, tmp_path):
    home = tmp_path / "mes données, 图片 – \U0001f697 'x'"
    home.mkdir()
    shutil.copy(tmp_path / "p.png", home / "été 1.png")
    (home / "à moi.csv").write_text("image,expression\nété 1.png,the dog\n", encoding="utf-8")
    out = home / "résultats 1"
    for args in (
        ["evaluate", "own", home / "à moi.csv", "--preset", "tiny"],
        ["segment", home / "été 1.png", "the dog", "le café"],
    ):
        Child(tmp_path / "c", [*args, "--out", out]).well()
    answer = json.loads((out / "02-le-cafe" / "answer.json").read_text(encoding="utf-8"))
    assert answer["sentence"] == "le café" and answer["image"] == str(home / "été 1.png")


def test_a_locale_that_is_not_utf8(tmp_path):
    """Names of files and what is printed stay UTF-8."""
    (tmp_path / "té.csv").write_text("image,expression\né.png,the dog\n", encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-m", "tasutils.cli", "data", "check", tmp_path / "té.csv"],
        capture_output=True,
        env=os.environ | {"LC_ALL": "C"},
    )
    said = (run.stdout + run.stderr).decode("utf-8")
    assert run.returncode == 1 and "é.png" in said and "Traceback" not in said


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        (">&-", 0, ""),
        ("<&- >/dev/null", 0, ""),
        (">/dev/full", 2, "tas: file: No space left on device\n"),
        ("2>&1 | true", 141, ""),  # as in `tas presets list | head -1`
    ],
)
def test_streams_that_are_closed_or_full(redirection, code, said):
    command = f"{sys.executable} -m tasutils.cli presets show tiny {redirection}; "
    run = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command + "exit $?"], capture_output=True, text=True
    )
    assert (run.returncode, run.stderr) == (code, said)


# ------------------------------------------------------------------ reports

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
RUNS = "print('it', 'ran')"
SLEEPS = """import os, time
from pathlib import Path
mark = Path({mark!r})
if not mark.exists():
    mark.with_suffix(".tmp").write_text(str(os.getpid()))
    mark.with_suffix(".tmp").rename(mark)
    time.sleep(600)
"""


@pytest.fixture
def report(tmp_path):
    """Run `tas report` with notebooks of these sources."""
    dataset = make_dataset(tmp_path, "refscenes+")
    (tmp_path / "n").mkdir()

    def run(sources, out, more=lambda: None):
        for k, source in enumerate(sources):
            cells = [new_code_cell("", metadata={"tags": ["parameters"]}), new_code_cell(source)]
            notebook = new_notebook(cells=cells, metadata={"kernelspec": KERNEL})
            nbformat.write(notebook, tmp_path / "n" / f"0{k}_n.ipynb")

        def prepare():
            import tasutils.datasets
            from tasutils import gallery, paths, report

            paths.NOTEBOOKS = tmp_path / "n"
            for module in (tasutils.datasets, gallery, report):
                module.load_dataset = lambda *_: dataset
            more()

        args = ["report", "--dataset", "refscenes+", "--split", "val", "--out", out]
        return Child(tmp_path / "c", args, prepare=prepare)

    return run


def gone(mark):
    """Whether the process that left a mark has ended."""
    pid = int(mark.read_text())
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.slow
@pytest.mark.unmeasured
@pytest.mark.parametrize("number", SOME_ENDS)
def test_an_ended_report_leaves_no_kernel_and_keeps_what_has_run(report, tmp_path, number):
    out, mark = tmp_path / "o", tmp_path / "mark"
    child = report([RUNS, SLEEPS.format(mark=str(mark))], out, os.setpgrp)
    child.wait(lambda: mark.exists() and "notebook 00_n: " in child.err)
    # from a terminal ctrl-c reaches the kernels as well
    (os.killpg if number == signal.SIGINT else os.kill)(child.pid, number)
    assert child.end() in (-number, 128 + number)
    for _ in until(lambda: gone(mark)):
        pass
    assert len(list_runs(out)) == 1
    kept = list(out.glob("*_report_refscenes+_tiny_unfinished"))
    if number == signal.SIGINT:
        assert sorted(os.listdir(kept[0])) == ["00_n.html", "00_n.ipynb"]
        assert "it ran" in (kept[0] / "00_n.html").read_text("utf-8")
    again = report([RUNS, SLEEPS.format(mark=str(mark))], out).well()
    assert again.err.count("notebook 0") >= 2
    assert len(list(out.glob("*_report_*/index.html"))) == 1


@pytest.mark.parametrize("size", [2_000, 100_000], ids=["no-scene-fits", "no-page-fits"])
def test_a_report_of_files_that_may_not_grow(report, tmp_path, size):
    out = tmp_path / "o"
    child = report([RUNS], out, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
    code, said = child.end(), child.err.splitlines()
    assert code == 2 and said[-1].startswith("tas: ") and "File too large" in said[-1], said
    assert "Traceback" not in child.err and not list(out.glob("*_report_*/index.html"))
