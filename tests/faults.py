"""`tas` in a process of its own, with light parts in place of networks, for faults to be put in."""

import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from light import FakeCaptioner, FakeEncoder, SlowProposer, make_dataset

import tasutils
import tasutils.evaluate
from tasutils import cli
from tasutils import tas as loading
from tasutils.config import load_preset
from tasutils.tas import TAS

ENDINGS = {
    signal.SIGINT: (130, "tas: interrupted"),
    signal.SIGTERM: (-signal.SIGTERM, ""),  # 143 in a shell
    signal.SIGHUP: (-signal.SIGHUP, ""),
}


class Counted(SlowProposer):
    """Takes its time, and leaves a mark in a file for each picture that it begins."""

    def __init__(self, seconds, calls):
        super().__init__(seconds)
        self.calls = calls

    def __call__(self, image):
        with self.calls.open("ab") as file:
            file.write(b".")
        return super().__call__(image)


class Child:
    """A fork of this process that runs `tas` with some arguments; its output goes to files.

    `prepare` is called in it before. With `parser`, sentences can be read.
    """

    def __init__(self, folder, args, parser=None, seconds=0.0, prepare=lambda: None):
        self._lay_out(folder)
        streams = [os.open(*file) for file in self._streams()]
        self.pid = os.fork()
        if self.pid == 0:
            for number, stream in enumerate(streams, start=1):
                os.dup2(stream, number)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            run_tas([str(arg) for arg in args], parser, self.calls, seconds, prepare)
        for stream in streams:
            os.close(stream)

    def _lay_out(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.calls = self.folder / "calls"
        self.calls.write_bytes(b"")

    def _streams(self):
        """What os.open takes for the files that stdout and stderr go to."""
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC
        return [(self.folder / name, flags, 0o666) for name in ("out", "err")]

    @property
    def n_described(self):
        """Pictures begun until now."""
        return self.calls.stat().st_size

    @property
    def runs(self):
        """Whether it has not ended."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def wait(self, true, seconds=180):
        """Wait until something is true, or fail with what was said."""
        until = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < until, self.err
            time.sleep(0.005)

    def after(self, n, number=None):
        """Wait until n pictures are begun, then send a signal."""
        self.wait(lambda: self.n_described >= n or not self.runs)
        assert self.n_described >= n, self.err
        if number is not None:
            os.kill(self.pid, number)
        return self

    def end(self):
        """Wait for the end; the exit code, or minus the signal that killed it."""
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    @property
    def out(self):
        """What it said on stdout."""
        return (self.folder / "out").read_text("utf-8")

    @property
    def err(self):
        """What it said on stderr, without progress bars."""
        text = (self.folder / "err").read_bytes().decode()
        lines = [line.split("\r")[-1] for line in text.split("\n")]
        return "\n".join(line for line in lines if line.strip() and "image/s]" not in line
                         and "s/image]" not in line and "?image" not in line)  # fmt: skip


class Fresh(Child):
    """The same in a new process, which shares nothing with this one but the environment.

    For Ray: in a fork of a process that has used it, its connections stand still for ever.
    """

    def __init__(self, folder, args, seconds=0.0, **environ):
        self._lay_out(folder)
        code = "import sys, faults; faults.run_fresh(*sys.argv[1:])"
        given = [str(arg) for arg in (self.calls, seconds, *args)]
        self.pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-c", code, *given],
            {**os.environ, "PYTHONPATH": str(Path(__file__).parent), **environ},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, number, *file)
                for number, file in enumerate(self._streams(), start=1)
            ],
        )


def run_fresh(calls, seconds, *args):
    """`run_tas` from words alone."""
    run_tas(list(args), warm_parser(), Path(calls), float(seconds))


def run_tas(args, parser, calls, seconds, prepare=lambda: None):
    """Run `tas` and end this process with its exit code."""
    code = 99
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGHUP):  # under nohup a test would hear none
            signal.signal(number, signal.SIG_DFL)

        def load(preset="tiny", device=None):
            preset = load_preset("tiny").override({"compute.image_batch": 3})
            parts = (Counted(seconds, calls), FakeEncoder(), FakeCaptioner(), parser)
            return TAS(preset, *parts, "cpu")

        loading.load = tasutils.load = load
        prepare()
        code = cli.main(args)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def warm_parser():
    """A parser, and all that a run loads: processes are forks, which find it there."""
    from tasutils.language.parse import Parser
    from tasutils.language.wordnet import wordnet

    found = Parser("en_core_web_sm")
    found.noun_chunks("a dog")
    wordnet().synsets("dog")
    return found


def lay_out(folder):
    """A data set of six pictures as RefCOCO lays it out; the options that name it."""
    make_dataset(folder, "refcoco")
    shutil.move(folder / "refcoco" / "refs(tas).p", folder / "refcoco" / "refs(unc).p")
    return ["refcoco", "val", "--root", folder, "--images", folder / "images",
            "--split-by", "unc", "--preset", "tiny"]  # fmt: skip


def leftovers(folder):
    """Temporary files and folders in a folder, and those that tell who is at work."""
    return [
        str(path)
        for path in Path(folder).rglob("*")
        if path.name.startswith((".", "tmp")) or path.suffix in (".tmp", ".lock")
    ]


def one_line(child):
    """Check that a command ended with code 2 and one line; return it."""
    code, said = child.end(), child.err
    assert code == 2 and said.startswith("tas: ") and said.count("\n") == 0, (code, said)
    return said


@contextmanager
def mounts(folder):
    """A function that mounts what `mount` takes as arguments on a new folder, until the end."""
    places = []

    def mount(*options, source="tmpfs"):
        place = folder / f"mount{len(places)}"
        place.mkdir()
        run = subprocess.run(["mount", *options, source, place], capture_output=True, text=True)
        if run.returncode:
            pytest.skip(f"this machine mounts nothing: {run.stderr.strip()}")
        places.append(place)
        return place

    try:
        yield mount
    finally:
        for place in reversed(places):
            subprocess.run(["umount", place], check=True)


def fill(disk, spare=0):
    """Leave so many bytes of a disk free; the file that takes the others."""
    path = disk / "filler"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    path.write_bytes(bytes(max(free - spare, 0)))
    return path


def started_by(pid):
    """The processes that a process has started, and those that these have."""
    return psutil.Process(pid).children(recursive=True)


def running(processes):
    """Those that have not ended."""
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
