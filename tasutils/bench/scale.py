"""Section scale: what images cost, and the memory it takes, for some and for ten times as many."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

from tasutils.bench.child import run_child
from tasutils.bench.equal import Unequal
from tasutils.bench.plan import DATASET, Plan
from tasutils.bench.released_loop import answer_released, require_plain
from tasutils.bench.rows import Row, Spread

if TYPE_CHECKING:
    from tasutils.tas import TAS

TIMES = 10


def rows(plan: Plan) -> list[Row]:
    """Describing into a store and answering all sentences, each count in a process of its own."""
    require_plain(plan.preset)
    few = plan.count(4)
    shared: dict[str, Any] = {
        "preset": plan.preset.model_dump(mode="json"),
        "device": plan.device,
    }

    def child(name: str, images: int) -> dict[str, Any]:
        environment = plan.environment()
        return run_child(f"{__name__}:{name}", environment, images=images, **shared)

    plain = child("loop", few)
    found = {count: child("pipeline", count) for count in (few, TIMES * few)}
    if found[few]["chosen"] != plain["chosen"]:
        raise Unequal(f"{few} images: the loop chooses other masks")
    result = []
    for count, ours in found.items():
        is_small = count == few
        result.append(
            Row(
                section="scale",
                what=f"{count} images, all their sentences",
                ours_s=Spread.of([ours["seconds"] / count]),
                plain_s=Spread.of([plain["seconds"] / few]) if is_small else None,
                ratio=Spread.of([plain["seconds"] / ours["seconds"]]) if is_small else None,
                measures={"peak_MiB": ours["peak_mib"], "start_s": ours["start_s"]}
                | ({"loop_peak_MiB": plain["peak_mib"]} if is_small else {}),
                checked=f"chosen masks of {len(plain['chosen'])} sentences equal",
                note="scale: one timing each; loading the networks is apart (start_s)",
            )
        )
    return result


def pipeline(preset: dict[str, Any], device: str, images: int) -> dict[str, Any]:
    """Our way, a child's task: describe into a store, read the scenes back, answer."""
    from tasutils.datasets import load_dataset
    from tasutils.engines import describe_dataset
    from tasutils.store import SceneStore

    tas, start_s = started(preset, device)
    dataset = load_dataset(DATASET, "val")
    start = perf_counter()
    with TemporaryDirectory() as folder:
        store = SceneStore(Path(folder))
        describe_dataset(dataset, tas, store, limit_images=images, progress=False)
        samples, chosen = dataset.by_image(), dict[str, int | None]()
        for _, scene in store.scenes():
            for sample in samples[scene.image_id]:
                chosen[sample.sample_id] = tas.refer(scene, sample.text, dataset=DATASET).best
    seconds = perf_counter() - start
    return {"seconds": seconds, "start_s": start_s, "chosen": chosen}


def loop(preset: dict[str, Any], device: str, images: int) -> dict[str, Any]:
    """The released shape, a child's task."""
    import tasutils
    from tasutils.datasets import load_dataset

    tas, start_s = started(preset, device)
    dataset = load_dataset(DATASET, "val")
    chosen: dict[str, int | None] = {}
    start = perf_counter()
    for image_id, samples in list(dataset.by_image().items())[:images]:
        references: dict[str, list[str]] = {}
        names: dict[str, list[str]] = {}
        for sample in samples:
            references.setdefault(sample.ref_id, []).append(sample.text)
            names.setdefault(sample.ref_id, []).append(sample.sample_id)
        image = tasutils.read_image(dataset.image_path(image_id))
        found = answer_released(image, list(references.values()), tas, DATASET)
        flat = [name for group in names.values() for name in group]
        chosen |= dict(zip(flat, found.chosen, strict=True))
    return {"seconds": perf_counter() - start, "start_s": start_s, "chosen": chosen}


def started(preset: dict[str, Any], device: str) -> tuple[TAS, float]:
    """The preset at work, every part loaded and used once, and the seconds that took."""
    import tasutils
    from tasutils.bench.plan import drawn_images
    from tasutils.config import Preset

    start = perf_counter()
    tas = tasutils.load(Preset.model_validate(preset), device=device)
    scene = tas.describe(drawn_images(1)[0])
    tas.refer(scene, "the dog on the left", dataset=DATASET)
    return tas, perf_counter() - start
