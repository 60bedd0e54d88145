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


def fuzz(name: str, numbers: Iterable[int]) -> tuple[Counter[str], list[str]]:
    """How many inputs were read and refused, and a line for each fault.

    Args:
        name: of a reader.
        numbers: of the inputs.
    """
    counts, faults, left = Counter[str](), [], list(numbers)
    paths = [str(TESTS), str(TESTS.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    environment |= {"TOKENIZERS_PARALLELISM": "false"}
    while left:
        command, given = [sys.executable, "-m", "fuzz.worker", name], " ".join(map(str, left))
        done = subprocess.run(command, env=environment, input=given, capture_output=True, text=True)
        lines = [line for line in done.stdout.splitlines() if line[:1].isdigit()]
        for line in lines:
            number, _, found = line.partition(" ")
            found = found or f"FAULT ended by {_end(done.returncode)}"
            counts[found.split(" ")[0]] += 1
            if found.startswith("FAULT"):
                faults.append(f"{name} {number}: {found.removeprefix('FAULT ')}")
        left = left[len(lines) :]
        if not lines:
            raise RuntimeError(f"{name}: no input was read: {done.stderr[-2000:]}")
    return counts, faults


def _end(code: int) -> str:
    if code == -signal.SIGPROF or code == -signal.SIGALRM:
        return "the clock: over 5 s"
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
        counts, faults = fuzz(name, range(given.first, given.first + given.inputs))
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
