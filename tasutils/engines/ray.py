"""The engine ray: readers, and a pool of processes that describe, as two stages of Ray Data.

The driver alone writes the store, so that the workers need not reach it. The machines of a cluster
need this package, the weights and the pictures at the same paths.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Generator, Sequence
from contextlib import closing
from math import ceil, inf
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from tasutils.engines.ray_pool import READER_CPUS, pool_for
from tasutils.engines.ray_session import ray_session
from tasutils.engines.ray_stages import Describer, items_table, read
from tasutils.engines.work import Had, Item, Outcome, had_by
from tasutils.errors import TasError

if TYPE_CHECKING:
    import pyarrow as pa

    from tasutils.loading import TAS
    from tasutils.store import SceneStore
    from tasutils.store_writer import SceneWriter

_RETRIES = 3  # of a batch whose worker died; a picture that kills each of them ends the run


def describe_items(
    items: Sequence[Item],
    tas: TAS,
    store: SceneStore,
    *,
    address: str | None = None,
    progress: bool = True,
    actors: int | None = None,
) -> Outcome:
    """Describe pictures in a pool of processes; see `engines.describe_dataset`.

    Each has the threads of this one, for the rows to be those of the local engine bit for bit; with
    OMP_NUM_THREADS=1 there are the most of them. One that dies is started again, and its batch
    redone. `actors` as in `ray_pool.pool_for`.
    """
    return _describe(items, tas, store, address, progress, actors).outcome()


def timed_describe_items(
    items: Sequence[Item], tas: TAS, store: SceneStore, *, actors: int
) -> tuple[Outcome, float]:
    """`describe_items` on this machine, and its seconds of steady work, without any start-up.

    They go from the begin of the first batch to the end of the last. No batch begins before all
    workers have described a picture, the first of `items`, to warm up.
    """
    work = _describe(items, tas, store, None, False, actors, warm_up=items[0].path)
    return work.outcome(), work.ended_s - work.began_s


def _describe(
    items: Sequence[Item],
    tas: TAS,
    store: SceneStore,
    address: str | None,
    progress: bool,
    actors: int | None,
    warm_up: Path | None = None,
) -> _Work:
    from tasutils.store_writer import SceneWriter

    with ray_session(address), SceneWriter(store) as writer:
        work = _Work(writer)
        had = had_by(store, tas.preset.describe_digest())
        with (
            tqdm(total=len(items), desc="describe", unit="image", disable=not progress) as bar,
            closing(_tables(items, tas, had, actors, warm_up)) as tables,  # ends the pool at once
        ):
            for table in tables:
                work.take(table)
                bar.update(len(table))
    return work


class _Work:
    """Hands what workers give to the writer; counts what came of each picture."""

    def __init__(self, writer: SceneWriter) -> None:
        self.writer = writer
        self.taken: set[str] = set()  # keys, so that of equal pictures one is put there
        self.n_had = 0
        self.failed: list[tuple[str, str]] = []
        self.began_s, self.ended_s = inf, -inf

    def take(self, table: pa.Table) -> None:
        """Count the rows of a table of `Describer`, put the scenes among them; raise a mistake."""
        import pyarrow.compute as pc

        from tasutils.store_rows import scenes_of, schema

        for mistake in table["mistake"].drop_null().to_pylist():
            raise TasError(mistake)
        is_scene = table["describe_digest"].is_valid()
        others = table.filter(pc.invert(is_scene)).select(["image_id", "fault"])
        for row in others.to_pylist():
            if row["fault"]:
                tqdm.write(f"tas: {row['fault']}", sys.stderr)
                self.failed.append((row["image_id"], row["fault"]))
            else:
                self.n_had += 1
        scenes = table.filter(is_scene)
        rows = scenes_of(scenes.select(schema().names).cast(schema()))
        for (key, scene), source in zip(rows, scenes["source"].to_pylist(), strict=True):
            if key in self.taken:
                self.n_had += 1
            else:
                self.taken.add(key)
                self.writer.put(key, scene, source)
        self.began_s = min(self.began_s, *scenes["began_s"].to_pylist(), inf)
        self.ended_s = max(self.ended_s, *scenes["ended_s"].to_pylist(), -inf)

    def outcome(self) -> Outcome:
        """What the run did."""
        return Outcome(len(self.taken), self.n_had, self.failed)


def _tables(
    items: Sequence[Item], tas: TAS, had: Had, actors: int | None, warm_up: Path | None
) -> Generator[pa.Table, None, None]:
    """What workers make of the items, a block at a time, in order."""
    import ray
    import torch
    from ray.exceptions import OutOfMemoryError, RayActorError, WorkerCrashedError

    if not items:
        return
    batches = ceil(len(items) / tas.preset.compute.image_batch)
    smallest = min(int(node["Resources"].get("CPU", 1)) for node in ray.nodes() if node["Alive"])
    threads = max(1, min(torch.get_num_threads(), smallest))  # so many as the local engine has
    pool = pool_for(tas, ray.cluster_resources(), threads, batches, actors)
    if warm_up is not None:
        ray.data.DataContext.get_current().wait_for_min_actors_s = 600
    described = (
        ray.data.from_items(items_table(items), override_num_blocks=batches)
        .map_batches(
            read,
            batch_size=None,
            batch_format="pyarrow",
            fn_kwargs={"had": ray.put(had)},
            num_cpus=READER_CPUS,
            compute=ray.data.TaskPoolStrategy(size=pool.readers),
        )
        .map_batches(
            Describer,
            batch_size=None,
            batch_format="pyarrow",
            fn_constructor_args=[tas.unbuilt(pool.device), pool.threads, had.describe_digest],
            fn_constructor_kwargs={"warm_up": warm_up},
            num_cpus=pool.cpus,
            num_gpus=pool.gpus,
            compute=ray.data.ActorPoolStrategy(size=pool.actors),
            max_restarts=-1,
            max_task_retries=_RETRIES,
        )
    )
    try:
        yield from described.iter_batches(batch_size=None, batch_format="pyarrow")
        return
    except (RayActorError, WorkerCrashedError, OutOfMemoryError):
        del described
    gc.collect()  # what Ray Data leaves of a run that failed would keep the other processes
    raise TasError(
        f"a picture made {_RETRIES + 1} processes of Ray die, or they had too little memory; "
        "what is done is kept, and the same command goes on"
    )
