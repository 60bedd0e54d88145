"""A task in a process of its own: how long it took, and the most memory that it ever had.

A task is a function MODULE:NAME of this package that takes the keyword arguments of a JSON object
and returns a dictionary that JSON can hold.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from tasutils.errors import TasError

_MARK = "tasutils.bench.child: "
_STATUS = Path("/proc/self/status")


def run_child(task: str, environment: dict[str, str], **arguments: Any) -> dict[str, Any]:
    """What a task returned, with `peak_mib`, the highest memory use of its process.

    Raises TasError with the last line of its stderr when it failed.
    """
    command = [sys.executable, "-m", "tasutils.bench.child", task, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    lines = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if done.returncode or not lines:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise TasError(f"bench: {task.partition(':')[2]} failed in its own process: {reason}")
    found: dict[str, Any] = json.loads(lines[-1].removeprefix(_MARK))
    return found


def peak_mib() -> float:
    """Highest memory use of this process so far in MiB.

    ru_maxrss of a child starts from that of the process that made it; Linux's VmHWM does not.
    """
    if _STATUS.is_file():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def main() -> None:
    """Run the task that the command line names, and print its result."""
    task, arguments = sys.argv[1:]
    module, _, name = task.partition(":")
    found = getattr(import_module(module), name)(**json.loads(arguments))
    print(_MARK + json.dumps(found | {"peak_mib": peak_mib()}))


if __name__ == "__main__":
    main()
