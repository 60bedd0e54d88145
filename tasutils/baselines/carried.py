"""Methods around other methods: a drawn mask as a choice, graded terms on any scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tasutils.baselines import answers_of, make_method
from tasutils.baselines.base import Image
from tasutils.config import load_preset, preset_names
from tasutils.errors import TasError
from tasutils.graded import H
from tasutils.masks import intersection_union
from tasutils.metrics import iou
from tasutils.refer import Answer, Expression, parse_expression
from tasutils.scene import Scene

if TYPE_CHECKING:
    from tasutils.tas import TAS


class Chooser:
    """Takes the proposal that a drawn mask fits best, by IoU, so that all methods share them."""

    def __init__(self, name: str, drawing: Any) -> None:
        self.name, self.settings, self._drawing = name, drawing.settings, drawing

    @classmethod
    def make(cls, name: str, tas: TAS, dataset: str | None = None, **switches: Any) -> Chooser:
        """See `baselines.make_method`; the switches are those of the one that draws."""
        drawing = make_method(name.removesuffix("_chooses"), tas, dataset, **switches)
        return cls(name, drawing)

    def answer(self, scene: Scene, expressions: Sequence[Expression], image: Image) -> list[Answer]:
        """The chosen masks, the first where the drawn mask meets none."""
        masks, answers = scene.proposals.masks(), []  # (n, H, W)
        for drawn in answers_of(self._drawing, scene, expressions, image):
            score = iou(*intersection_union(masks, drawn.mask()))  # (n,)
            notes = drawn.notes + ("it meets no proposal",) * (not score.any())
            answers.append(_choice(replace(drawn, own_mask=None, notes=notes), {"score": score}))
        return answers


class Graded:
    """The scores of another method plus graded terms, as in "clip_only+d+z".

    The weights are the preset's, or where it has none those of its graded form, which were chosen
    for cosines. With h the method is asked for the bare thing, as that term does it for V.
    """

    def __init__(self, name: str, method: Any, tas: TAS, weights: dict[str, float]) -> None:
        self.name, self.settings = name, getattr(method, "settings", {})
        self._method, self._tas, self._weights = method, tas, weights

    @classmethod
    def make(cls, name: str, tas: TAS, dataset: str | None = None, **switches: Any) -> Graded:
        """See `baselines.make_method`."""
        base, *terms = name.split("+")
        own = tas.preset.name.removesuffix("_graded") + "_graded"
        graded = load_preset(own if own in preset_names() else "tiny_graded").weights(dataset)
        known = graded | {k: w for k, w in tas.preset.weights(dataset).items() if w}
        if unknown := [term for term in terms if term not in known or term in "vpn"]:
            can = ", ".join(term for term in known if term not in "vpn")
            raise TasError(f"method {name}: no graded term {unknown[0]!r}; there are {can}")
        if base == "tas":
            raise TasError(f"method {name}: TAS has terms by its preset; give --weights d=0.1")
        weights = {term: known[term] for term in terms}
        return cls(name, make_method(base, tas, dataset, **switches), tas, weights)

    def answer(self, scene: Scene, expressions: Sequence[Expression], image: Image) -> list[Answer]:
        """The highest sums; TasError for a method that draws its own mask."""
        language, preset = self._tas.language, self._tas.preset
        asked = []
        for expression in expressions:
            for thing in H.phrases(expression) if "h" in self._weights else ():
                expression = parse_expression(thing, language, preset)
            asked.append(expression)
        answers = []
        for expression, found in zip(
            expressions, answers_of(self._method, scene, asked, image), strict=True
        ):
            if found.total is None:
                raise TasError(
                    f"method {self.name} has no scores to add to; name one that has, such as "
                    f"{self._method.name}_chooses"
                )
            added = {k: w for k, w in self._weights.items() if k != "h"}
            terms = self._tas.refer(scene, expression.text, weights=added).terms
            found = replace(found, expression=expression, weights={"score": 1.0} | added)
            answers.append(_choice(found, {"score": found.total} | {k: terms[k] for k in added}))
        return answers


def _choice(answer: Answer, terms: dict[str, Any]) -> Answer:
    """The answer with the highest sum of its weighted terms, float64 (n,) each."""
    weights = answer.weights or {"score": 1.0}
    total = sum(weight * terms[name] for name, weight in weights.items())
    chosen = (int(total.argmax()),) if len(total) else ()
    return replace(answer, chosen=chosen, terms=terms, weights=weights, total=total)
