"""`tas` in a process of its own, with light parts in place of networks, for faults to be put in."""

import os
import signal
import sys
import time
import traceback
from pathlib import Path

from test_describe import SlowProposer
from test_runs import FakeCaptioner, FakeEncoder

import tasutils
import tasutils.evaluate
from tasutils import cli, loading
from tasutils.config import load_preset
from tasutils.loading import TAS


class Child:
    """A fork of this process that runs `tas` with some arguments; its output goes to files.

    `prepare` is called in it before. With `parser`, sentences can be read.
    """

    def __init__(self, folder, args, parser=None, seconds=0.0, prepare=lambda: None):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.calls = self.folder / "calls"
        self.calls.write_bytes(b"")
        streams = [os.open(self.folder / name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
                   for name in ("out", "err")]  # fmt: skip
        self.pid = os.fork()
        if self.pid == 0:
            self._child(streams, [str(arg) for arg in args], parser, seconds, prepare)
        for stream in streams:
            os.close(stream)

    def _child(self, streams, args, parser, seconds, prepare):
        code = 99
        try:
            for number, stream in enumerate(streams, start=1):
                os.dup2(stream, number)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            calls = os.open(self.calls, os.O_WRONLY | os.O_APPEND)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for number in (signal.SIGTERM, signal.SIGHUP):  # under nohup a test would hear none
                signal.signal(number, signal.SIG_DFL)

            class Counted(SlowProposer):
                def __call__(self, image):
                    os.write(calls, b".")
                    return super().__call__(image)

            def load(preset="tiny", device=None):
                preset = load_preset("tiny").override({"compute.image_batch": 3})
                parts = (Counted(seconds), FakeEncoder(), FakeCaptioner(), parser)
                return TAS(preset, *parts, "cpu")

            loading.load = tasutils.load = load
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

    @property
    def runs(self):
        """Whether it has not ended."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def after(self, n, number=None):
        """Wait until n pictures are begun, then send a signal."""
        until = time.monotonic() + 60
        while self.n_described < n and time.monotonic() < until:
            assert self.runs, self.err
            time.sleep(0.005)
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
