"""Commands that are ended, disks that are full, two at a time, odd surroundings."""

import json
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from faults import ENDINGS, Child, fill, lay_out, leftovers, mounts, one_line, warm_parser
from light import H, W, store_differences
from PIL import Image

from tasutils.runs import list_runs
from tasutils.store import SceneStore

TIMES = {"created", "run_id", "wall_s", "answer_s", "times_s", "n_described", "peak_memory_mib"}


@pytest.fixture(scope="module")
def parser():
    return warm_parser()


@pytest.fixture
def drawn(tmp_path):
    return lay_out(tmp_path)


def samples_bytes(out):
    """The tables of the one run in a folder, and its record without times."""
    (run,) = list_runs(out)
    files = {
        name: (run.folder / name).read_bytes() for name in ("samples.parquet", "scores.parquet")
    }
    return files, run.record.model_dump(exclude=TIMES)


# --- signals ---


@pytest.mark.parametrize("number", list(ENDINGS))
def test_describe_ends_and_goes_on(drawn, tmp_path, parser, number):
    command = ["describe", *drawn, "--out", tmp_path / "o"]
    child = Child(tmp_path / "c", command, parser, 0.05).after(5, number)
    assert (child.end(), child.err) == ENDINGS[number]
    store = SceneStore(tmp_path / "o" / "scenes")
    there = len(store.keys())
    assert there == 3 and not leftovers(tmp_path / "o")  # the batch that was done
    again = Child(tmp_path / "c", command, parser)
    assert again.end() == 0 and again.out.startswith(f"done {6 - there}, had {there}, failed 0")
    assert again.n_described == 6 - there
    whole = Child(tmp_path / "w", ["describe", *drawn, "--out", tmp_path / "whole"], parser)
    assert whole.end() == 0
    assert store_differences(store, SceneStore(tmp_path / "whole" / "scenes")) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_evaluate_ends_and_goes_on(drawn, tmp_path, parser, number):
    command = ["evaluate", *drawn, "--out", tmp_path / "o"]
    child = Child(tmp_path / "c", command, parser, 0.05).after(4, number)
    assert (child.end(), child.err) == ENDINGS[number]
    assert number == signal.SIGTERM or os.listdir(tmp_path / "o") == ["scenes"]
    assert not list_runs(tmp_path / "o")
    there = len(SceneStore(tmp_path / "o" / "scenes").keys())
    assert there == 3 or number == signal.SIGTERM  # which may lose the last ones
    again = Child(tmp_path / "c", command, parser)
    assert again.end() == 0 and again.n_described == 6 - there
    assert Child(tmp_path / "w", [*command[:-1], tmp_path / "whole"], parser).end() == 0
    assert samples_bytes(tmp_path / "o") == samples_bytes(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_segment_ends_without_a_trace(tmp_path, parser, picture, number):
    Image.fromarray(picture[:H, :W]).save(tmp_path / "p.png")
    command = ["segment", tmp_path / "p.png", "the dog", "--out", tmp_path / "deep" / "o"]
    child = Child(tmp_path / "c", command, parser, 5).after(1, number)
    assert (child.end(), child.err) == ENDINGS[number]
    assert not [path for path in tmp_path.glob("deep/o/*") if not path.name.startswith(".tas-")]
    assert number == signal.SIGTERM or not (tmp_path / "deep").exists()


def test_an_ignored_signal_stays_ignored(drawn, tmp_path, parser):
    def nohup():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    command = ["describe", *drawn, "--out", tmp_path / "o"]
    child = Child(tmp_path / "c", command, parser, 0.02, nohup).after(2, signal.SIGHUP)
    assert child.end() == 0 and child.out.startswith("done 6")


# --- disks ---


@pytest.fixture
def mounted(tmp_path):
    with mounts(tmp_path) as mount:
        yield mount


@pytest.fixture
def small_disk(mounted):
    """A disk of 64 KiB."""
    return mounted("-t", "tmpfs", "-o", "size=64k")


def test_describe_on_a_full_disk(drawn, tmp_path, parser, small_disk):
    command = ["describe", *drawn, "--out", small_disk]
    assert Child(tmp_path / "c", [*command, "--limit", 3], parser).end() == 0
    filler = fill(small_disk)
    said = one_line(Child(tmp_path / "c", command, parser))
    assert "cannot write scenes" in said and "No space left" in said
    assert not leftovers(small_disk)
    assert len(SceneStore(small_disk / "scenes").keys()) == 3
    filler.unlink()
    again = Child(tmp_path / "c", command, parser)
    assert again.end() == 0 and again.out.startswith("done 3, had 3")


@pytest.mark.parametrize("spare", [0, 12_000, 24_000])
def test_evaluate_on_a_full_disk(drawn, tmp_path, parser, small_disk, spare):
    """That is full at once, or by the scenes, or by the tables."""
    filler = fill(small_disk, spare)
    command = ["evaluate", *drawn, "--out", small_disk]
    said = one_line(Child(tmp_path / "c", command, parser))
    assert "No space left" in said
    assert not list_runs(small_disk) and not leftovers(small_disk)
    filler.unlink()
    assert Child(tmp_path / "c", command, parser).end() == 0
    assert len(list_runs(small_disk)) == 1


@pytest.mark.parametrize("command", ["describe", "evaluate"])
def test_files_that_may_not_grow(drawn, tmp_path, parser, command):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    command = [command, *drawn, "--out", tmp_path / "o"]
    assert "File too large" in one_line(Child(tmp_path / "c", command, parser, 0, limit))
    assert not leftovers(tmp_path / "o") and not SceneStore(tmp_path / "o" / "scenes").keys()


def test_segment_on_a_full_disk(tmp_path, parser, small_disk):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (H, W, 3), np.uint8)).save(
        tmp_path / "p.png"
    )
    filler = fill(small_disk, 8192)
    command = ["segment", tmp_path / "p.png", "the dog", "--out", small_disk / "o"]
    assert "No space left" in one_line(Child(tmp_path / "c", command, parser))
    assert os.listdir(small_disk) == ["filler"]
    filler.unlink()
    assert Child(tmp_path / "c", command, parser).end() == 0


