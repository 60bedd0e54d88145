"""Section ray: two single-threaded actors of Ray against one single-threaded process."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np

from tasutils.bench.child import run_child
from tasutils.bench.conditions import cores
from tasutils.bench.equal import Unequal
from tasutils.bench.plan import DATASET, Plan
from tasutils.bench.rows import Row, Spread, Target
from tasutils.store import SceneStore

ACTORS, FASTER = 2, 1.5


def rows(plan: Plan) -> list[Row]:
    """Describing into a store, start-up apart; the two stores equal row for row."""
    count = plan.count(200)
    what = f"{count} images, {ACTORS} actors against 1 process"
    if find_spec("ray") is None:
        reason = "Ray is not installed: pip install -e '.[scale]' -c constraints.txt"
        return [Row(section="ray", what=what, skipped=reason)]
    least = plan.preset.compute.image_batch + 1  # of fewer images Ray makes one actor
    if cores() < ACTORS or plan.device != "cpu" or count < least:
        reason = f"it needs {ACTORS} cores, --device cpu, and {least} images or more"
        return [Row(section="ray", what=what, skipped=reason)]
    with TemporaryDirectory() as one, TemporaryDirectory() as two:
        shared: dict[str, Any] = {"preset": plan.preset.model_dump(mode="json"), "images": count}
        environment = plan.environment(threads=1)
        plain = run_child(f"{__name__}:by_process", environment, folder=one, **shared)
        ours = run_child(f"{__name__}:by_actors", environment, folder=two, **shared)
        checked = same_rows(SceneStore(two), SceneStore(one))
    row = Row(
        section="ray",
        what=what,
        ours_s=Spread.of([ours["seconds"] / count]),
        plain_s=Spread.of([plain["seconds"] / count]),
        ratio=Spread.of([plain["seconds"] / ours["seconds"]]),
        measures={"ray_start_s": ours["wall_s"] - ours["seconds"]},
        target=Target(number="ratio", at_least=FASTER),
        checked=checked,
        note="ray: one timing each; the plain side is the local engine on one thread",
    )
    return [row]


def by_process(preset: dict[str, Any], folder: str, images: int) -> dict[str, Any]:
    """The local engine, warmed up; a child's task."""
    from tasutils.bench.scale import started
    from tasutils.datasets import load_dataset
    from tasutils.engines import describe_dataset

    tas, _ = started(preset, "cpu")
    data, start = load_dataset(DATASET, "val"), perf_counter()
    store = SceneStore(Path(folder))
    outcome = describe_dataset(data, tas, store, limit_images=images, progress=False)
    return {"seconds": perf_counter() - start, "done": outcome.n_done}


def by_actors(preset: dict[str, Any], folder: str, images: int) -> dict[str, Any]:
    """The engine of Ray; a child's task. Start-up ends when each actor has ended a batch."""
    import tasutils
    from tasutils.config import Preset
    from tasutils.datasets import load_dataset
    from tasutils.engines import items_of
    from tasutils.engines.ray import describe_by_ray

    tas = tasutils.load(Preset.model_validate(preset), device="cpu")
    items, step = items_of(load_dataset(DATASET, "val"))[:images], tas.preset.compute.image_batch
    batches = [items[first : first + step] for first in range(0, images, step)]
    start, ended = perf_counter(), []
    with SceneStore(Path(folder)) as store:
        for described in describe_by_ray(batches, tas, store, actors=ACTORS):
            ended.append((perf_counter(), len(described)))
            for one in described:
                assert one.scene is not None, one.fault
                store.put(one.key, one.scene, one.source)
    warm = min(ACTORS, len(ended) - 1)
    steady = (ended[-1][0] - ended[warm - 1][0]) / sum(n for _, n in ended[warm:])
    return {"seconds": steady * images, "wall_s": perf_counter() - start, "done": len(items)}


def same_rows(ours: SceneStore, plain: SceneStore) -> str:
    """Every scene of two stores, whatever the order; the stage times are none of the scene."""
    a, b = _whole(ours), _whole(plain)
    if not a:
        raise Unequal("a store is empty")
    if a != b:
        raise Unequal(f"the stores differ ({len(a)} and {len(b)} rows)")
    return f"{len(a)} rows of both stores equal, but for times_s"


def _whole(store: SceneStore) -> dict[str, str]:
    found = {}
    for key, scene in store.scenes():
        with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
            found[key] = repr(replace(scene, times_s={}))
    return found
