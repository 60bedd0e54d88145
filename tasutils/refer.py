"""refer(): one sentence over one scene. V, P, N, the sum, the rectifier, the argmax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasutils import masks, rectifier, scores
from tasutils.explain import explain
from tasutils.expression import MAX_CHARACTERS, Expression, parse_expression
from tasutils.language.negatives import Candidate, mine_negatives, mine_released
from tasutils.language.parse import Parser
from tasutils.rectifier_released import in_parts

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.config import Preset
    from tasutils.encoders import ImageTextEncoder
    from tasutils.scene import Scene

__all__ = ["MAX_CHARACTERS", "Answer", "Expression", "parse_expression", "refer", "refer_many"]

_CONTEXT_TOKENS = 77  # of CLIP's text towers, begin and end included


@dataclass(frozen=True, eq=False)
class Answer:
    """The chosen proposal with the whole score table; n masks.

    chosen: index of the mask, None where the scene has none; v, p, n, total: float64 (n,), with
    `strict_official` NaN where the released code's are; in_region: bool (n,), all True without
    direction words; yields: bool (n,), which masks of the region lose ties (only with the
    rectifier's form official, see `rectifier.ranking`); rank: int64 (n,), 1 is the answer;
    rectified: did direction words leave a region with masks in it; unrectified: the answer had
    there been none; negatives: the phrases in N; candidates: all phrases with the verdict on
    each; alpha, lam: the weights of P and N; truncated: is the sentence surely longer than the
    text tower reads; preset, scene: what was asked.
    """

    expression: Expression
    chosen: int | None
    v: NDArray[np.float64]
    p: NDArray[np.float64]
    n: NDArray[np.float64]
    total: NDArray[np.float64]
    in_region: NDArray[np.bool_]
    yields: NDArray[np.bool_]
    rank: NDArray[np.int64]
    rectified: bool
    unrectified: int | None
    negatives: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    alpha: float
    lam: float
    truncated: bool
    preset: Preset
    scene: Scene

    @property
    def reason(self) -> str:
        """Why this mask, in one line of plain English."""
        return explain(self)

    def table(self) -> pd.DataFrame:
        """One row a mask, index "mask": v, p, n, total, in_region, rank, caption, area_px."""
        import pandas as pd

        columns = {
            "v": self.v,
            "p": self.p,
            "n": self.n,
            "total": self.total,
            "in_region": self.in_region,
            "rank": self.rank,
            "caption": pd.Series(list(self.scene.captions), dtype="str"),
            "area_px": self.scene.proposals.areas_px,
        }
        index = pd.RangeIndex(len(self.total), name="mask")
        return pd.DataFrame(columns).set_axis(index, axis=0)

    def mask(self) -> NDArray[np.bool_]:
        """The chosen mask, bool (H, W); empty where no mask was chosen."""
        if self.chosen is None:
            return np.zeros(self.scene.size_hw, dtype=bool)
        return masks.decode_rle([self.scene.proposals.rles[self.chosen]], self.scene.size_hw)[0]


def refer(
    scene: Scene,
    sentence: str,
    encoder: ImageTextEncoder,
    language: Parser,
    preset: Preset,
    dataset: str | None = None,
    alpha: float | None = None,
    lam: float | None = None,
) -> Answer:
    """Which of the scene's masks does the sentence mean?

    encoder: the one that made the scene's embeddings (only its text tower is used); dataset picks
    lambda from the preset; alpha, lam override the preset. Raises TasError for a sentence that is
    blank or longer than 2,000 characters, and for embeddings of another encoder.
    """
    return refer_many(scene, [sentence], encoder, language, preset, dataset, alpha, lam)[0]


def refer_many(
    scene: Scene,
    sentences: Sequence[str],
    encoder: ImageTextEncoder,
    language: Parser,
    preset: Preset,
    dataset: str | None = None,
    alpha: float | None = None,
    lam: float | None = None,
) -> list[Answer]:
    """refer() for several sentences, which are embedded in one batch."""
    weights = (
        preset.scores.alpha if alpha is None else float(alpha),
        preset.scores.lambda_for(dataset) if lam is None else float(lam),
    )
    expressions = [parse_expression(s, language, preset) for s in sentences]
    template = preset.encoder.template
    texts = encoder.encode_text([template.format(e.text) for e in expressions])  # (s, d)
    context = getattr(encoder, "context_length", _CONTEXT_TOKENS)
    scale = cosine_scale(encoder, preset)
    return [
        _answer(scene, expression, text, language, preset, weights, context, scale)
        for expression, text in zip(expressions, texts, strict=True)
    ]


def cosine_scale(encoder: ImageTextEncoder, preset: Preset) -> float:
    """What cosines are multiplied by: the encoder's own scale if the preset wants it, else 1."""
    return float(getattr(encoder, "logit_scale", 1.0)) if preset.scores.logit_scale else 1.0


def _answer(
    scene: Scene,
    expression: Expression,
    text: NDArray[np.float32],
    language: Parser,
    preset: Preset,
    weights: tuple[float, float],
    context: int,
    scale: float,
) -> Answer:
    (alpha, lam), strict = weights, preset.scores.strict_official
    candidates = judge_phrases(scene, expression, language, preset)
    kept = [candidate.index for candidate in candidates if candidate.kept]

    v = scale * scores.v_score(scene.crop_embeddings, text)  # (n,)
    p = scale * scores.p_score(scene.caption_embeddings, text)  # (n,)
    n = negative_scores(scene, kept, preset, scale)  # (n,)
    total = worth = scores.combine(v, p, n, alpha, lam)  # (n,)
    if preset.scores.normalise == "min_max_softmax":
        total = scores.min_max_softmax(total, strict)  # (n,)
        # the sums' order is kept, but for NaN and for rounding, which must decide nothing
        worth = np.where(np.isnan(total), total, worth)

    inside, yields = region(scene, expression, preset)  # (n,), (n,)
    order = rectifier.ranking(worth, inside, yields)  # (n,) best first
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(1, len(order) + 1)

    return Answer(
        expression=expression,
        chosen=rectifier.rectify(worth, inside, yields),
        v=v,
        p=p,
        n=n,
        total=total,
        in_region=inside,
        yields=yields,
        rank=rank,
        rectified=bool(expression.directions) and bool(inside.any()),
        unrectified=rectifier.rectify(worth, np.ones_like(inside)),
        negatives=tuple(scene.phrases[i] for i in kept),
        candidates=tuple(candidates),
        alpha=alpha,
        lam=lam,
        truncated=len(expression.text.split()) > context - 2,
        preset=preset,
        scene=scene,
    )


def judge_phrases(
    scene: Scene, expression: Expression, language: Parser, preset: Preset
) -> list[Candidate]:
    """The phrases of the scene's caption judged against the target by the preset's rule."""
    rules = preset.language
    if rules.synonym_rule == "three_pairs":
        return mine_released(scene.phrases, expression.phrase, language, rules.synonym_threshold)
    target = expression.parse
    if rules.head_rule == "root":
        target = language.parse(expression.phrase)
    return mine_negatives(scene.phrases, target, language, rules.synonym_threshold)


def negative_scores(
    scene: Scene, kept: Sequence[int], preset: Preset, scale: float
) -> NDArray[np.float64]:
    """N of each mask, float64 (n,); kept: which of the scene's phrases are its negatives."""
    negatives = scene.phrase_embeddings[list(kept)]  # (k, d)
    return scale * scores.n_score(scene.crop_embeddings, negatives, preset.scores.strict_official)


def region(
    scene: Scene, expression: Expression, preset: Preset, points_xy: ArrayLike | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which masks lie in the expression's region, and which of them yield; bool (n,) each.

    points_xy: float (n, 2), px, points of the picture to judge in place of the masks' centres.
    """
    rules, size_hw = preset.rectifier, scene.size_hw
    centers = scene.proposals.centers_xy  # (n, 2)
    if rules.centers == "floor":
        centers = scene.proposals.floored_centers_xy()
    points = centers if points_xy is None else points_xy
    if rules.form == "official":
        return in_parts(points, size_hw, expression.parts, rules.cut, centers)
    inside = rectifier.in_region(points, size_hw, expression.directions, rules.cut, centers)
    return inside, np.zeros_like(inside)
