"""The study's tables: what V, P, N and the rectifier each contribute, and for whom.

All of it is arithmetic on the scores that runs have stored (see `variants`): no picture is opened
and no network runs. One row for each number (a fraction), with its 95 % interval over images and n.
A part of a study is one run, that is one family and split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils.runs import Run
from tasutils.score_table import OWN, Rules, ScoreTable
from tasutils.stats import Interval, bootstrap, paired_difference
from tasutils.variants import VARIANTS

if TYPE_CHECKING:
    import pandas as pd

Pixels = tuple[NDArray[np.int64], NDArray[np.int64]]
Group = Callable[["pd.DataFrame"], NDArray[np.bool_]]

RANDOM = "random mask"  # one proposal drawn at random, by a fixed seed

QUESTIONS: dict[str, dict[str, Group]] = {
    "direction": {
        "with a direction word": lambda s: s["has_direction"].to_numpy(bool),
        "without a direction word": lambda s: ~s["has_direction"].to_numpy(bool),
    },
    "category": {
        "category seen in training": lambda s: s["seen"].to_numpy(bool),
        "category never seen": lambda s: ~s["seen"].to_numpy(bool),
    },
    "ImageNet": {
        "among ImageNet's classes": lambda s: s["in_imagenet"].to_numpy(bool),
        "not among them": lambda s: ~s["in_imagenet"].to_numpy(bool),
    },
    "distractor": {
        "another of its category in sight": lambda s: s["distractor"].to_numpy(bool),
        "the only one of its category": lambda s: ~s["distractor"].to_numpy(bool),
    },
    "hidden": {
        "10-60 % hidden": lambda s: s["hidden_fraction"].to_numpy() >= 0.1,
        "less than 10 % hidden": lambda s: s["hidden_fraction"].to_numpy() < 0.1,
    },
}


@dataclass(frozen=True)
class Part:
    """One run of a study with its tables, which are read when first asked for."""

    run: Run

    @property
    def family(self) -> str:
        """The data set's name."""
        return self.run.record.dataset

    @property
    def split(self) -> str:
        """The split's name."""
        return self.run.record.split

    @cached_property
    def samples(self) -> pd.DataFrame:
        """One row a sentence, see `runs`."""
        return self.run.samples()

    @cached_property
    def scores(self) -> ScoreTable:
        """The scores of all proposals, grouped by sentence."""
        return ScoreTable(self.run.scores(), self.samples, Rules.of(self.run))

    @cached_property
    def images(self) -> NDArray[np.str_]:
        """The image of each sentence, str (n,)."""
        return self.samples["image_id"].to_numpy(str)

    def pixels(self, variant: str = "V+P+N", rectifier: bool = True) -> Pixels:
        """Intersection and union of each answer by the run's own weights, int64 (n,) px."""
        if variant == RANDOM:
            return self.scores.pixels(self.scores.draw(rectifier))
        (with_p, with_n), form = VARIANTS[variant], OWN if rectifier else "none"
        record = self.run.record
        chosen = self.scores.choose(record.alpha * with_p, record.lam * with_n, form)
        return self.scores.pixels(chosen)

    def oracle(self) -> Pixels:
        """Intersection and union of the best proposal of each sentence, int64 (n,) px."""
        names = ("oracle_intersection_px", "oracle_union_px")
        inter, union = (self.samples[name].to_numpy(np.int64) for name in names)
        return inter, union


def study_tables(parts: Sequence[Part], n_boot: int = 1000) -> dict[str, pd.DataFrame]:
    """`ablation`, `contributions` and `breakdown` by their names."""
    tables = (ablation, contributions, breakdown)
    return {table.__name__: table(parts, n_boot) for table in tables}


def ablation(parts: Sequence[Part], n_boot: int = 1000) -> pd.DataFrame:
    """A random mask, V, V+P, V+N, V+P+N, each without and with the rectifier, and the oracle.

    Returns:
        Columns family, split, variant, rectifier; mean, low, high (mIoU); oiou, oiou_low,
        oiou_high; p50 (precision at 0.5); n, n_images, partial.
    """
    import pandas as pd

    rows = []
    for part in parts:
        for variant in (RANDOM, *VARIANTS):
            for rectifier in (False, True):
                pair = part.pixels(variant, rectifier)
                rows.append(_ablation_row(part, variant, rectifier, pair, n_boot))
        rows.append(_ablation_row(part, "oracle", False, part.oracle(), n_boot))
    return pd.DataFrame(rows)


