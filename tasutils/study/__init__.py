"""A study's tables: what each term and the rectifier contribute, and for whom.

All of it is arithmetic on the scores that runs have stored: no picture is opened and no network
runs. With the weights of the run, all terms with the rectifier give exactly the answers of
samples.parquet. One row for each number (a fraction), with its 95 % interval over images and n.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils.config import Preset, load_preset
from tasutils.metrics import Interval, bootstrap, paired_difference
from tasutils.runs import Pixels, Run
from tasutils.score_table import OWN

if TYPE_CHECKING:
    import pandas as pd

Group = Callable[["pd.DataFrame"], NDArray[np.bool_]]

RANDOM = "random mask"  # one proposal drawn at random, by a fixed seed


def _both(flag: str, yes: str, no: str) -> dict[str, Group]:
    return {yes: lambda s: s[flag].to_numpy(bool), no: lambda s: ~s[flag].to_numpy(bool)}


QUESTIONS: dict[str, dict[str, Group]] = {
    "direction": _both("has_direction", "with a direction word", "without a direction word"),
    "category": _both("seen", "category seen in training", "category never seen"),
    "ImageNet": _both("in_imagenet", "among ImageNet's classes", "not among them"),
    "distractor": _both(
        "distractor", "another of its category in sight", "the only one of its category"
    ),
    "hidden": {
        "10-60 % hidden": lambda s: s["hidden_fraction"].to_numpy() >= 0.1,
        "less than 10 % hidden": lambda s: s["hidden_fraction"].to_numpy() < 0.1,
    },
}


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
    """Intersection and union of each answer by a variant, int64 (n,) px; none: all terms."""
    if variant == RANDOM:
        return run.table.pixels(run.table.draw(rectifier))
    weights = variants(run.record.weights)[variant] if variant else run.record.weights
    return run.table.pixels(run.table.choose(weights, OWN if rectifier else "none"))


def study_tables(runs: Sequence[Run], n_boot: int = 1000) -> dict[str, pd.DataFrame]:
    """`ablation`, `contributions` and `breakdown` by their names."""
    tables = (ablation, contributions, breakdown)
    return {table.__name__: table(runs, n_boot) for table in tables}


def ablation(runs: Sequence[Run], n_boot: int = 1000) -> pd.DataFrame:
    """A random mask and each variant, without and with the rectifier, and the oracle.

    Columns family, split, variant, rectifier; mean, low, high (mIoU); n; oiou, oiou_low, oiou_high;
    p50 (precision at 0.5); n_images, partial.
    """
    import pandas as pd

    rows = []
    for run in runs:
        tried = {
            (name, rectifier): variant_pixels(run, name, rectifier)
            for name in (RANDOM, *variants(run.record.weights))
            for rectifier in (False, True)
        }
        tried["oracle", False] = run.pixels("oracle_")
        for (name, rectifier), pixels in tried.items():
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


def contributions(runs: Sequence[Run], n_boot: int = 1000) -> pd.DataFrame:
    """What each piece adds to mIoU: the same sentences with and without it, so paired intervals.

    Each term is added to V without the rectifier; the rectifier to all of them. Columns family,
    split, piece, mean, low, high (differences of mIoU), n. A piece is a term, rectifier, the
    rectifier on sentences with or without a direction word, or the whole method against V alone and
    against a random mask.
    """
    import pandas as pd

    rows = []
    for run in runs:
        (first, *rest), table = run.record.weights, run.table

        def pixels(names: Sequence[str], run: Run = run) -> Pixels:
            chosen = run.table.choose({n: run.record.weights[n] for n in names}, "none")
            return run.table.pixels(chosen)

        plain, full, whole = pixels([first]), pixels([first, *rest]), variant_pixels(run)
        everyone = np.ones(len(run.samples), bool)
        steps = [(name.upper(), pixels([first, name]), plain, everyone) for name in rest]
        steps.append(("rectifier", whole, full, everyone))
        if "has_direction" in run.samples:
            has = run.samples["has_direction"].to_numpy(bool)
            steps += [("rectifier, direction word", whole, full, has),
                      ("rectifier, no direction word", whole, full, ~has)]  # fmt: skip
        chance = table.pixels(table.draw(False))
        steps += [("whole method, against V alone", whole, plain, everyone),
                  ("whole method, against a random mask", whole, chance, everyone)]  # fmt: skip
        for piece, after, before, who in steps:
            if who.any():
                names = {"family": run.family, "split": run.split, "piece": piece}
                rows.append(names | gain(run, after, before, who, n_boot))
    return pd.DataFrame(rows)


def gain(
    run: Run, after: Pixels, before: Pixels, who: NDArray[np.bool_] | None = None,
    n_boot: int = 1000,
) -> dict[str, float | int]:  # fmt: skip
    """`mean`, `low`, `high` of mIoU after minus before, paired over images; and `n`.

    after, before: int (n,) px, of all sentences of the run; who: bool (n,), those that count.
    """
    who = np.ones(len(run.samples), bool) if who is None else who
    pairs = [(inter[who], union[who]) for inter, union in (after, before)]
    found = paired_difference(
        pairs[0], pairs[1], run.images[who], ("miou",), no_target=run.no_target[who],
        n_resamples=n_boot,
    )  # fmt: skip
    return _numbers(found["miou"])


def breakdown(
    runs: Sequence[Run],
    n_boot: int = 1000,
    asked: Mapping[str, Mapping[str, Group]] = QUESTIONS,
) -> pd.DataFrame:
    """The whole method on groups of sentences, all runs together; asked: the groups by question.

    Columns question, group, mean, low, high (mIoU), n. Groups without sentences and questions that
    the data sets do not answer are left out.
    """
    import pandas as pd

    pixels = [variant_pixels(run) for run in runs]
    inter, union = (np.concatenate(arrays) for arrays in zip(*pixels, strict=True))
    image, empty = (np.concatenate([getattr(r, x) for r in runs]) for x in ("images", "no_target"))
    rows = []
    for question, groups in asked.items():
        for group, member in groups.items():
            who = np.concatenate([_members(run, member) for run in runs])
            if who.any():
                found = bootstrap(
                    inter[who], union[who], image[who], ("miou",), no_target=empty[who],
                    n_resamples=n_boot,
                )  # fmt: skip
                rows.append({"question": question, "group": group} | _numbers(found["miou"]))
    return pd.DataFrame(rows, columns=["question", "group", "mean", "low", "high", "n"])


def _members(run: Run, member: Group) -> NDArray[np.bool_]:
    """Which sentences of a run are in a group: bool (n,), none where it cannot tell."""
    try:
        return member(run.samples)
    except KeyError:
        return np.zeros(len(run.samples), bool)


_TOGETHER = {"captioner.crop.geometry": "crop.geometry", "captioner.crop.resize": "crop.resize"}


def switches(preset: Preset) -> dict[str, dict[str, Any]]:
    """What turns a preset made by the article's rules towards the released code's, by switch.

    Changes as `Preset.override` takes them, for each difference of `paper` and `official`. Settings
    that belong together are one switch; one that the preset has as the released code does already
    changes nothing. The released lambda holds for every data set.
    """
    one, other = (load_preset(name).leaves() for name in ("paper", "official"))
    changes: dict[str, dict[str, Any]] = {}
    for field, value in other.items():
        if value != one.get(field) and not field.startswith("terms.n.weight"):
            changes.setdefault(_TOGETHER.get(field, field), {})[field] = value
    known = [f for f in preset.leaves() if f.startswith("terms.n.weight")]
    return changes | {"terms.n.weight": dict.fromkeys(known, other["terms.n.weight.default"])}
