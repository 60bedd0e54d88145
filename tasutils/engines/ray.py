"""The engine ray: a pool of processes that describe, as one stage of Ray Data.

The driver alone writes the store. The machines of a cluster need this package, the weights and the
pictures at the same paths; where they also see the store, they look at it before each batch.
"""

from __future__ import annotations

import os
import platform
import signal
import socket
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from tasutils.engines import Described, Item, describe_batch
from tasutils.errors import TasError
from tasutils.store import SceneStore

if TYPE_CHECKING:
    from tasutils.tas import TAS

_MISSING = "engine ray needs Ray; install the extra: pip install -e '.[scale]' -c constraints.txt"
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing leaves the machine
    "RAY_DATA_LOG_LEVEL": "CRITICAL",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_worker_niceness": "0",  # else its workers wait for any other process of the machine
    "RAY_raylet_start_wait_time_s": "60",
    "RAY_agent_register_timeout_ms": "120000",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else a warning of each worker without a GPU
}
_STARTS = 3  # on a busy machine Ray's own helpers may need longer than it waits for them
_RETRIES = 3  # of a batch whose worker died; a picture that kills each of them ends the run
_BYTES_BESIDE_WEIGHTS = 2 << 30


def describe_by_ray(
    batches: Sequence[Sequence[Item]], tas: TAS, store: SceneStore, address: str | None = None
) -> Generator[list[Described], None, None]:
    """What came of each batch, by a pool of processes; see `engines.describe_dataset`.

    Each has the threads of this one, for the rows to be those of the local engine bit for bit; with
    OMP_NUM_THREADS=1 there are the most of them. One that dies is started again, and its batch
    redone. There is one a GPU, or as many as CPUs and memory allow.
    """
    if not batches:
        return
    with _session(address):
        import ray
        import ray.data

        pool = _pool(tas, ray.cluster_resources(), len(batches))
        given = [tas.unbuilt(pool.pop("device")), store.folder, pool.pop("threads")]
        described = ray.data.from_items(
            [{"batch": list(batch)} for batch in batches], override_num_blocks=len(batches)
        ).map_batches(
            _Describer,
            batch_size=1,
            fn_constructor_args=[*given, tas.preset.describe_digest()],
            ray_remote_args_fn=lambda: {"max_restarts": -1, "max_task_retries": _RETRIES},
            **pool,
        )
        try:
            for row in described.iter_rows():
                result = row["described"]
                if isinstance(result, TasError):
                    raise result
                yield result
        except ray.exceptions.RayError as error:
            raise TasError(
                f"a picture made {_RETRIES + 1} processes of Ray die, or they had too little "
                "memory; what is done is kept, and the same command goes on"
            ) from error


class _Describer:
    """A process of the pool: loads a preset once, on the first picture that it gets."""

    def __init__(self, tas: TAS, folder: Path, threads: int, describe_digest: str) -> None:
        import torch

        torch.set_num_threads(threads)
        self.tas, self.store, self.describe_digest = tas, SceneStore(folder), describe_digest

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        """The `Described` of a batch; a TasError as a value, which Ray would give another type."""
        result: list[Described] | TasError
        try:
            if self.tas.preset.describe_digest() != self.describe_digest:
                raise TasError(
                    f"{platform.node()}: its weights of preset {self.tas.preset.name}, or its "
                    "tasutils, are not those of the machine that started the run; install the same"
                )
            result = describe_batch(list(rows["batch"][0]), self.tas, self.store)
        except TasError as error:
            result = error
        cell = np.empty(1, object)
        cell[0] = result
        return {"described": cell}


def _pool(tas: TAS, resources: dict[str, float], most: int) -> dict[str, Any]:
    """What `map_batches` is told of the processes, their device and their threads beside it."""
    import ray
    import torch

    cpus, gpus = int(resources.get("CPU", 1)), int(resources.get("GPU", 0))
    device = tas.wanted_device or ("cuda" if gpus else "cpu")
    if device not in ("cpu", "cuda"):
        raise TasError(f"engine ray runs on cpu or cuda, not {device!r}; choose one of them")
    if device == "cuda":
        if not gpus:
            raise TasError("device 'cuda': Ray finds no GPU; choose cpu")
        actors = min(gpus, most)
        threads = max(1, cpus // actors)
        return {"concurrency": actors, "num_gpus": 1, "device": device, "threads": threads}
    smallest = min(int(node["Resources"].get("CPU", 1)) for node in ray.nodes() if node["Alive"])
    threads = max(1, min(torch.get_num_threads(), smallest))
    fitting = min(cpus // threads, int(resources.get("memory", 0) // _bytes_of_one(tas)))
    actors = min(max(1, fitting), most)
    return {"concurrency": actors, "num_cpus": threads, "device": device, "threads": threads}


def _bytes_of_one(tas: TAS) -> int:
    total = _BYTES_BESIDE_WEIGHTS
    for path in tas.preset.weight_paths().values():
        files = path.rglob("*") if path.is_dir() else [path]
        total += 2 * sum(file.stat().st_size for file in files if file.is_file())
    return total


@contextmanager
def _session(address: str | None) -> Iterator[None]:
    """A connection to the cluster at `address`; None: this process's own, or one for this run."""
    if address is not None:
        _check_address(address)
    os.environ.update(_SETTINGS)
    try:
        import ray
        import ray.data
    except ImportError:
        raise TasError(_MISSING) from None
    with TemporaryDirectory(prefix="tas-ray-", ignore_cleanup_errors=True) as folder:
        mine = address is not None or not ray.is_initialized()
        own = {"include_dashboard": False, "_temp_dir": folder} if address is None else {}
        for left in range(_STARTS if mine else 0, 0, -1):
            before = signal.getsignal(signal.SIGTERM)
            try:
                ray.init(address or "local", log_to_driver=False, logging_level="critical", **own)
                break
            except Exception as error:  # Ray raises many types
                ray.shutdown()
                if address is None and left > 1:
                    continue
                reason = " ".join(str(error).split())[:200]
                where = f"no Ray cluster at {address}" if address else "Ray does not start here"
                raise TasError(f"{where} ({reason})") from error
            finally:  # Ray sets a handler of its own, with which TERM would end in another code
                if threading.current_thread() is threading.main_thread():
                    signal.signal(signal.SIGTERM, before)
        settings = ray.data.DataContext.get_current()
        settings.enable_progress_bars = False
        settings.print_on_execution_start = False
        try:
            yield
        finally:
            if mine:
                ray.shutdown()


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
