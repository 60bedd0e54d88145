"""What a sentence's scores would be under the other synonym rules and forms of the rectifier.

A run stores them beside its own n, region and yields, so that a sweep over rules and forms needs
neither parser nor scene (`sweep`). An alternative is what `refer` would find with that one setting
of the preset changed; what it would share with the run is not stored again: a form without words,
`none`, has all masks in its region, and few forms let masks yield.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils.language import SYNONYM_RULES, Parser
from tasutils.rectifier import RECTIFIERS
from tasutils.refer import TasAnswer, judge_phrases, parse_expression, region, score_terms
from tasutils.terms import Texts

if TYPE_CHECKING:
    from tasutils.config import Preset


def alternatives(
    answer: TasAnswer, sentence: str, language: Parser, scale: float
) -> dict[str, NDArray[np.generic]]:
    """The columns of scores.parquet that tell of other rules and forms; see `runs`.

    Args:
        answer: to the sentence, by the run's preset.
        sentence: as it was asked.
        language: the preset's parser.
        scale: of the cosines, see `refer.cosine_scale`.

    Returns:
        `n_<rule>`, float64 (n,), `region_<form>` and `yields_<form>`, bool (n,).
    """
    scene, preset = answer.scene, answer.preset
    kept = [candidate.index for candidate in answer.candidates if candidate.kept]
    columns: dict[str, NDArray[np.generic]] = {}
    for rule in SYNONYM_RULES:
        if rule == preset.language.synonym_rule:
            continue
        other = _with(preset, "language", synonym_rule=rule)
        judged = judge_phrases(scene, answer.expression, language, other)
        now = [candidate.index for candidate in judged if candidate.kept]
        columns[f"n_{rule}"] = answer.terms["n"] if now == kept else _n_of(answer, now, scale)
    for form, entry in RECTIFIERS.items():
        if form in (preset.rectifier.form, "none"):
            continue
        other = _with(preset, "rectifier", form=form)
        inside, yields = region(scene, parse_expression(sentence, language, other), other)
        columns[f"region_{form}"] = inside
        if entry.yields:
            columns[f"yields_{form}"] = yields
    return columns


def _n_of(answer: TasAnswer, kept: list[int], scale: float) -> NDArray[np.float64]:
    negatives = answer.scene.phrase_embeddings[kept]
    texts = Texts(np.zeros(negatives.shape[1], np.float32), negatives, {})
    return score_terms(answer.scene, answer.expression, texts, answer.preset, ["n"], scale)["n"]


def _with(preset: Preset, part: str, **changes: Any) -> Preset:
    """The preset with some settings of one part changed, all of them known to be valid."""
    changed = getattr(preset, part).model_copy(update=changes)
    return preset.model_copy(update={part: changed})
