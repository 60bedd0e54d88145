"""Section sweep: a thousand settings over stored scores against one setting after another."""

from __future__ import annotations

from hashlib import sha256
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from tasutils import rectifier
from tasutils.bench.child import run_child
from tasutils.bench.equal import near
from tasutils.bench.plan import Plan
from tasutils.bench.rows import Row, Spread, Target

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.config import Preset
    from tasutils.runs import RunRecord

SENTENCES, MASKS = 10_834, 30  # RefCOCO val
ALPHAS = tuple(np.linspace(0, 2, 10).round(3).tolist())
LAMBDAS = tuple(np.linspace(0, 2, 25).round(3).tolist())
FORMS = ("own", "none")
RULES = ("own", "three_pairs")  # 10 x 25 x 2 x 2 = 1,000 settings
PLAIN = tuple(product(RULES[:1], FORMS, ALPHAS[1:2], LAMBDAS[3:5]))  # the few that the loop does
MOST_S, MOST_MIB = 10.0, 1024.0


def rows(plan: Plan, sentences: int = SENTENCES) -> list[Row]:
    """The whole sweep from the files of a run, and its seconds a setting against the loop's."""
    with TemporaryDirectory() as folder:
        write_run(Path(folder), plan.preset, sentences)
        ours, plain = (
            [run_child(f"{__name__}:{name}", plan.environment(), folder=folder) for _ in range(n)]
            for name, n in (("sweep_run", plan.repeats), ("loop_run", 1))
        )
    numbers = dict(zip(map(tuple, ours[0]["settings"]), ours[0]["mious"], strict=True))
    mine = [numbers[setting] for setting in PLAIN]
    checked = near(mine, plain[0]["mious"], 1e-9, f"mIoU of the loop's {len(PLAIN)} settings")
    n_settings, a_setting = len(numbers), plain[0]["seconds"] / len(PLAIN)
    took = [found["seconds"] for found in ours]
    what = f"{n_settings:,} settings, {sentences:,} sentences x {MASKS} masks"
    shared: dict[str, Any] = {"section": "sweep", "per": "sweep", "checked": checked}
    return [
        Row(
            what=what,
            ours_s=Spread.of(took),
            plain_s=Spread.of([a_setting * n_settings]),
            ratio=Spread.of([a_setting * n_settings / seconds for seconds in took]),
            target=Target(number="ours_s", at_most=MOST_S),
            measures={"arithmetic_s": float(np.median([found["sums_s"] for found in ours]))},
            note=f"sweep: the loop did {len(PLAIN)} settings, scaled to {n_settings:,}; "
            "ours reads its tables from the disk, the loop has them",
            **shared,
        ),
        Row(
            what=f"{what}, memory",
            measures={"peak_MiB": max(found["peak_mib"] for found in ours)},
            target=Target(number="peak_MiB", at_most=MOST_MIB),
            **shared,
        ),
    ]


def sweep_run(folder: str) -> dict[str, Any]:
    """Our way, from the run's folder: seconds, seconds without reading, settings, mIoU."""
    from tasutils.runs import read_run
    from tasutils.sweep import sweep

    start = perf_counter()
    part = read_run(folder)
    assert part.table.segment.size
    read = perf_counter()
    grid = sweep([part], {"p": ALPHAS, "n": LAMBDAS}, RULES, FORMS)
    seconds, sums_s = perf_counter() - start, perf_counter() - read
    own = {
        "synonyms": {part.record.config["language"]["synonym_rule"]: "own"},
        "rectifier": {part.record.config["rectifier"]["form"]: "own"},
    }
    named = grid.replace(own)[["synonyms", "rectifier", "weight_p", "weight_n"]]
    return {
        "seconds": seconds,
        "sums_s": sums_s,
        "settings": [list(row) for row in named.itertuples(index=False)],
        "mious": grid["miou"].tolist(),
    }


