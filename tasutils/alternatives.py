"""What a sentence's scores would be under the other synonym rules and forms of the rectifier.

A run stores them beside its own n, region and yields, so that a sweep over rules and forms needs
neither parser nor scene (`sweep`). An alternative is what `refer` would find with that one setting
of the preset changed; what it would share with the run is not stored again: a form without words,
`none`, has all masks in its region, and no form but `official` lets masks yield.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from tasutils.language.directions import Form
from tasutils.language.parse import Parser
from tasutils.parts import LanguageConfig
from tasutils.refer import Answer, judge_phrases, negative_scores, parse_expression, region

if TYPE_CHECKING:
    from tasutils.config import Preset

SYNONYM_RULES: tuple[str, ...] = get_args(LanguageConfig.model_fields["synonym_rule"].annotation)
RECTIFIER_FORMS: tuple[str, ...] = get_args(Form)


def alternatives(
    answer: Answer, sentence: str, language: Parser, scale: float
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
        columns[f"n_{rule}"] = (
            answer.n if now == kept else negative_scores(scene, now, preset, scale)
        )
    for form in RECTIFIER_FORMS:
        if form in (preset.rectifier.form, "none"):
            continue
        other = _with(preset, "rectifier", form=form)
        inside, yields = region(scene, parse_expression(sentence, language, other), other)
        columns[f"region_{form}"] = inside
        if form == "official":
            columns[f"yields_{form}"] = yields
    return columns


def _with(preset: Preset, part: str, **changes: Any) -> Preset:
    """The preset with some settings of one part changed, all of them known to be valid."""
    changed = getattr(preset, part).model_copy(update=changes)
    return preset.model_copy(update={part: changed})
