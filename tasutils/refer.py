"""refer(): one sentence over one scene. The terms, their sum, the rectifier, the argmax."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasutils import masks, rectifier
from tasutils.compute import one_thread
from tasutils.config import DecideConfig, LanguageConfig, RectifierConfig, lookup
from tasutils.encoders import embeddings
from tasutils.errors import TasError
from tasutils.language import Candidate, Direction, Parse, Parser, mine_negatives
from tasutils.language.asks import Asks
from tasutils.language.released import read
from tasutils.terms import Texts, combine, min_max_softmax

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.config import Preset
    from tasutils.encoders import ImageTextEncoder
    from tasutils.scene import Scene

MAX_CHARACTERS = 2000  # far beyond any referring sentence, far below what slows the parser


@dataclass(frozen=True)
class Expression:
    """A referring sentence, read.

    text: the sentence, spaces tidied; phrase: its head noun phrase; directions: the direction
    words that count; skipped: those that do not, each with its reason; parts: what the words ask
    for with the rectifier's form official else none; parse: the whole reading.
    """

    text: str
    phrase: str
    directions: tuple[Direction, ...]
    skipped: tuple[Direction, ...]
    parts: tuple[str, ...]
    parse: Parse

    @property
    def asks(self) -> Asks:
        """What else the sentence asks for."""
        return self.parse.asks


@dataclass(frozen=True, eq=False)
class Answer:
    """What a method says of one sentence; n masks in the scene.

    chosen: indices of the masks that are meant, none where nothing is; terms: float64 (n,) by name;
    weights: of the terms in the sum; total: float64 (n,), the best wins, None for a method that
    does not score; own_mask: run lengths of a mask that the method drew itself instead of choosing;
    confidence: how sure the method is, in its own units; notes: what was amiss, in few words each.
    """

    expression: Expression
    scene: Scene
    chosen: tuple[int, ...]
    terms: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    total: NDArray[np.float64] | None = None
    own_mask: dict[str, Any] | None = None
    confidence: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> int | None:
        """The first chosen mask, None where there is none."""
        return self.chosen[0] if self.chosen else None

    def mask(self) -> NDArray[np.bool_]:
        """What is meant, bool (H, W): the own mask, else the union of those chosen."""
        rles = [self.scene.proposals.rles[index] for index in self.chosen]
        if self.own_mask is not None:
            rles = [self.own_mask]
        found: NDArray[np.bool_] = masks.decode_rle(rles, self.scene.size_hw)  # (n, H, W)
        return np.logical_or.reduce(found, axis=0)


@dataclass(frozen=True, eq=False, kw_only=True)
class TasAnswer(Answer):
    """TAS's answer: one mask, or as `decide` says, with the whole score table.

    terms and total may be NaN with `strict_official`, where the released code's are; in_region,
    yields: bool (n,), see `region`; rank: int64 (n,), 1 is the answer; rectified: did direction
    words leave a region with masks in it; unrectified: the answer had there been none; candidates:
    the caption's phrases with the verdict on each; truncated: is the sentence longer than the text
    tower reads; preset, texts: what was asked, and the embedded sentence with its negatives; parts:
    the answers for each of several things, of which each mask has the terms of its best.
    """

    total: NDArray[np.float64]
    in_region: NDArray[np.bool_]
    yields: NDArray[np.bool_]
    rank: NDArray[np.int64]
    rectified: bool
    unrectified: int | None
    candidates: tuple[Candidate, ...]
    truncated: bool
    preset: Preset
    texts: Texts
    parts: tuple[TasAnswer, ...] = ()

    @property
    def sure(self) -> bool:
        """Does the winner's total reach the preset's `unsure_below`? True where there is none."""
        least = self.preset.scores.unsure_below
        return self.best is None or least is None or not self.total[self.best] < least

    @property
    def negatives(self) -> tuple[str, ...]:
        """The phrases in N."""
        return tuple(c.phrase for c in self.candidates if c.kept)

    @property
    def reason(self) -> str:
        """Why this mask, in one line of plain English."""
        if self.parts:
            return "; ".join(f"{part.expression.text}: {part.reason}" for part in self.parts)
        if not len(self.total):
            return "no mask was proposed in this picture, so there is nothing to choose"
        if self.best is None and (rules := self.preset.decide):
            total = _sum(self, int(np.argmin(self.rank)))
            return f"nothing is meant, the best total is below {rules.least:g}: {total}"
        parts = [f"mask {self.best} wins: {_sum(self, self.chosen[0])}"]
        if others := self.chosen[1:]:
            parts.append(f"near it, and so meant as well: {', '.join(map(str, others))}")
        if not self.sure:
            least = f"{self.preset.scores.unsure_below:g}"
            parts.insert(0, f"not sure: total {self.total[self.best]:.3f} is below {least}")
        if len(self.total) == 1:
            parts.append("it is the only mask")
        if not self.negatives and "n" in self.terms:
            parts.append(f"no negatives, so N is {'NaN' if np.isnan(self.terms['n']).any() else 0}")
        parts.append(_explain_rectifier(self))
        if asked := self.expression.asks.findings() if {*self.terms} - {*"vpn"} else {}:
            parts.append(f"asked: {', '.join(asked.values())}")
        if unknown := self.expression.asks.unknown:
            parts.append(f"not in the dictionary: {', '.join(unknown)}")
        if self.truncated:
            parts.append("the sentence is longer than the text encoder reads, its end was cut off")
        return "; ".join(parts)

    def table(self) -> pd.DataFrame:
        """One row a mask, index "mask": the terms, total, in_region, rank, caption, area_px."""
        import pandas as pd

        columns = {name: getattr(self, name) for name in ("total", "in_region", "rank")}
        columns["caption"] = pd.Series(list(self.scene.captions), dtype="str")
        columns["area_px"] = self.scene.proposals.areas_px
        index = pd.RangeIndex(len(self.total), name="mask")
        return pd.DataFrame({**self.terms, **columns}).set_axis(index, axis=0)


def refer(
    scene: Scene,
    sentence: str,
    encoder: ImageTextEncoder,
    language: Parser,
    preset: Preset,
    dataset: str | None = None,
    weights: Mapping[str, float] | None = None,
) -> TasAnswer:
    """Which of the scene's masks does the sentence mean?

    encoder: the one that made the scene's embeddings (only its text tower is used, in one batch);
    dataset picks the weights from the preset; weights: by a term's name, in place of the preset's.
    Raises TasError for a sentence that is blank or longer than 2,000 characters, for embeddings of
    another encoder, and for a weight of a term that there is not.
    """
    weights = preset.weights(dataset, weights)
    expression = parse_expression(sentence, language, preset)
    things = expression.asks.things if preset.decide else ()
    if not things:
        return _one(scene, expression, encoder, language, preset, weights)
    read = [(parse_expression(thing, language, preset), every) for thing, every in things]
    parts = [_one(scene, e, encoder, language, preset, weights, every) for e, every in read]
    best = np.argmax([part.total for part in parts], axis=0)[None]  # (1, n)

    def of_best(rows: list[NDArray[Any]]) -> NDArray[Any]:
        return np.take_along_axis(np.stack(rows), best, 0)[0]  # (n,)

    total = of_best([part.total for part in parts])
    chosen = tuple(dict.fromkeys(index for part in parts for index in part.chosen))
    order = np.lexsort((-total, ~np.isin(np.arange(len(total)), chosen)))
    return replace(
        parts[0],
        expression=expression,
        chosen=chosen,
        terms={name: of_best([part.terms[name] for part in parts]) for name in weights},
        total=total,
        in_region=of_best([part.in_region for part in parts]),
        yields=of_best([part.yields for part in parts]),
        rank=np.argsort(order) + 1,
        parts=tuple(parts),
    )


def _one(
    scene: Scene,
    expression: Expression,
    encoder: ImageTextEncoder,
    language: Parser,
    preset: Preset,
    weights: Mapping[str, float],
    every: bool = False,
) -> TasAnswer:
    """The answer to an expression as it stands; every: are all such things meant."""
    terms = [lookup("tasutils.terms:TERMS", name) for name in weights]
    phrases = [phrase for term in terms for phrase in term.phrases(expression)]

    words = list(dict.fromkeys([expression.text, *phrases]))
    written = [preset.encoder.template.format(word) for word in words]
    with one_thread():
        rows = encoder.encode_text(written)
    embedded = dict(zip(words, embeddings(rows, len(words), "texts"), strict=True))  # (d,) each
    # whether the sentence is read whole; an encoder may have no way to tell
    count: Callable[[str], int] = getattr(encoder, "n_tokens", lambda text: 0)
    truncated = count(written[0]) > int(getattr(encoder, "context_length", 0))

    candidates = judge_phrases(scene, expression, language, preset)
    kept = [candidate.index for candidate in candidates if candidate.kept]
    texts = Texts(
        sentence=embedded[expression.text],
        negatives=scene.phrase_embeddings[kept],  # (k, d)
        phrases={phrase: embedded[phrase] for phrase in phrases},
    )
    scale = cosine_scale(encoder, preset)
    scores = score_terms(scene, expression, texts, preset, weights, scale)  # (n,) each
    total = worth = combine(scores, weights)  # (n,)
    if preset.scores.normalise == "min_max_softmax":
        total = min_max_softmax(total, preset.scores.strict_official)
        # the sums' order is kept, but for NaN and for rounding, which must decide nothing
        worth = np.where(np.isnan(total), total, worth)

    inside, yields = region(scene, expression, preset)  # (n,), (n,)
    order = rectifier.ranking(worth, inside, yields)  # (n,) best first
    return TasAnswer(
        expression=expression,
        scene=scene,
        chosen=decide(total, order, inside, every, preset.decide),
        terms=scores,
        weights=weights,
        total=total,
        in_region=inside,
        yields=yields,
        rank=np.argsort(order) + 1,
        rectified=bool(expression.directions) and bool(inside.any()),
        unrectified=rectifier.rectify(worth, np.ones_like(inside)),
        candidates=tuple(candidates),
        truncated=truncated,
        preset=preset,
        texts=texts,
    )


def decide(
    total: NDArray[np.float64],
    order: NDArray[np.int64],
    inside: NDArray[np.bool_],
    every: bool,
    rules: DecideConfig | None,
) -> tuple[int, ...]:
    """Which masks are meant: the first; by rules none, or all near it where every such thing is.

    total: float (n,); order: int (n,), the best first; inside: bool (n,), which are in the region.
    """
    first = order[:1]
    if rules is None or not len(order) or np.isnan(total[first[0]]):
        return tuple(first.tolist())
    if total[first[0]] < rules.least:
        return ()
    near = (total >= total[first[0]] - rules.margin) & (inside | ~inside.any())
    return tuple((order[near[order]] if every else first).tolist())


def score_terms(
    scene: Scene,
    expression: Expression,
    texts: Texts,
    preset: Preset,
    names: Iterable[str],
    scale: float = 1.0,
) -> dict[str, NDArray[np.float64]]:
    """Each named term of every mask, float64 (n,), times `scale`."""
    found = {}
    for name in names:
        term = lookup("tasutils.terms:TERMS", name)
        if missing := set(term.views) - set(scene.views):
            raise TasError(
                f"the scene has no view {min(missing)!r}, which the term {name} asks for; describe "
                "the image again with this preset"
            )
        value = term.score(scene, expression, texts, preset.term_settings(name))
        found[name] = scale * np.asarray(value, dtype=np.float64)
    if "n" in found and not len(texts.negatives) and preset.scores.strict_official:
        found["n"] = np.full_like(found["n"], np.nan)  # the released code's mean of nothing
    return found


def cosine_scale(encoder: ImageTextEncoder, preset: Preset) -> float:
    """What terms are multiplied by: the encoder's own scale if the preset wants it, else 1."""
    return float(getattr(encoder, "logit_scale", 1.0)) if preset.scores.logit_scale else 1.0


