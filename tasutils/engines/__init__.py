"""Engines: describe() over all pictures of a data set, into a store that holds each scene once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasutils.engines.work import Item, Outcome, items_of, shard_of
from tasutils.errors import TasError

if TYPE_CHECKING:
    from tasutils.datasets import RefDataset
    from tasutils.store import SceneStore
    from tasutils.tas import TAS

__all__ = ["ENGINES", "Item", "Outcome", "check_engine", "describe_dataset", "items_of", "shard_of"]
ENGINES = ("local", "ray")


def describe_dataset(
    dataset: RefDataset,
    tas: TAS,
    store: SceneStore,
    *,
    engine: str = "local",
    shard: tuple[int, int] | None = None,
    address: str | None = None,
    limit_images: int | None = None,
    progress: bool = True,
) -> Outcome:
    """Put the scene of every picture of a data set into a store, but those that are there.

    Every byte of the store is checked first. A picture that cannot be read is told of on stderr and
    in a file beside the shards, see `failures`; the run goes on. A run that was ended, by whatever,
    is gone on from by the same call.

    Args:
        dataset: one split, see `tasutils.datasets`.
        tas: the preset at work, from `tasutils.load`.
        store: where the scenes go.
        engine: local, this process; or ray, a pool of them.
        shard: (i, n): only every n-th picture from the i-th on, i from 0.
        address: of a Ray cluster; None starts one on this machine.
        limit_images: only the first so many pictures, before they are sharded.
        progress: whether a bar on stderr counts pictures.

    Raises:
        TasError: an unknown engine, a shard that does not exist, weights that are missing, or a
            store that cannot be written.
    """
    from tasutils.engines.failures import record_failures

    check_engine(engine, address)
    items = items_of(dataset)[:limit_images]
    if shard is not None:
        items = shard_of(items, *shard)
    store.verify()
    if engine == "ray":
        from tasutils.engines.ray import describe_items as describe_by_ray

        outcome = describe_by_ray(items, tas, store, address=address, progress=progress)
    else:
        from tasutils.engines.local import describe_items

        outcome = describe_items(items, tas, store, progress=progress)
    tried = {item.image_id for item in items}
    record_failures(store.folder, dataset, shard, tried, outcome.failed)
    return outcome


def check_engine(engine: str, address: str | None) -> None:
    """Raise TasError for an engine that does not exist, or that takes no address."""
    if engine not in ENGINES:
        raise TasError(f"no engine {engine!r}; there are {' and '.join(ENGINES)}")
    if address is not None and engine != "ray":
        raise TasError(f"engine {engine} takes no address; leave it out, or choose engine ray")
