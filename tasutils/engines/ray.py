"""The engine ray: readers, and a pool of processes that describe, as two stages of Ray Data.

The driver alone writes the store, and an actor beside it claims what is described, so that the
workers need not reach it. The machines of a cluster
need this package, the weights and the pictures at the same paths.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from math import ceil, inf
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from tasutils.engines.ray_pool import READER_CPUS, pool_for
from tasutils.engines.ray_session import ray_session
from tasutils.engines.ray_stages import (
    ELSEWHERE,
    MINE,
    THERE,
    Claimer,
    Describer,
    items_table,
    read,
)
from tasutils.engines.work import Had, Item, Outcome, had_by
from tasutils.errors import TasError

if TYPE_CHECKING:
    import pyarrow as pa

    from tasutils.store import SceneStore
    from tasutils.store_writer import SceneWriter
    from tasutils.tas import TAS

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

    with (
        ray_session(address),
        _claimer(store.folder) as claimer,
        SceneWriter(store) as writer,
        tqdm(total=len(items), desc="describe", unit="image", disable=not progress) as bar,
    ):
        work = _Work(writer)
        had, left = had_by(store, tas.preset.describe_digest()), items
        while left:
            # closing it ends the pool at once
            with closing(_tables(left, tas, had, claimer, actors, warm_up)) as tables:
                for table in tables:
                    work.take(table)
                    bar.update(min(len(table), len(items) - bar.n))
            ids = work.wait_for_others(claimer)
            left = [item for item in items if item.image_id in ids]
    return work


@contextmanager
def _claimer(folder: Path) -> Iterator[Any]:
    """A `Claimer` on the machine of this process, until what it has claimed is written."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(num_cpus=0, max_restarts=0)(Claimer)
    claimer = actor.options(scheduling_strategy=here).remote(folder)
    try:
        yield claimer
    finally:
        with suppress(ray.exceptions.RayError):
            ray.get(claimer.close.remote(), timeout=10)
        ray.kill(claimer)


class _Work:
    """Hands what workers give to the writer; counts what came of each picture."""

    def __init__(self, writer: SceneWriter) -> None:
        self.writer = writer
        self.taken: set[str] = set()  # keys, so that of equal pictures one is put there
        self.elsewhere: list[tuple[str, str]] = []  # key and image_id of what another describes
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
        others = table.filter(pc.invert(is_scene)).select(["image_id", "key", "fault", "fate"])
        for row in others.to_pylist():
            if row["fault"]:
                tqdm.write(f"tas: {row['fault']}", sys.stderr)
                self.failed.append((row["image_id"], row["fault"]))
            elif row["fate"] == ELSEWHERE:
                self.elsewhere.append((row["key"], row["image_id"]))
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

    def wait_for_others(self, claimer: Any) -> set[str]:
        """Wait for what other processes describe; the image_ids of what one of them left undone."""
        import ray

        from tasutils.store_writer import LOOK_S

        if self.elsewhere:
            told = f"{len(self.elsewhere)} pictures are described by another process; waiting"
            tqdm.write(f"tas: {told}", sys.stderr)
        while self.elsewhere:
            fates = ray.get(claimer.take.remote([key for key, _ in self.elsewhere]))
            found = list(zip(fates, self.elsewhere, strict=True))
            self.n_had += fates.count(THERE)
            self.elsewhere = [pair for fate, pair in found if fate == ELSEWHERE]
            if MINE in fates:
                return {image_id for fate, (_, image_id) in found if fate == MINE}
            sleep(LOOK_S)
        return set()

    def outcome(self) -> Outcome:
        """What the run did."""
        return Outcome(len(self.taken), self.n_had, self.failed)


def _tables(
    items: Sequence[Item],
    tas: TAS,
    had: Had,
    claimer: Any,
    actors: int | None,
    warm_up: Path | None,
) -> Generator[pa.Table, None, None]:
    """What workers make of the items, a block at a time, in order."""
    import ray
    import torch
    from ray.exceptions import OutOfMemoryError, RayActorError, WorkerCrashedError

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
            fn_constructor_args=[claimer, tas.unbuilt(pool.device), pool.threads],
            fn_constructor_kwargs={"describe_digest": had.describe_digest, "warm_up": warm_up},
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