@pytest.mark.parametrize("command", ["describe", "evaluate", "segment", "report"])
def test_a_folder_that_cannot_be_written(drawn, tmp_path, parser, mounted, command):
    place = mounted("-t", "tmpfs", "-o", "ro")
    Image.new("RGB", (W, H)).save(tmp_path / "p.png")
    given = {"segment": [tmp_path / "p.png", "the dog"], "report": ["--limit", 1]}
    command = [command, *given.get(command, drawn), "--out", place / "o"]
    child = Child(tmp_path / "c", command, parser)
    assert "Read-only file system" in one_line(child) and str(place) in child.err
    assert child.n_described == 0  # known before the work


def test_data_that_cannot_be_written(drawn, tmp_path, parser, mounted):
    data = mounted("--bind", source=tmp_path / "refcoco")
    subprocess.run(["mount", "-o", "remount,ro,bind", data], check=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "refcoco").symlink_to(data)
    images = mounted("--bind", source=tmp_path / "images")
    subprocess.run(["mount", "-o", "remount,ro,bind", images], check=True)
    with pytest.raises(OSError, match="Read-only"):
        (images / "x").touch()
    drawn[3], drawn[5] = tmp_path / "elsewhere", images
    for command in ("describe", "evaluate"):
        child = Child(tmp_path / "c", [command, *drawn, "--out", tmp_path / "o"], parser)
        assert child.end() == 0, child.err


# --- two at a time ---


@pytest.mark.parametrize("command", ["describe", "evaluate"])
def test_two_processes_on_one_store(drawn, tmp_path, parser, command):
    command = [command, *drawn, "--out", tmp_path / "o"]
    pair = [Child(tmp_path / name, command, parser, 0.05) for name in "ab"]
    assert [child.end() for child in pair] == [0, 0], [child.err for child in pair]
    assert 6 <= sum(child.n_described for child in pair) <= 12
    store = SceneStore(tmp_path / "o" / "scenes")
    assert len(list(store.scenes())) == 6 and not leftovers(tmp_path / "o")
    if command[0] == "evaluate":
        tables = [
            (run.folder / "samples.parquet").read_bytes() for run in list_runs(tmp_path / "o")
        ]
        assert len(tables) == 2 and tables[0] == tables[1]


# --- odd surroundings ---


