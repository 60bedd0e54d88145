"""A grid of settings over stored scores: alpha, lambda, synonym rule, form of the rectifier.

These act on what a run has stored of each sentence and proposal, so a setting is array work on
that run. What changes the scene (the fill of the crops) or is no setting of TAS (another method)
takes a run of its own, and several runs make one grid. A setting's answers are those of `refer`
with the preset so changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils.config import LanguageConfig, RectifierConfig
from tasutils.errors import TasError
from tasutils.language import SYNONYM_RULES
from tasutils.metrics import iou, metric
from tasutils.rectifier import RECTIFIERS
from tasutils.score_table import OWN, Rules, ScoreTable, require_truth

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.study import Part, Pixels

ALL = "all"
ALPHAS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0)
LAMBDAS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0)


def sweep(
    parts: Sequence[Part],
    alphas: Sequence[float] = ALPHAS,
    lambdas: Sequence[float] = LAMBDAS,
    synonyms: Sequence[str] = (OWN,),
    rectifiers: Sequence[str] = (OWN,),
) -> pd.DataFrame:
    """mIoU and oIoU of every setting.

    Args:
        parts: one run each; of a peer of TAS, its own answers are its one setting.
        alphas: weights of P.
        lambdas: weights of N.
        synonyms: rules of `LanguageConfig.synonym_rule`; `OWN` is the run's, `ALL` all it holds.
        rectifiers: forms of `RectifierConfig.form`, likewise.

    Returns:
        One row a setting, runs in their order, the own rule and form first: dataset, split_by,
        split, run_id, preset, method, fill, synonyms, rectifier ("" for a peer), alpha, lam (NaN
        for a peer), n, partial, oiou, miou.

    Raises:
        TasError: a run named twice or without ground truth, an unknown rule or form, or one that
            the run does not hold.
    """
    import pandas as pd

    ids = [part.run.record.run_id for part in parts]
    if twice := [name for k, name in enumerate(ids) if name in ids[:k]]:
        raise TasError(f"run {twice[0]} is named twice; name each run once")
    rows: list[dict[str, object]] = []
    for part in parts:
        if part.run.record.method != "tas":
            pixels = setting_pixels(part)
            epsilon = Rules.of(part.run).epsilon
            found = (metric(*pixels, name, epsilon=epsilon) for name in ("oiou", "miou"))
            rows.append(_row(part, ("", "", np.nan, np.nan), *found))
            continue
        own = own_names(part)
        rules = _asked(part, "synonym rule", SYNONYM_RULES, synonyms, own[0], part.scores.n)
        forms = _asked(part, "rectifier form", RECTIFIERS, rectifiers, own[1], part.scores.regions)
        sums = _sums(part.scores, alphas, lambdas, list(rules.values()), list(forms.values()))
        names = product(rules, forms, alphas, lambdas)
        for setting, (ious, inter, union) in zip(names, sums, strict=True):
            miou = ious / max(len(part.samples), 1)
            rows.append(_row(part, setting, inter / union if union else 0.0, miou))
    return pd.DataFrame(rows)


def _row(
    part: Part, setting: tuple[str, str, float, float], oiou: float, miou: float
) -> dict[str, object]:
    record = part.run.record
    synonyms, rectifier, alpha, lam = setting
    return {
        "dataset": record.dataset, "split_by": record.split_by, "split": record.split,
        "run_id": record.run_id, "preset": record.preset, "method": record.method,
        "fill": record.config.get("crop", {}).get("fill", ""),
        "synonyms": synonyms, "rectifier": rectifier, "alpha": alpha, "lam": lam,
        "n": len(part.samples), "partial": record.partial, "oiou": oiou, "miou": miou,
    }  # fmt: skip


def setting_pixels(
    part: Part, synonyms: str = "", rectifier: str = "", alpha: float = 0.0, lam: float = 0.0
) -> Pixels:
    """Intersection and union of each answer by one setting of the grid, int64 (n,) px.

    Without rule and form, those of the run itself, whatever its method.
    """
    if not synonyms:
        require_truth(part.samples)
        names = ("intersection_px", "union_px")
        inter, union = (part.samples[name].to_numpy(np.int64) for name in names)
        return inter, union
    rule, form = own_names(part)
    columns = (OWN if rectifier == form else rectifier, OWN if synonyms == rule else synonyms)
    return part.scores.pixels(part.scores.choose(alpha, lam, *columns))


def own_names(part: Part) -> tuple[str, str]:
    """The synonym rule and the rectifier's form of a run; old runs had the defaults."""
    config = part.run.record.config
    rule = LanguageConfig.model_fields["synonym_rule"].default
    form = RectifierConfig.model_fields["form"].default
    return (
        str(config.get("language", {}).get("synonym_rule", rule)),
        str(config.get("rectifier", {}).get("form", form)),
    )


def _asked(
    part: Part,
    what: str,
    known: Iterable[str],
    wanted: Sequence[str],
    own: str,
    held: Iterable[str],
) -> dict[str, str]:
    """The rules or forms asked for: each name with its key in the table, `OWN` or its own name."""
    columns = {own: OWN} | {name: name for name in held if name not in (OWN, own)}
    names = [own if name == OWN else name for name in wanted]
    if ALL in names:
        return columns
    for name in names:
        if name not in known:
            raise TasError(f"no {what} {name!r}; there are {', '.join(known)}, {OWN} and {ALL}")
        if name not in columns:
            raise TasError(
                f"run {part.run.record.run_id} holds no scores by the {what} {name!r}, only by "
                f"{', '.join(columns)}; evaluate again"
            )
    return {name: columns[name] for name in names}


def _sums(
    table: ScoreTable,
    alphas: Sequence[float],
    lambdas: Sequence[float],
    rules: Sequence[str],
    forms: Sequence[str],
) -> NDArray[np.float64]:
    """Sums over sentences of IoU, intersection and union, (settings, 3), forms before weights."""
    values = np.stack([
        iou(table.intersection_px, table.union_px, table.rules.epsilon),
        table.intersection_px,
        table.union_px,
    ], axis=1)  # (rows, 3)  # fmt: skip
    sums = np.zeros((len(rules), len(forms), len(alphas), len(lambdas), 3))
    for block in table.blocks:
        here = values[block.rows.reshape(-1)]  # (s m, 3)
        for r, a, k in np.ndindex(len(rules), len(alphas), len(lambdas)):
            totals = block.totals(alphas[a], lambdas[k], rules[r], table.rules.nan_ties)
            for f, form in enumerate(forms):
                sums[r, f, a, k] += here[block.choose(totals, form)].sum(axis=0)
    nothing = np.bincount(table.segment, minlength=len(table.sample_ids)) == 0
    sums[..., 2] += table.gt_area_px[nothing].sum()
    return sums.reshape(-1, 3)
