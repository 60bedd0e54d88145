"""Pictures of N: the way between two nouns in WordNet, and candidates against a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import numpy as np

from tasutils.canvas import ANSWER, GREY, OKABE_ITO, Picture, fit_text, write
from tasutils.readable import negatives_table
from tasutils.refer import refer
from tasutils.show import overlay

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tasutils.language.wordnet import Candidate, SensePath
    from tasutils.refer import TasAnswer
    from tasutils.scene import Scene
    from tasutils.tas import TAS


def path_tree(path: SensePath, *, width_in: float = 7.2) -> Picture:
    """Draw two nouns with the senses above them; the shortest way between them is orange.

    Each orange line is a step; grey senses stand above the nearest one that both share.
    """
    above = path.above if len(path.above) <= 5 else (*path.above[:3], "…", path.above[-1])
    levels = max(len(path.up_a), len(path.up_b)) + len(above) - 1
    figure = Picture(figsize=(width_in, 0.42 * levels + 0.72))
    height = figure.get_figheight()
    ax = figure.add_axes((0, 0.1 / height, 1, 1 - 0.5 / height))
    ax.set(xlim=(0, 1), ylim=(-0.6, levels - 0.4))
    ax.set_axis_off()
    fork = levels - len(above)  # the level of the nearest common sense
    for k, name in enumerate(above[1:], start=1):
        _link(ax, (0.5, fork + k - 1), (0.5, fork + k), GREY, 1.0)
        _sense(ax, 0.5, fork + k, name, GREY)
    for x, way in ((0.22, path.up_a), (0.78, path.up_b)):
        places = [(x, fork - len(way) + 1 + k) for k in range(len(way) - 1)]
        places.append((0.5, fork))
        for k in range(len(way) - 1):
            _link(ax, places[k], places[k + 1], ANSWER, 2.6)
            _sense(ax, *places[k], way[k], "black")
    _sense(ax, 0.5, fork, above[0], "black")
    words = f"“{path.noun_a}” and “{path.noun_b}”: {path.steps} steps"
    head = f"{words}, path similarity 1 / (1 + {path.steps}) = {path.similarity:.2f}"
    write(figure, 0.1, height - 0.28, fit_text(head, width_in, 10.5, 1), 10.5)
    return figure


def _link(
    ax: Axes, start: tuple[float, float], end: tuple[float, float], color: str, line_width: float
) -> None:
    ax.plot(*zip(start, end, strict=True), color=color, lw=line_width, zorder=1)


def _sense(ax: Axes, x: float, y: float, name: str, color: str) -> None:
    box: Any = {"boxstyle": "round,pad=0.28", "fc": "white", "ec": color, "lw": 1.0}
    ax.text(x, y, name, fontsize=9, color=color, ha="center", va="center", bbox=box)


def threshold_plot(
    candidates: Sequence[Candidate], threshold: float, *, width_in: float = 7.2
) -> Picture:
    """Draw each phrase's path similarity to the target: from the line on it is no negative."""
    rows = max(len(candidates), 1)
    figure = Picture(figsize=(width_in, 0.32 * rows + 0.85))
    height = figure.get_figheight()
    ax = figure.add_axes((0.34, 0.6 / height, 0.62, 1 - 0.72 / height))
    for y, one in enumerate(candidates):
        kept = one.similarity < threshold
        color, marker = ("blue", "o") if kept else ("vermillion", "X")
        ax.plot([0, one.similarity], [y, y], color=OKABE_ITO[color], lw=1.6)
        ax.plot(one.similarity, y, marker, color=OKABE_ITO[color], ms=8, clip_on=False)
    ax.axvline(threshold, color="black", ls="--", lw=1.4)
    names = [fit_text(one.phrase, 2.3, 9, 1)[0] for one in candidates]
    ax.set_yticks(np.arange(len(names)), names, fontsize=9)
    ax.set_ylim(rows - 0.5, -0.5)
    ax.set_xlim(0, 1.02)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="x", color="#DDDDDD", lw=0.6)
    ax.set_xlabel("path similarity to the target   ● a negative   ✖ taken out", fontsize=9)
    return figure


class ThresholdSlider(ipw.VBox):
    """Move the threshold of path similarity and see which phrases stay, and what is answered.

    Args:
        tas: what `tasutils.load` returned; judged by rule `nearest`.
        image: uint8 (H, W, 3).
        scene: of the image.
        sentence: what is asked.
        dataset: whose lambda is taken.

    Attributes:
        threshold: the slider; setting `.value` redraws. answer: the latest `TasAnswer`.
    """

    answer: TasAnswer

    def __init__(
        self, tas: TAS, image: np.ndarray, scene: Scene, sentence: str, dataset: str | None = None
    ) -> None:
        self._tas, self._asked = tas, (scene, sentence, dataset)
        self._pixels = image
        self.threshold = ipw.FloatSlider(
            value=tas.preset.language.synonym_threshold, min=0.0, max=1.0, step=0.05,
            description="threshold", continuous_update=False,
        )  # fmt: skip
        self._chart, self._picture = ipw.Image(format="png"), ipw.Image(format="png")
        self._table = ipw.HTML()
        super().__init__([self.threshold, self._chart, self._picture, self._table])
        self.threshold.observe(self._redraw, names="value")
        self._redraw()

    def _redraw(self, _change: object = None) -> None:
        tas, (scene, sentence, dataset) = self._tas, self._asked
        threshold = self.threshold.value
        rules = {"language.synonym_rule": "nearest", "language.synonym_threshold": threshold}
        preset = tas.preset.override(rules)
        self.answer = refer(scene, sentence, tas.encoder, tas.language, preset, dataset=dataset)
        self._chart.value = threshold_plot(self.answer.candidates, threshold).png()
        self._picture.value = overlay(self._pixels, self.answer).png()
        self._table.value = negatives_table(self.answer).to_html()
