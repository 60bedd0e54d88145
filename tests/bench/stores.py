"""Sections about stored things: scenes, sweeps over stored scores, and Ray."""

from __future__ import annotations

from collections.abc import Iterator
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
from bench.measure import DATASET, Plan, Row, in_child, near, noise_and_blobs, seconds
from tasutils import rectifier
from tasutils.datasets import load_dataset
from tasutils.engines import describe_dataset
from tasutils.evaluate import evaluate
from tasutils.runs import cores, keep_run, read_run, run_folder
from tasutils.scene import Proposals, Scene
from tasutils.store import SceneStore
from tasutils.sweep import sweep as sweep_over

MASKS, DIM, PHRASES, KINDS = 40, 512, 6, 16
SENTENCES = 10_834  # RefCOCO val
ALPHAS, LAMBDAS = (tuple(np.linspace(0, 2, n).round(3).tolist()) for n in (10, 25))
RULES, FORMS = ("own", "three_pairs"), ("own", "none")  # with the weights 1,000 settings


def store(plan: Plan) -> Iterator[Row]:
    """Scenes of 40 masks, 512 dimensions: written, read, their bytes, and memory of ten times."""
    count, found = plan.images or 1_000, []
    first = list(random_scenes(0, min(count, 100)))
    with TemporaryDirectory() as name:
        write_s = seconds(lambda: put(SceneStore(name), first)) / len(first)
        for start, end in ((len(first), count), (count, 10 * count)):
            put(SceneStore(name), random_scenes(start, end))
            found.append(in_child(read_store, plan.threads, folder=name))
        used = sum(path.stat().st_size for path in Path(name).rglob("*") if path.is_file())
    few, many = found
    yield Row("store", f"write {len(first)} scenes", per="scene", ours_s=[write_s])
    row = Row("store", f"read {count:,} scenes", per="scene", ours_s=[few["seconds"] / count])
    row.measures = {"scenes_per_s": count / few["seconds"]}
    row.target = ("scenes_per_s", "at_least", 500.0)
    yield row
    row = Row("store", f"bytes a scene, {MASKS} masks, {DIM} dimensions")
    row.measures = {"bytes_a_scene": used / (10 * count)}
    row.target = ("bytes_a_scene", "at_most", 250_000)
    yield row
    row = Row("store", f"read {count:,} and {10 * count:,} scenes")
    row.measures = {"peak_MiB": few["peak_mib"], "peak_MiB_of_10_times": many["peak_mib"]}
    row.measures |= {"peak_growth": many["peak_mib"] / few["peak_mib"]}
    row.target = ("peak_growth", "at_most", 1.1)
    yield row


def read_store(folder: str) -> dict[str, Any]:
    """Read all scenes of a store, one after another, keeping none; a child's task."""
    start = perf_counter()
    masks = sum(len(scene.proposals) for _, scene in SceneStore(folder).scenes())
    return {"seconds": perf_counter() - start, "masks": masks}


def put(target: SceneStore, scenes: Any) -> None:
    """Store scenes by their names."""
    with target:
        for scene in scenes:
            target.put(scene.image_id, scene)


def random_scenes(first: int, end: int) -> Iterator[Scene]:
    """Scenes of 640 x 480 px, masks of sixteen kinds, each with its own words."""
    nouns = ["dog", "bus", "kite", "chair", "woman", "umbrella", "red car", "pizza", "laptop"]
    places = ["on a table", "in the grass", "beside a man", "near a wall", "on the street"]
    for index in range(first, end):
        rng = np.random.default_rng(index)
        pairs = rng.integers((9, 5), size=(MASKS + PHRASES, 2))
        said = [f"a {nouns[i]} {places[j]}" for i, j in pairs]
        crops, captions, phrases = (
            (rng.standard_normal((n, DIM)) * DIM**-0.5).astype(np.float16).astype(np.float32)
            for n in (MASKS, MASKS, PHRASES)
        )
        yield Scene(
            image_id=f"scene{index:06d}", size_hw=(480, 640), proposals=_proposals(index % KINDS),
            views={"crop": crops}, captions=said[:MASKS], captions_raw=said[:MASKS],
            caption_embeddings=captions, image_caption=said[0], image_caption_raw=said[0],
            phrases=said[MASKS:], phrase_embeddings=phrases, times_s={"proposals": 0.1},
            describe_digest="0" * 64,
        )  # fmt: skip


@cache
def _proposals(seed: int) -> Proposals:
    return Proposals.from_masks(noise_and_blobs(MASKS, seed=seed)[1])


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
    what = f"{n_settings:,} settings, {sentences:,} sentences, {plain['masks']:,} masks"
    row = Row("sweep", what, "sweep", took, [whole] * len(took), [whole / one for one in took])
    row.measures = {"peak_MiB": max(found["peak_mib"] for found in ours)}
    row.target, row.checked = ("ours_s", "at_most", 10.0), f"mIoU of {len(plain['mious'])} settings"
    row.note = "sweep: the loop's seconds are scaled to all settings; ours reads its tables first"
    yield row


def tiled_run(plan: Plan, folder: Path, sentences: int) -> Path:
    """A run of a few pictures whose tables are repeated until they hold so many sentences."""
    data, images = load_dataset(DATASET, "val"), plan.images or 4
    run = read_run(evaluate(data, plan.tas, limit_images=images, out=folder, progress=False))
    samples, scores = run.samples, run.scores

    def tiled(table: pd.DataFrame) -> pd.DataFrame:
        parts = []
        for copy in range(-(-sentences // len(samples))):
            names = [name for name in ("sample_id", "image_id") if name in table]
            parts.append(table.assign(**{n: table[n].astype(str) + f"-{copy}" for n in names}))
        return pd.concat(parts, ignore_index=True)

    many, scores = tiled(samples)[:sentences], tiled(scores)
    scores = scores[scores["sample_id"].isin(many["sample_id"])]
    record = run.record.model_copy(update={"n_used": sentences, "n_total": sentences})
    with run_folder(folder) as unfinished:
        return keep_run(unfinished, record, many, scores)


def sweep_run(folder: str) -> dict[str, Any]:
    """Our way, from the run's folder: seconds, and mIoU by setting."""
    start = perf_counter()
    run = read_run(folder)
    grid = sweep_over([run], {"p": ALPHAS, "n": LAMBDAS}, RULES, FORMS)
    took = perf_counter() - start
    config = run.record.config
    own = config["language"]["synonym_rule"], config["rectifier"]["form"]
    names = grid[["synonyms", "rectifier"]].replace(dict.fromkeys(own, "own"))
    weights = grid["weight_p"], grid["weight_n"]
    settings = zip(names["synonyms"], names["rectifier"], *weights, strict=True)
    return {"seconds": took, "mious": dict(zip(settings, grid["miou"], strict=True))}


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
            inside = region if form == "own" else np.ones(len(v), bool)
            chosen = rectifier.rectify(v + alpha * p + lam * n, inside)
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
            same_stores(*(dict(SceneStore(Path(name) / engine).scenes()) for engine in found))
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


def same_stores(ours: dict[str, Scene], plain: dict[str, Scene]) -> None:
    """Every scene of two stores; the stage times are none of the scene."""
    assert ours.keys() == plain.keys()
    for key, a in ours.items():
        b = plain[key]
        for name in ("image_id", "image_caption", "captions", "phrases", "describe_digest"):
            assert getattr(a, name) == getattr(b, name), name
        assert a.proposals.rles == b.proposals.rles, "masks"
        for name in ("crop_embeddings", "caption_embeddings", "phrase_embeddings"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
