"""Why an answer is what it is, in one line of plain English."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tasutils.refer import Answer


def explain(answer: Answer) -> str:
    """Why this mask, in one line of plain English."""
    if answer.chosen is None:
        return "no mask was proposed in this picture, so there is nothing to choose"
    parts = [_explain_scores(answer, answer.chosen)]
    if len(answer.total) == 1:
        parts.append("it is the only mask")
    if not answer.negatives:
        parts.append(f"no negatives, so N is {'NaN' if np.isnan(answer.n).any() else 0}")
    parts.append(_explain_rectifier(answer))
    if answer.truncated:
        parts.append("the sentence is longer than the text encoder reads, its end was cut off")
    return "; ".join(parts)


def _explain_scores(answer: Answer, i: int) -> str:
    terms = (
        f"V {answer.v[i]:.3f} + {answer.alpha:g} x P {answer.p[i]:.3f}"
        f" + {answer.lam:g} x N {answer.n[i]:.3f}"
    )
    if np.isnan(answer.total[i]):
        return f"mask {i} wins: the total {terms} is NaN for every mask, and so the first is taken"
    if answer.preset.scores.normalise == "none":
        return f"mask {i} wins: total {answer.total[i]:.3f} = {terms}"
    return f"mask {i} wins: share {answer.total[i]:.3f} of the softmax of {terms}"


def _explain_rectifier(answer: Answer) -> str:
    expression = answer.expression
    if answer.preset.rectifier.form == "none":
        return "no rectifier"
    if not expression.directions:
        for word in expression.skipped:
            return f"rectifier idle: {word.token!r} does not count here ({word.skipped})"
        return "rectifier idle: no direction word"
    where = " and ".join(dict.fromkeys(d.name for d in expression.directions))
    if expression.parts:
        words = ", ".join(dict.fromkeys(repr(d.token) for d in expression.directions))
        where = f"{' or '.join(expression.parts)} (by {words})"
    if not answer.rectified:
        return f"rectifier: no mask has its centre in the part {where}, so the best of all stays"
    count = f"rectifier: {where}, {answer.in_region.sum()} of {len(answer.total)} masks"
    if answer.unrectified == answer.chosen:
        return f"{count}, the answer stays the same"
    return f"{count}, which changed the answer from mask {answer.unrectified}"