def _ablation_row(
    part: Part, variant: str, rectifier: bool, pair: Pixels, n_boot: int
) -> dict[str, object]:
    found = bootstrap(*pair, part.images, ("miou", "oiou", "p@0.5"), n_resamples=n_boot)
    oiou = found["oiou"]
    return {
        "family": part.family, "split": part.split, "variant": variant, "rectifier": rectifier,
        **_numbers(found["miou"]), "oiou": oiou.value, "oiou_low": oiou.low,
        "oiou_high": oiou.high, "p50": found["p@0.5"].value,
        "n_images": oiou.n_images, "partial": part.run.record.partial,
    }  # fmt: skip


def _numbers(found: Interval) -> dict[str, float | int]:
    return {"mean": found.value, "low": found.low, "high": found.high, "n": found.n}


def contributions(parts: Sequence[Part], n_boot: int = 1000) -> pd.DataFrame:
    """What each piece adds to mIoU: the same sentences with and without it, so paired intervals.

    P and N are added to V without the rectifier; the rectifier to all three.

    Returns:
        Columns family, split, piece, mean, low, high (differences of mIoU), n. A piece is P, N,
        rectifier, the rectifier on sentences with or without a direction word, or the whole method
        against V alone and against a random mask.
    """
    import pandas as pd

    rows = []
    for part in parts:
        plain, with_p, with_n, full = (part.pixels(name, False) for name in VARIANTS)
        rectified, everyone = part.pixels(), np.ones(len(part.samples), bool)
        steps = [("P", with_p, plain, everyone), ("N", with_n, plain, everyone)]
        steps.append(("rectifier", rectified, full, everyone))
        if "has_direction" in part.samples:
            has = part.samples["has_direction"].to_numpy(bool)
            steps.append(("rectifier, direction word", rectified, full, has))
            steps.append(("rectifier, no direction word", rectified, full, ~has))
        steps.append(("whole method, against V alone", rectified, plain, everyone))
        chance = part.pixels(RANDOM, False)
        steps.append(("whole method, against a random mask", rectified, chance, everyone))
        for piece, after, before, who in steps:
            if not who.any():
                continue
            names = {"family": part.family, "split": part.split, "piece": piece}
            rows.append(names | gain(part, after, before, who, n_boot))
    return pd.DataFrame(rows)


def gain(
    part: Part,
    after: Pixels,
    before: Pixels,
    who: NDArray[np.bool_] | None = None,
    n_boot: int = 1000,
) -> dict[str, float | int]:
    """`mean`, `low`, `high` of mIoU after minus before, paired over images; and `n`.

    after, before: int (n,) px, of all sentences of the part; who: bool (n,), those that count.
    """
    who = np.ones(len(part.samples), bool) if who is None else who
    pairs = [(inter[who], union[who]) for inter, union in (after, before)]
    found = paired_difference(pairs[0], pairs[1], part.images[who], ("miou",), n_resamples=n_boot)
    return _numbers(found["miou"])


def breakdown(
    parts: Sequence[Part],
    n_boot: int = 1000,
    asked: Mapping[str, Mapping[str, Group]] = QUESTIONS,
) -> pd.DataFrame:
    """The whole method on groups of sentences, all parts together.

    Args:
        parts: runs of TAS.
        n_boot: bootstrap resamples of images.
        asked: the groups of each question.

    Returns:
        Columns question, group, mean, low, high (mIoU), n. Groups without sentences and questions
        that the data sets do not answer are left out.
    """
    import pandas as pd

    found_pixels = [part.pixels() for part in parts]
    inter, union = (np.concatenate(arrays) for arrays in zip(*found_pixels, strict=True))
    image = np.concatenate([part.images for part in parts])
    rows = []
    for question, groups in asked.items():
        for group, member in groups.items():
            who = np.concatenate([_members(part, member) for part in parts])
            if who.any():
                pair = (inter[who], union[who])
                found = bootstrap(*pair, image[who], ("miou",), n_resamples=n_boot)
                rows.append({"question": question, "group": group} | _numbers(found["miou"]))
    return pd.DataFrame(rows, columns=["question", "group", "mean", "low", "high", "n"])


def _members(part: Part, member: Group) -> NDArray[np.bool_]:
    """Which sentences of a part are in a group: bool (n,), none where the part cannot tell."""
    try:
        return member(part.samples)
    except KeyError:
        return np.zeros(len(part.samples), bool)