def loop_run(folder: str) -> dict[str, Any]:
    """The plain way: a setting, a sentence at a time, as `refer` does it; seconds, mIoU."""
    from tasutils.runs import read_run

    run = read_run(folder)
    groups = [table for _, table in run.scores.groupby("sample_id", sort=False)]
    names = ("term_v", "term_p", "term_n", "region", "intersection_px", "union_px")
    sentences = [{name: table[name].to_numpy() for name in names} for table in groups]
    start = perf_counter()
    mious = []
    for _, form, alpha, lam in PLAIN:
        ious = []
        for one in sentences:
            total = one["term_v"] + alpha * one["term_p"] + lam * one["term_n"]
            inside = one["region"] if form == "own" else np.ones(len(total), bool)
            chosen = rectifier.rectify(total, inside)
            ious.append(one["intersection_px"][chosen] / one["union_px"][chosen])
        mious.append(float(np.mean(ious)))
    return {"seconds": perf_counter() - start, "mious": mious}


def write_run(folder: Path, preset: Preset, sentences: int) -> None:
    """A run of random scores: run.json, samples.parquet, scores.parquet."""
    samples, scores = random_tables(sentences)
    samples.to_parquet(folder / "samples.parquet", index=False)
    scores.to_parquet(folder / "scores.parquet", index=False)
    tables = {
        name: sha256((folder / name).read_bytes()).hexdigest()
        for name in ("samples.parquet", "scores.parquet")
    }
    record = random_record(preset, len(samples)).model_copy(update={"tables": tables})
    (folder / "run.json").write_text(record.model_dump_json(), encoding="utf-8")


def random_tables(sentences: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Samples and scores with the columns that a sweep reads, MASKS proposals a sentence."""
    import pandas as pd

    rng = np.random.default_rng(0)
    ids, n = [f"s{index}" for index in range(sentences)], sentences * MASKS
    truth = rng.integers(2_000, 60_000, sentences)
    intersection = (np.repeat(truth, MASKS) * rng.uniform(0, 1, n) ** 2).astype(np.int64)
    negative = rng.normal(-0.2, 0.03, n)
    samples = pd.DataFrame({"sample_id": ids, "image_id": ids, "text": "", "gt_area_px": truth})
    # a run has these, a sweep does not read them
    for name in ("", "oracle_"):
        samples[[f"{name}intersection_px", f"{name}union_px"]] = 0
    samples[["chosen", "n_proposals", "iou"]] = 0, MASKS, 0.0
    scores = pd.DataFrame(
        {
            "sample_id": np.repeat(ids, MASKS),
            "proposal": np.tile(np.arange(MASKS), sentences),
            "term_v": rng.normal(0.2, 0.03, n),
            "term_p": rng.normal(0.6, 0.1, n),
            "term_n": negative,
            "alt_n_three_pairs": negative + rng.normal(0, 0.01, n),
            "region": np.repeat(rng.random(sentences) < 0.5, MASKS) | (rng.random(n) < 0.5),
            "yields": np.zeros(n, bool),
            "intersection_px": intersection,
            "union_px": np.repeat(truth, MASKS) + rng.integers(0, 60_000, n),
        }
    )
    return samples, scores


def random_record(preset: Preset, n: int) -> RunRecord:
    """The record of a run of a preset on no data set."""
    from tasutils.runs import RunRecord

    nothing: dict[str, Any] = {"models": {}, "versions": {}, "seeds": {}, "times_s": {}}
    nothing |= {"peak_memory_mib": {}, "metrics": {}, "metric_version": "", "index_digest": ""}
    nothing |= {"tables": {}, "pictures_digest": ""}
    return RunRecord(
        run_id="bench",
        created="",
        preset=preset.name,
        config=preset.model_dump(mode="json"),
        config_digest=preset.digest(),
        weights=preset.weights(),
        dataset="random",
        split="random",
        n_total=n,
        n_used=n,
        n_images_total=n,
        n_images=n,
        n_without_proposals=0,
        partial=False,
        git_commit=None,
        git_dirty=None,
        device="cpu",
        dtype="float32",
        wall_s=0.0,
        n_described=0,
        **nothing,
    )
