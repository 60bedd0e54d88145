"""Sections about stored things: scenes, sweeps over stored scores, Ray, and ten times as many."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

import tasutils
from bench import released_loop
from bench.measure import DATASET, Plan, Row, compare, in_child, near, noise_and_blobs
from tasutils import rectifier
from tasutils.datasets import load_dataset
from tasutils.engines import describe_dataset
from tasutils.evaluate import evaluate
from tasutils.runs import cores, keep_run, read_run, run_folder
from tasutils.scene import Proposals, Scene
from tasutils.store import SceneStore
from tasutils.sweep import own_names
from tasutils.sweep import sweep as sweep_over

MASKS, DIM, PHRASES, KINDS = 40, 512, 6, 16
_ARRAYS = ("boxes_xyxy", "centers_xy", "areas_px", "predicted_iou", "stability")
_EMBEDDINGS = ("crop_embeddings", "caption_embeddings", "phrase_embeddings")
SENTENCES = 10_834  # RefCOCO val
ALPHAS, LAMBDAS = (tuple(np.linspace(0, 2, n).round(3).tolist()) for n in (10, 25))
RULES, FORMS = ("own", "three_pairs"), ("own", "none")  # with the weights 1,000 settings


def store(plan: Plan) -> Iterator[Row]:
    """Scenes of 40 masks and 512 dimensions written and read, against a numpy archive each."""
    count = plan.images or 1_000
    scenes = list(random_scenes(min(count, 100)))
    numbers = iter(range(10**6))
    with TemporaryDirectory() as name:
        folder = Path(name)

        def ours() -> Path:
            place = folder / f"ours{next(numbers)}"
            put(SceneStore(place), scenes)
            return place

        def plain() -> Path:
            place = folder / f"plain{next(numbers)}"
            write_files(place, scenes)
            return place

        def same(a: Path, b: Path) -> None:
            same_scenes([scene for _, scene in SceneStore(a).scenes()], list(read_files(b)))

        row = Row("store", f"write {len(scenes)} scenes", per="scene", checked="every field")
        yield compare(plan, row, ours, plain, same, len(scenes))
        a, b = ours(), plain()
        row = Row("store", f"read {len(scenes)} scenes", per="scene", checked="every field")
        compare(
            plan,
            row,
            lambda: [scene for _, scene in SceneStore(a).scenes()],
            lambda: list(read_files(b)),
            same_scenes,
            len(scenes),
        )
        row.measures = {"scenes_per_s": 1 / float(np.median(row.ours_s))}
        row.target = ("scenes_per_s", "at_least", 500.0)
        yield row
    with TemporaryDirectory() as name:
        found, sizes = {}, {}
        for size in (count, 10 * count):
            fill(SceneStore(name), size)
            found[size] = in_child(read_store, plan.threads, folder=name)
            sizes[size] = sum(p.stat().st_size for p in Path(name).rglob("*") if p.is_file())
    (few, small), (many, large) = found.items()
    measures = {f"peak_MiB_{n}": one["peak_mib"] for n, one in found.items()}
    measures |= {f"scenes_per_s_{n}": n / one["seconds"] for n, one in found.items()}
    yield Row(
        "store",
        f"bytes a scene, {MASKS} masks, {DIM} dimensions",
        measures={"bytes_a_scene": sizes[many] / many},
        target=("bytes_a_scene", "at_most", 250_000),
    )
    yield Row(
        "store",
        f"read {few:,} and {many:,} scenes",
        measures=measures | {"peak_growth": large["peak_mib"] / small["peak_mib"]},
        target=("peak_growth", "at_most", 1.1),
    )


def read_store(folder: str) -> dict[str, Any]:
    """Read all scenes of a store, one after another, keeping none; a child's task."""
    start = perf_counter()
    masks = sum(len(scene.proposals) for _, scene in SceneStore(folder).scenes())
    return {"seconds": perf_counter() - start, "masks": masks}


def fill(target: SceneStore, size: int) -> None:
    """Put random scenes into a store until it has `size`."""
    there = target.keys()
    put(target, (scene for scene in random_scenes(size) if scene.image_id not in there))


def put(target: SceneStore, scenes: Iterable[Scene]) -> None:
    """Store scenes by their names."""
    with target:
        for scene in scenes:
            target.put(scene.image_id, scene)


