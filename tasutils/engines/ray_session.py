"""A connection to Ray for one run: of a cluster, or of this machine alone, without a trace of it.

Ray's usage reports, its dashboard, its progress bars and its log lines are off.
"""

from __future__ import annotations

import os
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from tempfile import gettempdir
from types import ModuleType
from typing import Any

from tasutils.errors import TasError
from tasutils.signals import handlers_kept
from tasutils.unfinished import unfinished_folder

_MISSING = "engine ray needs Ray; install the extra: pip install -e '.[scale]' -c constraints.txt"
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_LOG_LEVEL": "CRITICAL",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # all lines
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",  # which aborts at SIGTERM, whoever handles that
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else a warning of each worker without a GPU
}
_LOCAL = {
    "RAY_worker_niceness": "0",  # else its workers wait for any other process of the machine
    "RAY_raylet_start_wait_time_s": "120",
}
_TOKEN = token_hex(32)  # one a process: Ray keeps the first that it sees
_ATTEMPTS = 3  # to start it: on a busy machine it gives up after half a minute
_LONGEST_FOLDER = 31  # characters; Ray's sockets lie below it, and theirs have 107 at most


@contextmanager
def ray_session(address: str | None = None) -> Iterator[None]:
    """A connection to the cluster at `address`; None starts Ray on this machine, for this run.

    Without an address, a connection that this process has already is used, and left. What is
    started here listens to nobody without its random token, and its folder of sockets and logs goes
    with it.

    Raises:
        TasError: Ray is not installed or does not start, or there is no cluster at `address`.
    """
    if address is not None:
        _check_address(address)
    ray = _imported(address)
    with unfinished_folder(_short_folder(), "tas-ray-") as folder:
        there = ray.is_initialized() and address is None
        if address is not None:
            _join(address)
        elif not there:
            _start(folder)
        try:
            with _settings():
                yield
        finally:
            if not there:
                ray.shutdown()


def _imported(address: str | None) -> ModuleType:
    """Ray, told to be quiet before it is imported."""
    os.environ.update(_QUIET)
    if address is not None:  # half a minute each, and what listens there may be no Ray
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "2")
    try:
        import ray
        import ray.data
    except ImportError:
        raise TasError(_MISSING) from None
    return ray


def _check_address(address: str) -> None:
    """Raise TasError if nothing listens at an address; Ray itself would wait for ten minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in address or not port.isdecimal():
        raise TasError(f"--address is HOST:PORT of a Ray cluster, or auto, not {address!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise TasError(f"no Ray cluster at {address} ({error}); check --address") from error


def _start(folder: Path) -> None:
    import ray

    # Each of Ray's ten processes imports jsonschema, which builds the grammar of an address with
    # rfc3987_syntax if that is there: two seconds of work for nothing.
    (folder / "rfc3987_syntax.py").write_text("raise ImportError\n", encoding="utf-8")
    environment = {
        **_LOCAL,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])),
        # without one Ray makes a token, and leaves it in the home folder
        "RAY_AUTH_TOKEN": os.environ.get("RAY_AUTH_TOKEN", _TOKEN),
    }
    for attempt in range(_ATTEMPTS):
        try:
            with _environment(environment), _silence(), handlers_kept():
                ray.init(
                    "local",
                    num_cpus=_cpus(),
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level="critical",
                    _temp_dir=str(folder),
                )
            return
        except Exception as error:  # Ray has no type of its own for a start that took too long
            ray.shutdown()
            if attempt == _ATTEMPTS - 1:
                reason = " ".join(str(error).split())[:200]
                raise TasError(f"Ray does not start on this machine ({reason})") from error


def _join(address: str) -> None:
    import ray

    try:
        with _silence(), handlers_kept():
            ray.init(address, log_to_driver=False, logging_level="critical")
    except Exception as error:  # Ray raises many types
        reason = " ".join(str(error).split())[:200]
        raise TasError(f"no Ray cluster at {address} ({reason}); check --address") from error


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Environment variables for the processes that are started in this context."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _silence() -> Iterator[None]:
    """Nothing on stderr, on which Ray's own log tells how much it will tell."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def _settings() -> Iterator[None]:
    """Ray Data's settings of this run, in place of those of the process."""
    from ray.data import DataContext

    settings: Any = DataContext.get_current().copy()
    settings.enable_progress_bars = False
    settings.print_on_execution_start = False
    settings.execution_options.preserve_order = True  # of equal pictures the first gives its name
    settings.execution_no_progress_timeout_s = -1  # a large network takes its time
    with DataContext.current(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as that a later Ray has other arguments
        yield


def _cpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _short_folder() -> Path:
    folder, short = Path(gettempdir()), Path("/tmp")
    return short if len(str(folder)) > _LONGEST_FOLDER and short.is_dir() else folder