def test_a_clock_that_jumps(drawn, tmp_path, parser):
    from datetime import UTC, datetime, timedelta

    import tasutils.evaluate as evaluation

    class Back(datetime):
        n = 0

        @classmethod
        def now(cls, zone=UTC):
            cls.n += 1
            return datetime.now(zone) - timedelta(days=cls.n)

    def back():
        now = time.time()
        time.time = lambda: now - 1e5 * time.perf_counter()
        evaluation.datetime = Back

    command = ["evaluate", *drawn, "--out", tmp_path / "o"]
    for prepare in (lambda: None, back):
        child = Child(tmp_path / "c", command, parser, 0, prepare)
        assert child.end() == 0, child.err
    older, newer = list_runs(tmp_path / "o")
    assert older.record.created < newer.record.created and older.record.wall_s > 0


@pytest.mark.parametrize("home", [None, "/nonexistent/home"])
def test_no_home(drawn, tmp_path, parser, home):
    def leave_home():
        for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
            os.environ.pop(name, None)
        if home:
            os.environ["HOME"] = home

    child = Child(
        tmp_path / "c", ["evaluate", *drawn, "--out", tmp_path / "o"], parser, 0, leave_home
    )
    assert child.end() == 0 and child.err == ""


def test_names_with_spaces_and_of_other_scripts(tmp_path, parser):
    home = tmp_path / "mes données, 图片 – \U0001f697 'x'"
    home.mkdir()
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (H, W, 3), np.uint8)).save(
        home / "été 1.png"
    )
    (home / "à moi.csv").write_text("image,expression\nété 1.png,the dog\n", encoding="utf-8")
    out = home / "résultats 1"
    for command in (
        ["evaluate", "own", home / "à moi.csv", "--preset", "tiny"],
        ["segment", home / "été 1.png", "the dog", "le café"],
    ):
        child = Child(tmp_path / "c", [*command, "--out", out], parser)
        assert child.end() == 0, child.err
    answer = json.loads((out / "02-le-cafe" / "answer.json").read_text(encoding="utf-8"))
    assert answer["sentence"] == "le café" and answer["image"] == str(home / "été 1.png")


@pytest.mark.parametrize("name", ["x" * 300, "/".join(["y" * 200] * 30)])
def test_a_path_that_is_too_long(drawn, tmp_path, parser, name):
    Image.new("RGB", (W, H)).save(tmp_path / "p.png")
    for command in (
        ["describe", *drawn, "--out", tmp_path / name],
        ["evaluate", *drawn, "--out", tmp_path / name],
        ["segment", tmp_path / "p.png", "the dog", "--out", tmp_path / name],
        ["segment", tmp_path / name, "the dog", "--out", tmp_path / "o"],
        ["evaluate", "own", tmp_path / f"{name}.csv", "--out", tmp_path / "o"],
    ):
        one_line(Child(tmp_path / "c", command, parser))


def test_paths_are_of_the_working_folder(drawn, tmp_path, parser):
    (tmp_path / "deep").mkdir()
    drawn[3], drawn[5] = "..", "../images"
    for command in ("describe", "evaluate"):
        command = [command, *drawn, "--out", "../o"]
        child = Child(tmp_path / "c", command, parser, 0, lambda: os.chdir(tmp_path / "deep"))
        assert child.end() == 0, child.err
    assert len(list_runs(tmp_path / "o")) == 1 and not os.listdir(tmp_path / "deep")


def test_memory_that_does_not_suffice_is_told_in_one_line(drawn, tmp_path, parser):
    def allocate(self, crops):
        return np.ones((1 << 40, 1 << 16))

    def scarce():
        from light import FakeEncoder

        FakeEncoder.encode_images = allocate

    command = ["evaluate", *drawn, "--out", tmp_path / "o"]
    assert "out of memory" in one_line(Child(tmp_path / "c", command, parser, 0, scarce))
    assert not list_runs(tmp_path / "o") and not leftovers(tmp_path / "o")


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        (">/dev/full", 2, "tas: file: No space left on device\n"),
        ("2>&1 | true", 141, ""),
    ],
)
def test_streams_that_are_closed_or_full(redirection, code, said):
    command = f"{sys.executable} -m tasutils.cli presets show tiny {redirection}; "
    run = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command + "exit $?"], capture_output=True, text=True
    )
    assert (run.returncode, run.stderr) == (code, said)
