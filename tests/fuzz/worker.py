"""Reads mutated files in a process of its own: `python -m fuzz.worker`, on standard input a line
for each reader, its name and after a tab the numbers of the inputs.

Before each input its reader and number are printed; after it `ok`, `refused` or `FAULT ...`. What
neither ends in time nor stays within its memory ends the process, so what was printed last is
guilty.
"""

import contextlib
import io
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import warnings
from pathlib import Path

from fuzz.mutate import mutated
from fuzz.readers import READERS, Reader

GROWTH = 1 << 30


def make_input(reader: Reader, trees: list[dict[str, bytes]], seed: str) -> dict[str, bytes]:
    """The tree of files of one number, one file of it changed."""
    rng = random.Random(seed)
    tree = dict(rng.choice(trees))
    name = rng.choice(sorted(set(tree) - reader.kept))
    others = [other[name] for other in trees if name in other]
    tree[name] = mutated(rng, name, tree[name], others)
    return tree


def outcome(reader: Reader, folder: Path) -> str:
    """What becomes of reading a folder: `ok`, `refused`, or the fault."""
    from tasutils.errors import TasError

    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            reader.read(folder)
    except TasError as error:
        text, cause = str(error), error.__cause__ or error.__context__
        if len(text.splitlines()) != 1 or not text.isprintable() or len(text) > 2500:
            return f"FAULT not one line: {text[:200]!r}"
        greedy = isinstance(cause, MemoryError) and not reader.may_ask
        return "FAULT asks for over 1 GB" if greedy else "refused"
    except BaseException as error:  # a panic of Rust is no Exception
        place = error.__traceback__
        while place and place.tb_next:
            place = place.tb_next
        where = f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}" if place else ""
        return f"FAULT {type(error).__name__} at {where}: {str(error)[:120]!r}"
    return "ok"


def limit(growth: int | None) -> None:
    """No more memory than `growth` bytes beyond what is in use now; None: as much as there is."""
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    highest = resource.getrlimit(resource.RLIMIT_AS)[1]
    soft = highest if growth is None else in_use + growth
    resource.setrlimit(resource.RLIMIT_AS, (soft, highest))


def write_tree(folder: Path, tree: dict[str, bytes]) -> None:
    for name, data in tree.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)


def run(name: str, numbers: list[int]) -> None:
    reader = READERS[name]
    limit(None)
    trees = reader.seeds()
    with tempfile.TemporaryDirectory() as place:
        for tree in trees:  # what is valid is read, and all that reading needs is imported
            folder = Path(tempfile.mkdtemp(dir=place))
            write_tree(folder, tree)
            found = outcome(reader, folder)
            if found != "ok":
                raise RuntimeError(f"{name}: a file to begin from is not read: {found}")
        limit(GROWTH)
        folder = Path(place) / "input"
        for number in numbers:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            print(f"{name}\t{number}", end="\t", flush=True)
            tree = make_input(reader, trees, f"{name} {number}")
            write_tree(folder, tree)
            signal.setitimer(
                signal.ITIMER_PROF, reader.seconds
            )  # its own work: other processes cost none
            signal.setitimer(signal.ITIMER_REAL, 12 * reader.seconds)
            found = outcome(reader, folder)
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            print(found, flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin.read().splitlines():
        name, _, numbers = line.partition("\t")
        run(name, [int(number) for number in numbers.split()])
