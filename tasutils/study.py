"""A study's tables: what each term and the rectifier contribute, and for whom.

All of it is arithmetic on the scores that runs have stored: no picture is opened and no network
runs. With the weights of the run, all terms with the rectifier give exactly the answers of
samples.parquet. One row for each number (a fraction), with its 95 % interval over images and n.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from tasutils.metrics import Interval, bootstrap, paired_difference
from tasutils.runs import Pixels, Run
from tasutils.score_table import OWN

PixelsLike = tuple[ArrayLike, ArrayLike]

RANDOM = "random mask"  # one proposal drawn at random, by a fixed seed


#: a column of samples, what is said where it is at least a number, and where it is less
QUESTIONS = {
    "direction": ("has_direction", 1, "with a direction word", "without a direction word"),
    "category": ("seen", 1, "category seen in training", "category never seen"),
    "ImageNet": ("in_imagenet", 1, "among ImageNet's classes", "not among them"),
    "distractor": (
        "distractor", 1, "another of its category in sight", "the only one of its category",
    ),
    "hidden": ("hidden_fraction", 0.1, "10-60 % hidden", "less than 10 % hidden"),
}  # fmt: skip


def variants(weights: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """The weights of each variant: all choices of terms beside V while there are at most three.

    With more, V alone, each term left out, and all of them.

    >>> list(variants({"v": 1, "p": 0.1, "n": 0.5}))
    ['V', 'V+P', 'V+N', 'V+P+N']
    """
    first, *rest = weights
    sizes = range(len(rest) + 1) if len(rest) < 3 else (0, len(rest) - 1, len(rest))
    kept = [(first, *names) for size in sizes for names in combinations(rest, size)]
    return {"+".join(names).upper(): {n: weights[n] for n in names} for names in kept}


def variant_pixels(run: Run, variant: str = "", rectifier: bool = True) -> Pixels:
    """Intersection and union of each answer, int64 (n,) px.

    variant: `RANDOM`, or the terms that count, such as "V+P"; none: all.
    """
    if variant == RANDOM:
        return run.table.pixels(run.table.draw(rectifier))
    kept, weights = variant.split("+"), run.record.weights
    some = {name: w for name, w in weights.items() if not variant or name.upper() in kept}
    return run.table.pixels(run.table.choose(some, OWN if rectifier else "none"))


def study_tables(runs: Sequence[Run], n_boot: int = 1000) -> dict[str, pd.DataFrame]:
    """`ablation`, `contributions` and `breakdown` by their names."""
    return {table.__name__: table(runs, n_boot) for table in (ablation, contributions, breakdown)}


def ablation(runs: Sequence[Run], n_boot: int = 1000) -> pd.DataFrame:
    """A random mask and each variant, without and with the rectifier, and the oracle.

    Columns family, split, variant, rectifier; mean, low, high (mIoU); n; oiou, oiou_low, oiou_high;
    p50 (precision at 0.5); n_images, partial.
    """
    rows = []
    for run in runs:
        tried = {
            (name, rectifier): variant_pixels(run, name, rectifier)
            for name in (RANDOM, *variants(run.record.weights))
            for rectifier in (False, True)
        }
        for (name, rectifier), pixels in (
            tried | {("oracle", False): run.pixels("oracle_")}
        ).items():
            found = bootstrap(
                *pixels, run.images, ("miou", "oiou", "p@0.5"), no_target=run.no_target,
                n_resamples=n_boot,
            )  # fmt: skip
            oiou = found["oiou"]
            rows.append({
                "family": run.family, "split": run.split, "variant": name, "rectifier": rectifier,
                **_numbers(found["miou"]), "oiou": oiou.value, "oiou_low": oiou.low,
                "oiou_high": oiou.high, "p50": found["p@0.5"].value, "n_images": oiou.n_images,
                "partial": run.record.partial,
            })  # fmt: skip
    return pd.DataFrame(rows)


def _numbers(found: Interval) -> dict[str, float | int]:
    return {"mean": found.value, "low": found.low, "high": found.high, "n": found.n}


def gain(
    after: PixelsLike, before: PixelsLike, images: ArrayLike, n_boot: int = 1000,
    no_target: ArrayLike = False,
) -> dict[str, float | int]:  # fmt: skip
    """Mean, low, high of mIoU after minus before, paired over images, and n.

    after, before: intersection and union of the same sentences, int (n,) px; images: of each (n,).
    """
    found = paired_difference(
        after, before, images, ("miou",), no_target=no_target, n_resamples=n_boot
    )
    return _numbers(found["miou"])


def contributions(runs: Sequence[Run], n_boot: int = 1000) -> pd.DataFrame:
    """What each piece adds to mIoU: the same sentences with and without it, so paired intervals.

    Each term is added to V without the rectifier; the rectifier to all of them. Columns family,
    split, piece, mean, low, high (differences of mIoU), n.
    """
    rows = []
    for run in runs:
        first, *rest = map(str.upper, run.record.weights)
        everyone = np.ones(len(run.samples), bool)
        plain, full, whole = (
            variant_pixels(run, *asked) for asked in ((first, False), ("", False), ("", True))
        )
        steps = [
            (name, variant_pixels(run, f"{first}+{name}", False), plain, everyone) for name in rest
        ]
        steps.append(("rectifier", whole, full, everyone))
        if "has_direction" in run.samples:
            has = run.samples["has_direction"].to_numpy(bool)
            steps += [("rectifier, direction word", whole, full, has),
                      ("rectifier, no direction word", whole, full, ~has)]  # fmt: skip
        chance = variant_pixels(run, RANDOM, rectifier=False)
        steps += [("whole method, against V alone", whole, plain, everyone),
                  ("whole method, against a random mask", whole, chance, everyone)]  # fmt: skip
        for piece, after, before, who in steps:
            if who.any():
                one, other = ((inter[who], union[who]) for inter, union in (after, before))
                found = gain(one, other, run.images[who], n_boot, run.no_target[who])
                rows.append({"family": run.family, "split": run.split, "piece": piece, **found})
    return pd.DataFrame(rows)


def breakdown(runs: Sequence[Run], n_boot: int = 1000) -> pd.DataFrame:
    """The whole method on the groups of `QUESTIONS` that have sentences, all runs together.

    Columns question, group, mean, low, high (mIoU), n.
    """
    pixels = [variant_pixels(run) for run in runs]
    inter, union = (np.concatenate(arrays) for arrays in zip(*pixels, strict=True))
    image, empty = (np.concatenate([getattr(r, x) for r in runs]) for x in ("images", "no_target"))
    samples, rows = pd.concat([run.samples for run in runs], ignore_index=True), []
    for question, (column, least, *groups) in QUESTIONS.items():
        if column not in samples:
            continue
        value = samples[column].astype(float).to_numpy()  # NaN of a run that cannot tell
        for group, who in zip(groups, (value >= least, value < least), strict=True):
            if who.any():
                found = bootstrap(
                    inter[who], union[who], image[who], ("miou",), no_target=empty[who],
                    n_resamples=n_boot,
                )  # fmt: skip
                rows.append({"question": question, "group": group} | _numbers(found["miou"]))
    return pd.DataFrame(rows, columns=["question", "group", "mean", "low", "high", "n"])
