"""Error anatomy: what every wrong answer was lost to, by arithmetic on the scores a run stored.

An answer is wrong where its IoU with the truth is at most 0.5; a mask above that is a good one.
Each wrong answer has exactly one cause, the first of these that holds:

* proposals: no good mask was proposed, so the oracle's IoU is at most 0.5.
* ambiguous: the data set gives the sentence several targets, and the answer is one of them. Either
  its flags `n_targets` or `multi` say so, and more than half of the answer lies in the truth, which
  is all of them; or it has the very sentence for another target of the picture as well, for which
  the answer is right.
* pronoun: the sentence names no thing, by the data set's flag `pronoun`. Without that flag: the
  head that the parser finds is a pronoun or missing. A sentence that cannot be read is one, too.
* rectifier: every good mask lies outside the region of the direction words, or the answer
  would be right without the rectifier.
* V, P, N: what is left. A good mask competed and lost. The answer is set beside its best rival: of
  the good masks that compete (those in the region, or all where it is empty) the one with the
  highest S = V + alpha P + lambda N, the first of equals. What the rival is behind in S is the sum
  of what it is behind in V, in alpha P and in lambda N; the cause is the term in which it is
  furthest behind (of equals the first).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils.answering import unreadable
from tasutils.metrics import iou, segment_argmax
from tasutils.readable import percent
from tasutils.score_table import OWN, ScoreTable
from tasutils.stats import bootstrap
from tasutils.terms import combine

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.study import Part

GOOD = 0.5
CAUSES = {
    "proposals": "no good mask was proposed",
    "ambiguous": "one of several targets of the sentence",
    "pronoun": "the sentence names no thing",
    "rectifier": "the rectifier shut the good masks out",
    "V": "the best good mask lost most in V",
    "P": "the best good mask lost most in alpha P",
    "N": "the best good mask lost most in lambda N",
}
CURABLE = ("rectifier", "P", "N")  # what TAS can do without
_SPAN = ("mean", "low", "high")
RIGHT = "right, but not the best mask"
PRONOUNS = frozenset(
    {"one", "ones", "it", "he", "she", "they", "him", "her", "them", "this", "that", "these"}
    | {"those", "who", "someone", "somebody", "something", "everyone", "other", "others"}
)


def anatomy(parts: Sequence[Part]) -> pd.DataFrame:
    """Sort the answers of runs.

    Returns:
        One row a sentence: part and row (its place in `parts` and in that run's samples), family,
        split, image_id, text; cause, "" where the answer is right; iou, oracle_iou, and lost, their
        difference; v, p, n, what the best rival is behind in V, alpha P and lambda N (NaN where
        there is none); cured, whether leaving out the piece at fault makes the answer right (of
        P, N and the rectifier; else False).

    Raises:
        TasError: a run without ground truth, or one of a peer.
    """
    import pandas as pd

    tables = [_sorted_out(part).assign(part=place) for place, part in enumerate(parts)]
    return pd.concat(tables, ignore_index=True)


def _sorted_out(part: Part) -> pd.DataFrame:
    import pandas as pd

    table, record, samples = part.scores, part.run.record, part.samples
    alpha, lam = record.alpha, record.lam
    chosen, rival = table.choose(alpha, lam), _rivals(table, alpha, lam)
    got, oracle = _ious(table, chosen), iou(*part.oracle(), table.rules.epsilon)
    without = {
        "rectifier": _ious(table, table.choose(alpha, lam, "none")) > GOOD,
        "P": _ious(table, table.choose(0.0, lam)) > GOOD,
        "N": _ious(table, table.choose(alpha, 0.0)) > GOOD,
    }
    weighted = ((1.0, table.v), (alpha, table.p), (lam, table.n[OWN]))
    columns = [w * x if w else np.zeros_like(x) for w, x in weighted]
    terms = np.vstack([np.stack(columns, axis=1), np.full(3, np.nan)])  # row -1 is nobody's
    behind = terms[chosen] - terms[rival]  # (n, 3)
    furthest = np.nan_to_num(behind, nan=np.inf).argmax(axis=1)
    wrong = got <= GOOD
    holds = {
        "proposals": oracle <= GOOD,
        "ambiguous": one_of_several(part, chosen),
        "pronoun": (chosen < 0) | names_nothing(part, wrong),
        "rectifier": (rival < 0) | without["rectifier"],
        **{name: furthest == place for place, name in enumerate("VPN")},
    }
    cause = np.where(wrong, np.select(list(holds.values()), list(holds), ""), "")
    cured = np.select([cause == name for name in without], list(without.values()), False)
    return pd.DataFrame({
        "row": np.arange(len(samples)), "family": part.family, "split": part.split,
        "image_id": part.images, "text": samples["text"].to_numpy(), "cause": cause,
        "iou": got, "oracle_iou": oracle, "lost": oracle - got,
        **dict(zip("vpn", behind.T, strict=True)), "cured": cured,
    })  # fmt: skip


def _ious(table: ScoreTable, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    return iou(*table.pixels(chosen), table.rules.epsilon)


def _rivals(table: ScoreTable, alpha: float, lam: float) -> NDArray[np.int64]:
    """Row of the best good mask that competes for each sentence, int64 (n,); -1 for none."""
    n, inside = len(table.sample_ids), table.regions[OWN][0]
    held = np.bincount(table.segment[inside], minlength=n) > 0
    good = iou(table.intersection_px, table.union_px, table.rules.epsilon) > GOOD
    rows = np.flatnonzero(good & (inside | ~held[table.segment]))
    total = np.nan_to_num(
        combine({"v": table.v, "p": table.p, "n": table.n[OWN]}, {"v": 1, "p": alpha, "n": lam})[
            rows
        ]
    )
    best = segment_argmax(table.segment[rows], total, n)
    best[best >= 0] = rows[best[best >= 0]]
    return best


def one_of_several(part: Part, chosen: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the answer is one of several targets of its sentence, bool (n,); see the module.

    chosen: int64 (n,), rows of the part's scores, -1 for none.
    """
    import pandas as pd

    samples, table = part.samples, part.scores
    inter, union = table.pixels(chosen)
    inside = (chosen >= 0) & (2 * inter > union - table.gt_area_px + inter)
    several = np.zeros(len(samples), bool)
    for flag in {"n_targets", "multi"} & set(samples):
        several |= pd.to_numeric(samples[flag], errors="coerce").to_numpy() > (flag == "n_targets")
    right = pd.Series(_ious(table, chosen) > GOOD)
    same = [samples[name].to_numpy() for name in ("image_id", "text")]
    return (several & inside) | right.groupby(same).transform("any").to_numpy(bool)


def names_nothing(part: Part, asked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which sentences name no thing, bool (n,); see the module.

    asked: bool (n,), the sentences that are parsed where no flag tells; others count as False.
    """
    if "pronoun" in part.samples:
        return part.samples["pronoun"].to_numpy(bool)
    from tasutils.language.parse import Parser

    language = part.run.record.config["language"]
    parser = Parser(language["spacy_model"])
    texts = part.samples["raw" if language.get("field") == "raw" else "text"]
    heads = [
        "" if unreadable(text) else parser.parse(text).head.lower() if ask else "-"
        for text, ask in zip(texts, asked, strict=True)
    ]
    return asked & np.isin(heads, ["", *PRONOUNS])


def waterfall(table: pd.DataFrame, n_boot: int = 1000) -> pd.DataFrame:
    """From the oracle's mIoU to the result's, a step a cause; the steps add up to the difference.

    Args:
        table: of `anatomy`; runs over the same pictures are resampled together.
        n_boot: bootstrap resamples of images.

    Returns:
        Columns step ("oracle", each cause, `RIGHT`, "result"), n (sentences in it), share (of the
        wrong answers; NaN for what is no cause), cured (how many of them; NaN where nothing can be
        left out), and mean, low, high: a fraction of mIoU with its 95 % interval, of a step what it
        takes away (0 or less).
    """
    import pandas as pd

    wrong = table["cause"] != ""
    masks = {"oracle": wrong | True} | {name: table["cause"] == name for name in CAUSES}
    masks |= {RIGHT: ~wrong & (table["lost"] > 0), "result": wrong | True}
    values = {"oracle": table["oracle_iou"], "result": table["iou"]}
    rows = []
    for step, who in masks.items():
        change = values.get(step, -table["lost"]).where(who, 0.0).to_numpy(np.float64)
        ones, n = np.ones(len(table)), int(who.sum())
        found = bootstrap(change, ones, table["image_id"], ("miou",), n_resamples=n_boot)["miou"]
        share, cured = n / max(int(wrong.sum()), 1), table["cured"][who].sum()
        known = step in CAUSES
        rows.append({
            "step": step, "n": n, "share": share if known else np.nan,
            "cured": cured if step in CURABLE else np.nan,
            "mean": found.value, "low": found.low, "high": found.high,
        })  # fmt: skip
    return pd.DataFrame(rows)


def anatomy_words(table: pd.DataFrame, steps: pd.DataFrame, note: str) -> list[str]:
    """Say in words what `anatomy` and `waterfall` hold: every number is read from them."""
    by_step: dict[str, dict[Any, Any]] = {row["step"]: row for row in steps.to_dict("records")}
    causes = [by_step[name] for name in CAUSES]
    wrong, counts = int((table["cause"] != "").sum()), [f"{c['step']} {c['n']}" for c in causes]
    ends = [percent(*(by_step[step][x] for x in _SPAN)) for step in ("oracle", "result")]
    lines = [
        f"What all of this rests on: {note}.",
        f"{wrong} of {len(table)} answers are wrong (IoU at most {GOOD}): {', '.join(counts)}; "
        f"together {sum(c['n'] for c in causes)}.",
        f"The oracle's mIoU is {ends[0]}, the result's {ends[1]}.",
    ]
    if not wrong:
        return lines
    dear = min(causes, key=lambda cause: cause["mean"])
    lines.append(
        f"Dearest: {dear['step']} ({CAUSES[dear['step']]}), "
        f"{percent(*(dear[x] for x in _SPAN))} points, {dear['n']} answers."
    )
    for name in CURABLE:
        n, cured = (int(by_step[name][x]) for x in ("n", "cured"))
        if n:
            lines.append(f"Of {n} answers put down to {name}, {cured} would be right without it.")
    first = table[table["cause"] != ""].groupby(["family", "split"], sort=False)["cause"]
    for (family, split), found in first:
        top = found.value_counts()
        lines.append(f"{family} {split}: most often {top.index[0]}, {top.iloc[0]} of {top.sum()}.")
    return lines
