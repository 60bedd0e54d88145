"""`tas report` that is ended, that is killed, and whose disk is full."""

import os
import resource
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import nbformat
import pytest
from faults import ENDINGS, Child, fill, leftovers, mounts, running, started_by, warm_parser
from light import make_dataset
from nbformat.v4 import new_code_cell, new_notebook

from tasutils import report as report_module
from tasutils.runs import list_runs

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
RUNS = "print('it', 'ran')"
SLEEPS = """import os
from pathlib import Path
from time import sleep
mark = Path({mark!r})
if not mark.exists():
    mark.with_suffix(".tmp").write_text(str(os.getpid()))
    mark.with_suffix(".tmp").rename(mark)
    sleep(60)
"""


@pytest.fixture(scope="module")
def parser():
    return warm_parser()


@pytest.fixture
def report(tmp_path, parser):
    """Run `tas report` with notebooks of these sources, so many at a time."""
    dataset = make_dataset(tmp_path, "refscenes+")
    (tmp_path / "n").mkdir()

    def run(sources, workers, out, more=lambda: None):
        for k, source in enumerate(sources):
            cells = [new_code_cell("", metadata={"tags": ["parameters"]}), new_code_cell(source)]
            notebook = new_notebook(cells=cells, metadata={"kernelspec": KERNEL})
            nbformat.write(notebook, tmp_path / "n" / f"0{k}_n.ipynb")

        def prepare():
            import tasutils.datasets
            from tasutils import paths, report

            paths.NOTEBOOKS = tmp_path / "n"
            tasutils.datasets.load_dataset = lambda *_: dataset
            report.at_once = lambda *_: workers
            more()

        command = ["report", "--dataset", "refscenes+", "--split", "val", "--out", out]
        return Child(tmp_path / "c", command, parser, 0, prepare)

    return run


def asleep(tmp_path, n):
    """The sources of n notebooks that sleep when first run, and the files that then appear."""
    marks = [tmp_path / f"mark{k}" for k in range(n)]
    return [SLEEPS.format(mark=str(mark)) for mark in marks], marks


def alive(marks):
    """Processes of notebooks that have not ended."""
    return [mark for mark in marks if os.path.exists(f"/proc/{mark.read_text()}")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "workers", "send"),
    [
        (signal.SIGTERM, 1, os.kill),
        (signal.SIGINT, 2, os.killpg),  # as from a terminal
        (signal.SIGTERM, 2, os.kill),
    ],
    ids=["TERM", "ctrl-c-two-at-once", "TERM-two-at-once"],
)
@pytest.mark.unmeasured
def test_report_ends_with_its_notebooks(report, tmp_path, number, workers, send):
    out = tmp_path / "o"
    sources, marks = asleep(tmp_path, workers)
    child = report([RUNS, *sources], workers, out, os.setpgrp)
    child.wait(lambda: all(mark.exists() for mark in marks))
    child.wait(lambda: "notebook 00_n: " in child.err)
    started = started_by(child.pid)
    send(child.pid, number)
    code, said = child.end(), child.err.splitlines()
    assert code == ENDINGS[number][0]
    child.wait(lambda: not running(started) and not alive(marks))
    if number == signal.SIGTERM:  # nothing is tidied up
        assert all(line.startswith("notebook 0") for line in said)
        return
    *progress, kept, last = said
    assert all(line.startswith("notebook 0") for line in progress) and last == ENDINGS[number][1]
    assert not leftovers(out) and len(list_runs(out)) == 1
    (folder,) = out.glob("*_report_refscenes+_tiny_unfinished")
    assert kept == f"the notebooks that have run are kept in {folder}"
    assert sorted(os.listdir(folder)) == ["00_n.html", "00_n.ipynb"]
    assert "it ran" in (folder / "00_n.html").read_text("utf-8")


@pytest.mark.slow
def test_a_killed_report_leaves_no_process_and_the_next_one_tidies_up(report, tmp_path):
    out = tmp_path / "o"
    sources, marks = asleep(tmp_path, 2)
    child = report(sources, 2, out)
    child.wait(lambda: all(mark.exists() for mark in marks))
    started = started_by(child.pid)
    os.kill(child.pid, signal.SIGKILL)
    assert child.end() == -signal.SIGKILL
    child.wait(lambda: not running(started) and not alive(marks))
    assert leftovers(out)
    for left in leftovers(out):
        os.utime(left, (time.time() - 8 * 24 * 3600,) * 2)
    again = report(sources, 1, out)
    assert again.end() == 0, again.err
    assert not leftovers(out) and len(list(out.glob("*_report_*/index.html"))) == 1


def whole(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def ended_in_one_line(child, word):
    code, said = child.end(), child.err.splitlines()
    assert code == 2 and word in said[-1] and said[-1].startswith("tas: "), (code, said)
    progress = ("notebook 00_n", "writing the page", "the notebooks that have run are kept in ")
    assert all(line.startswith(progress) for line in said[:-1]), said


@pytest.mark.parametrize("size", [2_000, 100_000], ids=["no-scene-fits", "no-page-fits"])
def test_report_of_files_that_may_not_grow(report, tmp_path, size):
    out = tmp_path / "o"
    child = report([RUNS], 1, out, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
    ended_in_one_line(child, "File too large")
    assert not leftovers(out) and not list(out.glob("*_report_*"))


@pytest.mark.slow
def test_report_on_a_full_disk_harms_no_earlier_one(report, tmp_path):
    with mounts(tmp_path) as mount:
        disk = mount("-t", "tmpfs", "-o", "size=4m")
        first = report([RUNS], 1, disk)
        assert first.end() == 0, first.err
        before = whole(disk)
        (page,) = disk.glob("*_report_*/00_n.html")
        for spare in (0, page.stat().st_size + 60_000):
            filler = fill(disk, spare)
            ended_in_one_line(report([RUNS], 1, disk), "No space left")
            filler.unlink()
            now = whole(disk)
            assert before.items() <= now.items() and not leftovers(disk)
            assert len(list(disk.glob("*_report_*/index.html"))) == 1
        (kept,) = disk.glob("*_report_*_unfinished")  # by the last, which had room for the page
        assert (kept / "00_n.html").read_bytes().endswith(b"</html>")
        again = report([RUNS], 1, disk)
        assert again.end() == 0, again.err
        assert len(list(disk.glob("*_report_*/index.html"))) == 2


def test_reports_of_the_same_second_have_names_of_their_own(tmp_path):
    n = 8
    for round_ in range(20):
        barrier = Barrier(n)

        def keep(k, target=tmp_path / f"report{round_}", barrier=barrier):
            folder = target.with_name(f".{target.name}-{k}")
            folder.mkdir()
            (folder / "index.html").write_text(str(k))
            barrier.wait()
            return report_module._keep(folder, target)

        with ThreadPoolExecutor(n) as pool:
            places = list(pool.map(keep, range(n)))
        assert len(set(places)) == n
        assert [(place / "index.html").read_text() for place in places] == list(map(str, range(n)))