def random_scenes(size: int) -> Iterator[Scene]:
    """Scenes 0 to size - 1 of 640 x 480 px, masks of sixteen kinds, each with its own words."""
    nouns = ["dog", "bus", "kite", "chair", "woman", "umbrella", "red car", "pizza", "laptop"]
    places = ["on a table", "in the grass", "beside a man", "near a wall", "on the street"]
    for index in range(size):
        rng = np.random.default_rng(index)
        pairs = rng.integers((9, 5), size=(MASKS + PHRASES, 2))
        said = [f"a {nouns[i]} {places[j]}" for i, j in pairs]
        crops, captions, phrases = (
            (rng.standard_normal((n, DIM)) * DIM**-0.5).astype(np.float16).astype(np.float32)
            for n in (MASKS, MASKS, PHRASES)
        )
        yield Scene(
            image_id=f"scene{index:06d}",
            size_hw=(480, 640),
            proposals=_proposals(index % KINDS),
            views={"crop": crops},
            captions=said[:MASKS],
            captions_raw=said[:MASKS],
            caption_embeddings=captions,
            image_caption=said[0],
            image_caption_raw=said[0],
            phrases=said[MASKS:],
            phrase_embeddings=phrases,
            times_s={"proposals": 0.1},
            describe_digest="0" * 64,
        )


@cache
def _proposals(seed: int) -> Proposals:
    return Proposals.from_masks(noise_and_blobs(MASKS, seed=seed)[1])


def write_files(folder: Path, scenes: list[Scene]) -> None:
    """A compressed numpy archive and a JSON file for each scene."""
    folder.mkdir(parents=True)
    for scene in scenes:
        arrays = {name: getattr(scene.proposals, name) for name in _ARRAYS}
        arrays |= {name: getattr(scene, name).astype(np.float16) for name in _EMBEDDINGS}
        np.savez_compressed(folder / f"{scene.image_id}.npz", **arrays)
        rest = {k: v for k, v in vars(scene).items() if k not in (*_EMBEDDINGS, "views")}
        rest["proposals"] = scene.proposals.rles
        (folder / f"{scene.image_id}.json").write_text(json.dumps(rest), encoding="utf-8")


def read_files(folder: Path) -> Iterator[Scene]:
    """The scenes of `write_files`, in the order of their names."""
    for path in sorted(folder.glob("*.json")):
        rest = json.loads(path.read_text(encoding="utf-8"))
        with np.load(path.with_suffix(".npz")) as arrays:
            rest |= {name: arrays[name].astype(np.float32) for name in _EMBEDDINGS}
            numbers = {name: arrays[name] for name in _ARRAYS}
        rest["size_hw"] = tuple(rest["size_hw"])
        proposals = Proposals(rles=rest["proposals"], size_hw=rest["size_hw"], **numbers)
        rest |= {"proposals": proposals, "views": {"crop": rest.pop("crop_embeddings")}}
        yield Scene(**rest)


def same_scenes(ours: list[Scene], plain: list[Scene]) -> None:
    """Every field of every scene, whatever the order."""
    for a, b in zip(sorted(ours, key=lambda scene: scene.image_id), plain, strict=True):
        for name in ("image_id", "image_caption", "captions", "phrases", "describe_digest"):
            assert getattr(a, name) == getattr(b, name), name
        assert a.proposals.rles == b.proposals.rles, "masks"
        for name in _EMBEDDINGS:
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        for name in _ARRAYS:
            np.testing.assert_array_equal(getattr(a.proposals, name), getattr(b.proposals, name))


def sweep(plan: Plan, sentences: int = SENTENCES) -> Iterator[Row]:
    """A thousand settings over stored scores, against one setting after another."""
    with TemporaryDirectory() as name:
        run = tiled_run(plan, Path(name), sentences)
        ours = [in_child(sweep_run, plan.threads, folder=str(run)) for _ in range(plan.repeats)]
        plain = in_child(loop_run, plan.threads, folder=str(run))
    for setting, miou in plain["mious"].items():
        near(ours[0]["mious"][setting], miou, 1e-9)
    n_settings, took = len(ours[0]["mious"]), [found["seconds"] for found in ours]
    whole = plain["seconds"] / len(plain["mious"]) * n_settings
    checked = f"mIoU of the loop's {len(plain['mious'])} settings"
    what = f"{n_settings:,} settings, {sentences:,} sentences, {plain['masks']:,} masks"
    yield Row(
        "sweep",
        what,
        per="sweep",
        ours_s=took,
        plain_s=[whole] * len(took),
        ratio=[whole / one for one in took],
        measures={"peak_MiB": max(found["peak_mib"] for found in ours)},
        target=("ours_s", "at_most", 10.0),
        checked=checked,
        note="sweep: the loop's seconds are scaled to all settings; ours reads its tables first",
    )


