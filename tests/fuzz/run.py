"""`make fuzz`: mutated files for every reader, each read or refused in one line.

    python tests/fuzz/run.py [inputs a reader, 20000] [reader ...] [--from first number]

An input is told by its reader and number alone, so that a fault can be looked at again:
`python tests/fuzz/run.py 1 pictures --from 1234`.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def fuzz(wanted: dict[str, Iterable[int]]) -> dict[str, tuple[Counter[str], list[str]]]:
    """How many inputs of each reader were read and refused, and a line for each fault.

    Args:
        wanted: the numbers of the inputs by reader. One process reads all that ends well.
    """
    left = {name: list(numbers) for name, numbers in wanted.items()}
    told = {name: (Counter[str](), list[str]()) for name in wanted}
    paths = [str(TESTS), str(TESTS.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    environment |= {"TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-m", "fuzz.worker"]
    while any(left.values()):
        given = "".join(
            f"{name}\t{' '.join(map(str, left[name]))}\n" for name in left if left[name]
        )
        done = subprocess.run(command, env=environment, input=given, capture_output=True, text=True)
        lines = [line for line in done.stdout.splitlines() if line.count("\t") >= 2]
        for name, number, found in (line.split("\t", 2) for line in lines):
            found = found or f"FAULT ended by {_end(done.returncode)}"
            counts, faults = told[name]
            counts[found.split(" ")[0]] += 1
            left[name].remove(int(number))
            if found.startswith("FAULT"):
                faults.append(f"{name} {number}: {found.removeprefix('FAULT ')}")
        if not lines:
            raise RuntimeError(f"{given[:20]}: no input was read: {done.stderr[-2000:]}")
    return told


def _end(code: int) -> str:
    if code == -signal.SIGPROF or code == -signal.SIGALRM:
        return "the clock"
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def main() -> int:
    from fuzz.readers import READERS

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("inputs", nargs="?", type=int, default=20_000)
    parser.add_argument("readers", nargs="*", default=[], choices=[[], *READERS])
    parser.add_argument("--from", dest="first", type=int, default=0)
    given = parser.parse_args()
    n_faults = 0
    for name in given.readers or READERS:
        start = time.perf_counter()
        ((counts, faults),) = fuzz({name: range(given.first, given.first + given.inputs)}).values()
        seconds, n_faults = time.perf_counter() - start, n_faults + len(faults)
        print(
            f"{name:16} {sum(counts.values()):6} inputs: {counts['ok']} read, {counts['refused']} "
            f"refused, {len(faults)} faults, {seconds:.0f} s",
            flush=True,
        )
        for fault in faults[:30]:
            print(f"  {fault}", flush=True)
    return 1 if n_faults else 0


if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))
    sys.exit(main())
