"""The notebooks of a report, run one or two at a time; one that fails does not stop the rest."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.connection import wait as wait_for_ends
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from tasutils import paths
from tasutils.errors import TasError
from tasutils.execute import run_notebook
from tasutils.signals import ended_by_signals

if TYPE_CHECKING:
    from tasutils.config import Preset
    from tasutils.report_plan import Entry

LIGHT_BYTES = 1 << 30  # of weights, up to which two notebooks at a time fit into any memory
TIDY_S = 8.0  # for a process to close its notebook's kernel
ALONE = "10"  # measures seconds, so nothing may run beside it


@dataclass(frozen=True)
class Outcome:
    """What became of a notebook: its seconds, and the error that stopped it, or nothing."""

    entry: Entry
    seconds: float
    error: str = ""


def at_once(preset: Preset, device: str) -> int:
    """How many notebooks run at a time: two on two cores, unless one fills the machine."""
    from tasutils.provenance import cores

    files = [
        file
        for path in preset.weight_paths().values()
        for file in ([path] if path.is_file() else path.rglob("*"))
        if file.is_file()
    ]
    light = sum(file.stat().st_size for file in files) <= LIGHT_BYTES
    return 2 if device == "cpu" and light and cores() > 1 else 1


def run_all(entries: Sequence[Entry], folder: Path, workers: int) -> list[Outcome]:
    """Run notebooks into a folder; progress on stderr, a line when each begins and ends.

    Args:
        entries: those to run, with their parameters.
        folder: for their pages.
        workers: how many at a time. Two have a thread each; `ALONE` runs last, by itself.

    Returns:
        What became of each, in the order of the entries.
    """
    together = [entry for entry in entries if workers > 1 and not entry.name.startswith(ALONE)]
    alone = [entry for entry in entries if entry not in together]
    found: dict[str, Outcome] = {}
    for outcome in (*_in_pool(together, folder, workers), *_in_turn(alone, folder)):
        found[outcome.entry.name] = outcome
    return [found[entry.name] for entry in entries]


def _in_turn(entries: Sequence[Entry], folder: Path) -> Iterator[Outcome]:
    for entry in entries:
        _say(entry)
        yield _told(_run(entry, folder, None, paths.NOTEBOOKS))


def _in_pool(entries: Sequence[Entry], folder: Path, workers: int) -> Iterator[Outcome]:
    """Processes rather than threads, since papermill changes the folder of its process."""
    if not entries:
        return
    waiting, running = list(entries), set[Future[Outcome]]()
    with ProcessPoolExecutor(workers, get_context("spawn"), _end_with_parent) as pool:
        try:
            while waiting or running:
                while waiting and len(running) < workers:  # none is queued: ctrl-c leaves none
                    entry = waiting.pop(0)
                    _say(entry)
                    running.add(pool.submit(_run, entry, folder, 1, paths.NOTEBOOKS))
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (_told(future.result()) for future in done)
        except BaseException:  # a signal that this process alone got
            _end(active_children())
            raise


def _end(processes: Sequence[BaseProcess]) -> None:
    """End processes of a pool, which tidy up first; one that cannot is killed.

    Such as one that waits for a lock of their queue, which another has taken into its grave.
    """
    for process in processes:
        process.terminate()
    ends, until = [process.sentinel for process in processes], time.monotonic() + TIDY_S
    try:
        while ends and time.monotonic() < until:
            ended = wait_for_ends(ends, until - time.monotonic())
            ends = [end for end in ends if end not in ended]
    finally:
        for process in processes:
            process.kill()


def _end_with_parent() -> None:
    """Let this process end, and its kernel, when the one that started it is killed."""
    parent = parent_process()
    assert parent is not None

    def wait_for_end() -> None:
        parent.join()
        while True:  # one ends the notebook, which is tidied up, and one the waiting for the next
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)

    Thread(target=wait_for_end, daemon=True).start()


def _run(entry: Entry, folder: Path, threads: int | None, notebooks: Path) -> Outcome:
    paths.NOTEBOOKS = notebooks
    start = time.perf_counter()
    try:
        with ended_by_signals():  # of a process of the pool, which has no other ending
            run_notebook(entry.name, entry.parameters, folder, progress=False, threads=threads)
        error = ""
    except (TasError, RuntimeError, OSError) as failure:
        error = " ".join(str(failure).split())
    return Outcome(entry, time.perf_counter() - start, error)


def _say(entry: Entry) -> None:
    print(f"notebook {entry.name} ...", file=sys.stderr, flush=True)


def _told(outcome: Outcome) -> Outcome:
    end = f"FAILED: {outcome.error}" if outcome.error else f"{outcome.seconds:.0f} s"
    print(f"notebook {outcome.entry.name}: {end}", file=sys.stderr, flush=True)
    return outcome