def tiled_run(plan: Plan, folder: Path, sentences: int) -> Path:
    """A run of a few pictures whose tables are repeated until they hold so many sentences."""
    data = load_dataset(DATASET, "val")
    run = read_run(
        evaluate(data, plan.tas, limit_images=plan.images or 4, out=folder, progress=False)
    )
    samples, scores = run.samples, run.scores
    copies = -(-sentences // len(samples))

    def tiled(table: pd.DataFrame) -> pd.DataFrame:
        parts = []
        for copy in range(copies):
            ids = {
                n: table[n].astype(str) + f"-{copy}"
                for n in ("sample_id", "image_id")
                if n in table
            }
            parts.append(table.assign(**ids))
        return pd.concat(parts, ignore_index=True)

    samples, scores = tiled(samples)[:sentences], tiled(scores)
    scores = scores[scores["sample_id"].isin(samples["sample_id"])]
    record = run.record.model_copy(update={"n_used": sentences, "n_total": sentences})
    with run_folder(folder) as unfinished:
        return keep_run(unfinished, record, samples, scores)


def sweep_run(folder: str) -> dict[str, Any]:
    """Our way, from the run's folder: seconds, and mIoU by setting."""
    start = perf_counter()
    run = read_run(folder)
    grid = sweep_over([run], {"p": ALPHAS, "n": LAMBDAS}, RULES, FORMS)
    seconds = perf_counter() - start
    own = dict.fromkeys(own_names(run), "own")
    names = grid[["synonyms", "rectifier"]].replace(own)
    weights = grid["weight_p"], grid["weight_n"]
    settings = zip(names["synonyms"], names["rectifier"], *weights, strict=True)
    return {"seconds": seconds, "mious": dict(zip(settings, grid["miou"], strict=True))}


def loop_run(folder: str) -> dict[str, Any]:
    """The plain way: a setting, a sentence at a time, as `refer` does it."""
    scores = read_run(folder).scores
    names = ("term_v", "term_p", "term_n", "region", "intersection_px", "union_px")
    tables = [table for _, table in scores.groupby("sample_id", sort=False)]
    sentences = [[table[name].to_numpy() for name in names] for table in tables]
    start, mious = perf_counter(), {}
    for form, alpha, lam in product(FORMS, ALPHAS[1:2], LAMBDAS[3:5]):
        ious = []
        for v, p, n, region, intersection, union in sentences:
            total = v + alpha * p + lam * n
            inside = region if form == "own" else np.ones(len(total), bool)
            chosen = rectifier.rectify(total, inside)
            ious.append(intersection[chosen] / union[chosen])
        mious["own", form, alpha, lam] = float(np.mean(ious))
    return {"seconds": perf_counter() - start, "mious": mious, "masks": len(scores)}


def ray(plan: Plan) -> Iterator[Row]:
    """Two single-threaded actors of Ray against one single-threaded process, start-up apart."""
    few = 2 * tasutils.load_preset(plan.preset).compute.image_batch  # of fewer it makes one actor
    count = max(plan.images or 200, 2 * few)
    row = Row("ray", f"{count - few} further images, 2 actors against 1 process")
    if find_spec("ray") is None:
        row.skipped = "Ray is not installed: pip install -e '.[scale]' -c constraints.txt"
    elif cores() < 2 or plan.device != "cpu":
        row.skipped = "it needs two cores and --device cpu"
    else:
        with TemporaryDirectory() as name:
            found = {}
            for engine in ("ray", "local"):
                folder = str(Path(name) / engine)
                given = {"preset": plan.preset, "engine": engine, "folder": folder}
                found[engine] = in_child(by_engine, 1, few=few, count=count, **given)
            same_stores(*(SceneStore(Path(name) / engine) for engine in found))
        row.ours_s, row.plain_s = ([found[k]["seconds"]] for k in ("ray", "local"))
        row.ratio = [row.plain_s[0] / row.ours_s[0]]
        row.measures = {"first_s": found["ray"]["first_s"]}
        row.target, row.checked = ("ratio", "at_least", 1.5), "rows of both stores"
        row.note = f"ray: one timing each; first_s is the start with its first {few} images"
    yield row


def by_engine(preset: str, engine: str, folder: str, few: int, count: int) -> dict[str, Any]:
    """Describe few images into a store, and all into another: seconds an image of the rest."""
    tas, dataset, times = tasutils.load(preset, device="cpu"), load_dataset(DATASET, "val"), []
    for place, images in ((f"{folder}-first", few), (folder, count)):
        start = perf_counter()
        store = SceneStore(place)
        describe_dataset(dataset, tas, store, engine=engine, limit_images=images, progress=False)
        times.append(perf_counter() - start)
    return {"seconds": (times[1] - times[0]) / (count - few), "first_s": times[0]}


def same_stores(ours: SceneStore, plain: SceneStore) -> None:
    """Every scene of two stores; the stage times are none of the scene."""
    a, b = (dict(one.scenes()) for one in (ours, plain))
    assert a.keys() == b.keys()
    same_scenes([a[key] for key in sorted(a)], sorted(b.values(), key=lambda one: one.image_id))


def scale(plan: Plan) -> Iterator[Row]:
    """Describing into a store and answering all sentences, of some images and ten times more."""
    few = plan.images or 4
    given = {"preset": plan.preset, "device": plan.device}
    plain = in_child(loop, plan.threads, images=few, **given)
    for count in (few, 10 * few):
        ours = in_child(pipeline, plan.threads, images=count, **given)
        row = Row("scale", f"{count} images, all their sentences", ours_s=[ours["seconds"] / count])
        row.measures = {"peak_MiB": ours["peak_mib"], "start_s": ours["start_s"]}
        row.note = "scale: one timing each; loading the networks is apart (start_s)"
        if count == few:
            assert ours["chosen"] == plain["chosen"], "the loop chooses other masks"
            row.checked = f"chosen masks of {len(plain['chosen'])} sentences"
            row.plain_s = [plain["seconds"] / few]
            row.ratio = [row.plain_s[0] / row.ours_s[0]]
            row.measures["loop_peak_MiB"] = plain["peak_mib"]
        yield row


def pipeline(preset: str, device: str, images: int) -> dict[str, Any]:
    """Our way, a child's task: describe into a store, read the scenes back, answer."""
    tas, start_s = started(preset, device)
    dataset = load_dataset(DATASET, "val")
    start, samples, chosen = perf_counter(), dataset.by_image(), {}
    with TemporaryDirectory() as folder:
        target = SceneStore(folder)
        describe_dataset(dataset, tas, target, limit_images=images, progress=False)
        for _, scene in target.scenes():
            for sample in samples[scene.image_id]:
                chosen[sample.sample_id] = tas.refer(scene, sample.text, dataset=DATASET).best
    return {"seconds": perf_counter() - start, "start_s": start_s, "chosen": chosen}


def loop(preset: str, device: str, images: int) -> dict[str, Any]:
    """The released shape, a child's task."""
    tas, start_s = started(preset, device)
    dataset, chosen = load_dataset(DATASET, "val"), {}
    start = perf_counter()
    for image_id, samples in list(dataset.by_image().items())[:images]:
        references: dict[str, list[Any]] = {}
        for sample in samples:
            references.setdefault(sample.ref_id, []).append(sample)
        image = tasutils.read_image(dataset.image_path(image_id))
        texts = [[sample.text for sample in group] for group in references.values()]
        found = released_loop.answer(image, texts, tas, cached=False)
        ids = [sample.sample_id for group in references.values() for sample in group]
        chosen |= dict(zip(ids, found.chosen, strict=True))
    return {"seconds": perf_counter() - start, "start_s": start_s, "chosen": chosen}


def started(preset: str, device: str) -> tuple[Any, float]:
    """The preset at work, every part loaded and used once, and the seconds that took."""
    start = perf_counter()
    tas = tasutils.load(preset, device=device)
    scene = tas.describe(noise_and_blobs(1)[0])
    tas.refer(scene, "the dog on the left", dataset=DATASET)
    return tas, perf_counter() - start