def judge_phrases(
    scene: Scene, expression: Expression, language: Parser, preset: Preset
) -> list[Candidate]:
    """The phrases of the scene's caption judged against the target by the preset's rule."""
    rules, target = preset.language, expression.parse
    if rules.head_rule == "root":
        target = replace(language.parse(expression.phrase), phrase=expression.phrase)
    threshold, rule = rules.synonym_threshold, rules.synonym_rule
    return mine_negatives(scene.phrases, target, language, threshold, rule)


def region(
    scene: Scene, expression: Expression, preset: Preset, points_xy: ArrayLike | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which masks lie in the expression's region, and which of them lose ties; bool (n,) each.

    points_xy: float (n, 2), px, points of the picture to judge in place of the masks' centres.
    """
    rules, proposals = preset.rectifier, scene.proposals
    centers = proposals.floored_centers_xy() if rules.centers == "floor" else proposals.centers_xy
    points = centers if points_xy is None else points_xy  # (n, 2)
    form: rectifier.Rectifier = lookup("tasutils.rectifier:RECTIFIERS", rules.form)
    return form.region(points, scene.size_hw, expression, rules.cut, centers)


def parse_expression(text: str, parser: Parser, preset: Preset | None = None) -> Expression:
    """Read a sentence; raises TasError if it is no text, blank or over 2,000 characters.

    preset: its language and rectifier tell how; None: their defaults.
    """
    language = LanguageConfig() if preset is None else preset.language
    rules = RectifierConfig() if preset is None else preset.rectifier
    text = readable(text).lower() if language.lowercase else readable(text)
    parse, by_root = parser.parse(text), language.head_rule == "root"
    reading = read(parser.spacy_model, text) if by_root or rules.gate else None
    phrase = reading.phrase if by_root and reading else parse.phrase
    gate = reading if rules.gate else None
    form: rectifier.Rectifier = lookup("tasutils.rectifier:RECTIFIERS", rules.form)
    plan = form.read(text, gate, rules.matching, gate.shut(phrase) if gate else "")
    return Expression(text, phrase, plan.directions, plan.skipped, plan.parts, parse)


def readable(text: str) -> str:
    """A sentence, spaces tidied; TasError if it is no text, blank or too long."""
    if not isinstance(text, str):
        raise TasError(f"the sentence must be text, not {type(text).__name__}")
    if not any(unicodedata.category(character)[0] not in "ZC" for character in text):
        raise TasError("the sentence is empty; write what to find, e.g. 'the red car on the left'")
    if len(text) > MAX_CHARACTERS:
        raise TasError(
            f"the sentence has {len(text)} characters; shorten it to at most {MAX_CHARACTERS}"
        )
    return " ".join(text.split())


def _sum(answer: TasAnswer, i: int) -> str:
    terms = " + ".join(
        f"{'' if name == 'v' and weight == 1 else f'{weight:g} x '}{name.upper()} "
        f"{answer.terms[name][i]:.3f}"
        for name, weight in answer.weights.items()
    )
    if np.isnan(answer.total[i]):
        return f"the total {terms} is NaN for every mask, and so the first is taken"
    if answer.preset.scores.normalise == "none":
        return f"total {answer.total[i]:.3f} = {terms}"
    return f"share {answer.total[i]:.3f} of the softmax of {terms}"


def _explain_rectifier(answer: TasAnswer) -> str:
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
    if answer.unrectified == answer.best:
        return f"{count}, the answer stays the same"
    return f"{count}, which changed the answer from mask {answer.unrectified}"
