"""How many processes describe, and what each of them claims of the machines."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from tasutils.errors import TasError

if TYPE_CHECKING:
    from tasutils.tas import TAS

READER_CPUS = 0.1  # what a reader claims
# Of all CPUs, for those that describe. Were it all of them, no reader would ever start.
_SHARE = 0.75
_BYTES_BESIDE_WEIGHTS = 2 << 30


@dataclass(frozen=True)
class Pool:
    """The processes that describe, and the readers beside them.

    actors: how many describe; device: where, cpu or cuda; threads: of each of them; cpus, gpus: the
    part of one that each claims, so that Ray finds room for it; readers: how many read at once.
    """

    actors: int
    device: str
    threads: int
    cpus: float
    gpus: float
    readers: int


def pool_for(
    tas: TAS, resources: dict[str, float], threads: int, batches: int, actors: int | None = None
) -> Pool:
    """The pool for a preset on a cluster with these resources, see `ray.cluster_resources`.

    Args:
        tas: on cuda if it asks for that, or asks for nothing and there is a GPU.
        resources: CPU, GPU and memory (bytes).
        threads: of each process that describes on cpu. With another number the same network gives
            numbers that differ in their last bits.
        batches: how many there are to describe; more actors than that have nothing to do.
        actors: how many describe; None: one a GPU, or so many as CPUs and memory allow.

    Raises:
        TasError: it asks for a device that the pool cannot have.
    """
    cpus, gpus = int(resources.get("CPU", 1)), int(resources.get("GPU", 0))
    device = tas.wanted_device or ("cuda" if gpus else "cpu")
    if device not in ("cpu", "cuda"):
        raise TasError(f"engine ray runs on cpu or cuda, not {device!r}; choose one of them")
    if device == "cuda" and not gpus:
        raise TasError("device 'cuda': Ray finds no GPU; choose cpu")
    if actors is None:
        fitting = min(cpus // threads, int(resources.get("memory", 0) // _bytes_of_one(tas)))
        actors = gpus if device == "cuda" else max(1, fitting)
    actors = min(actors, batches)
    return Pool(
        actors=actors,
        device=device,
        threads=max(1, cpus // actors) if device == "cuda" else threads,
        cpus=_SHARE * min(threads if device == "cpu" else 1, cpus / actors),
        gpus=1 / ceil(actors / gpus) if device == "cuda" else 0,
        readers=max(1, cpus // 2),
    )


def _bytes_of_one(tas: TAS) -> int:
    """Memory that one process needs, in bytes, guessed from the sizes of the weights."""
    total = _BYTES_BESIDE_WEIGHTS
    for field, path in tas.preset.weight_paths().items():
        if not field.startswith("peer_encoder."):
            files = path.rglob("*") if path.is_dir() else [path]
            total += 2 * sum(file.stat().st_size for file in files if file.is_file())
    return total
