"""refer(): one sentence over one scene. V, P, N, the sum, the rectifier, the argmax."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils import masks, rectifier, scores
from tasutils.errors import TasError
from tasutils.language.directions import Direction, Form, read_directions
from tasutils.language.negatives import Candidate, mine_negatives
from tasutils.language.parse import Parse, Parser

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.config import Preset
    from tasutils.encoders import ImageTextEncoder
    from tasutils.scene import Scene

MAX_CHARACTERS = 2000  # far beyond any referring sentence, far below what slows the parser
_CONTEXT_TOKENS = 77  # of CLIP's text towers, begin and end included


@dataclass(frozen=True)
class Expression:
    """A referring sentence, read.

    text: the sentence, spaces tidied; phrase: its head noun phrase; directions: the direction
    words that count; skipped: those that do not, each with its reason; parse: the whole reading.
    """

    text: str
    phrase: str
    directions: tuple[Direction, ...]
    skipped: tuple[Direction, ...]
    parse: Parse


@dataclass(frozen=True, eq=False)
class Answer:
    """The chosen proposal with the whole score table; n masks.

    chosen: index of the mask, None where the scene has none; v, p, n, total: float64 (n,);
    in_region: bool (n,), all True without direction words; rank: int64 (n,), 1 is the answer;
    rectified: did direction words leave a region with masks in it; unrectified: the answer had
    there been none; negatives: the phrases in N; candidates: all phrases with the verdict on
    each; alpha, lam: the weights of P and N; truncated: is the sentence surely longer than the
    text tower reads; form: of the rectifier; scene: what was asked.
    """

    expression: Expression
    chosen: int | None
    v: NDArray[np.float64]
    p: NDArray[np.float64]
    n: NDArray[np.float64]
    total: NDArray[np.float64]
    in_region: NDArray[np.bool_]
    rank: NDArray[np.int64]
    rectified: bool
    unrectified: int | None
    negatives: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    alpha: float
    lam: float
    truncated: bool
    form: Form
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
    expressions = [parse_expression(s, language, preset.rectifier.form) for s in sentences]
    template = preset.encoder.template
    texts = encoder.encode_text([template.format(e.text) for e in expressions])  # (s, d)
    context = getattr(encoder, "context_length", _CONTEXT_TOKENS)
    return [
        _answer(scene, expression, text, language, preset, weights, context)
        for expression, text in zip(expressions, texts, strict=True)
    ]


def parse_expression(text: str, parser: Parser, form: Form = "extended") -> Expression:
    """Read a sentence; raises TasError if it is no text, blank or over 2,000 characters."""
    if not isinstance(text, str):
        raise TasError(f"the sentence must be text, not {type(text).__name__}")
    if not any(unicodedata.category(character)[0] not in "ZC" for character in text):
        raise TasError("the sentence is empty; write what to find, e.g. 'the red car on the left'")
    if len(text) > MAX_CHARACTERS:
        raise TasError(
            f"the sentence has {len(text)} characters; shorten it to at most {MAX_CHARACTERS}"
        )
    text = " ".join(text.split())
    parse = parser.parse(text)
    directions = read_directions(text, form)
    return Expression(
        text=text,
        phrase=parse.phrase,
        directions=tuple(d for d in directions if not d.skipped),
        skipped=tuple(d for d in directions if d.skipped),
        parse=parse,
    )


def _answer(
    scene: Scene,
    expression: Expression,
    text: NDArray[np.float32],
    language: Parser,
    preset: Preset,
    weights: tuple[float, float],
    context: int,
) -> Answer:
    alpha, lam = weights
    candidates = mine_negatives(
        scene.phrases, expression.parse, language, preset.language.synonym_threshold
    )
    kept = [candidate.index for candidate in candidates if candidate.kept]

    v = scores.v_score(scene.crop_embeddings, text)  # (n,)
    p = scores.p_score(scene.caption_embeddings, text)  # (n,)
    n = scores.n_score(scene.crop_embeddings, scene.phrase_embeddings[kept])  # (n,)
    total = scores.combine(v, p, n, alpha, lam)  # (n,)

    centers_xy = scene.proposals.centers_xy  # (n, 2)
    inside = rectifier.in_region(centers_xy, scene.size_hw, expression.directions)  # (n,)
    order = rectifier.ranking(total, inside)  # (n,) best first
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(1, len(order) + 1)

    return Answer(
        expression=expression,
        chosen=rectifier.rectify(total, inside),
        v=v,
        p=p,
        n=n,
        total=total,
        in_region=inside,
        rank=rank,
        rectified=bool(expression.directions) and bool(inside.any()),
        unrectified=rectifier.rectify(total, np.ones_like(inside)),
        negatives=tuple(scene.phrases[i] for i in kept),
        candidates=tuple(candidates),
        alpha=alpha,
        lam=lam,
        truncated=len(expression.text.split()) > context - 2,
        form=preset.rectifier.form,
        scene=scene,
    )


def explain(answer: Answer) -> str:
    """Why this mask, in one line of plain English."""
    if answer.chosen is None:
        return "no mask was proposed in this picture, so there is nothing to choose"
    i = answer.chosen
    parts = [
        f"mask {i} wins: total {answer.total[i]:.3f} = V {answer.v[i]:.3f}"
        f" + {answer.alpha:g} x P {answer.p[i]:.3f} + {answer.lam:g} x N {answer.n[i]:.3f}"
    ]
    if len(answer.total) == 1:
        parts.append("it is the only mask")
    if not answer.negatives:
        parts.append("no negatives, so N is 0")
    parts.append(_explain_rectifier(answer))
    if answer.truncated:
        parts.append("the sentence is longer than the text encoder reads, its end was cut off")
    return "; ".join(parts)


def _explain_rectifier(answer: Answer) -> str:
    if answer.form == "none":
        return "no rectifier"
    expression = answer.expression
    if not expression.directions:
        for word in expression.skipped:
            return f"rectifier idle: {word.token!r} does not count here ({word.skipped})"
        return "rectifier idle: no direction word"
    where = " and ".join(dict.fromkeys(d.name for d in expression.directions))
    if not answer.rectified:
        return f"rectifier: no mask has its centre in the part {where}, so the best of all stays"
    count = f"rectifier: {where}, {answer.in_region.sum()} of {len(answer.total)} masks"
    if answer.unrectified == answer.chosen:
        return f"{count}, the answer stays the same"
    return f"{count}, which changed the answer from mask {answer.unrectified}"
