"""Controls for notebooks: `Explorer`, and what is left of controls on a page without a kernel."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw

from tasutils.charts import score_bars
from tasutils.errors import TasError
from tasutils.readable import style_table
from tasutils.refer import refer
from tasutils.show import overlay

if TYPE_CHECKING:
    import numpy as np
    from nbformat import NotebookNode

    from tasutils.loading import TAS
    from tasutils.refer import Answer
    from tasutils.scene import Scene

VIEW, STATE = (
    "application/vnd.jupyter.widget-view+json",
    "application/vnd.jupyter.widget-state+json",
)
THE_ANSWER = ("the answer", -1)


class Explorer(ipw.VBox):
    """Play with a sentence and the two weights over one scene; the picture is described only once.

    Args:
        tas: what `tasutils.load` returned.
        image: uint8 (H, W, 3).
        scene: what `tas.describe` returned for the image.
        sentence: to begin with.
        alpha: weight of P, lam: weight of N; None takes the preset's.

    Attributes:
        sentence, alpha, lam, rectifier, mask: the controls; setting `.value` redraws.
        answer: the latest `Answer`, None after a mistake.
    """

    def __init__(
        self,
        tas: TAS,
        image: np.ndarray,
        scene: Scene,
        sentence: str,
        alpha: float | None = None,
        lam: float | None = None,
    ) -> None:
        self._tas, self._image, self._scene = tas, image, scene
        self.answer: Answer | None = None
        preset = tas.preset
        alpha = preset.scores.alpha if alpha is None else alpha
        lam = preset.scores.lambda_for(None) if lam is None else lam
        self.sentence = ipw.Text(value=sentence, description="sentence", continuous_update=False)
        self.sentence.layout.width = "min(34rem, 96%)"
        self.alpha, self.lam = _slider(alpha, "alpha (P)"), _slider(lam, "lambda (N)")
        self.rectifier = ipw.Checkbox(value=True, description="spatial rectifier")
        self.rectifier.disabled = preset.rectifier.form == "none"
        numbers = [(f"{i}: {text}", i) for i, text in enumerate(scene.captions)]
        self.mask = ipw.Dropdown(options=[THE_ANSWER, *numbers], description="look at")
        self._message, self._table = ipw.HTML(), ipw.HTML()
        self._picture, self._bars = ipw.Image(format="png"), ipw.Image(format="png")
        for drawn in (self._picture, self._bars):
            drawn.layout.max_width = "100%"
        wrap = ipw.Layout(flex_flow="row wrap")
        super().__init__(
            [
                self.sentence,
                ipw.HBox([self.alpha, self.lam], layout=wrap),
                ipw.HBox([self.rectifier, self.mask], layout=wrap),
                self._message,
                self._picture,
                self._bars,
                self._table,
            ]
        )
        for control in (self.sentence, self.alpha, self.lam, self.rectifier, self.mask):
            control.observe(self._redraw, names="value")
        self._redraw()

    def _redraw(self, _change: object = None) -> None:
        preset = self._tas.preset
        if not self.rectifier.value:
            preset = preset.override({"rectifier.form": "none"})
        try:
            self.answer = refer(
                self._scene, self.sentence.value, self._tas.encoder, self._tas.language, preset,
                alpha=self.alpha.value, lam=self.lam.value,
            )  # fmt: skip
        except TasError as error:
            self.answer = None
            self._message.value = f"<b>{escape(str(error))}</b>"
            return
        picked = None if self.mask.value < 0 else self.mask.value
        self._picture.value = overlay(self._image, self.answer, picked=picked).png()
        self._bars.value = score_bars(self.answer).png()
        self._table.value = style_table(self.answer).to_html()
        self._message.value = describe_choice(self.answer, picked)


def _slider(value: float, name: str) -> ipw.FloatSlider:
    return ipw.FloatSlider(
        value=value, min=0.0, max=max(1.0, value), step=0.05, description=name,
        continuous_update=False, readout_format=".2f",
    )  # fmt: skip


def describe_choice(answer: Answer, picked: int | None = None) -> str:
    """Say in HTML what was chosen and why, and how the picked mask fared; all text is escaped."""
    negatives = ", ".join(answer.negatives) or "none"
    text = f"<b>{escape(answer.reason)}</b><br>negatives: {escape(negatives)}"
    if picked is None or picked >= len(answer.total):
        return text
    place = f"rank {int(answer.rank[picked])} of {len(answer.total)}"
    side = "inside" if answer.in_region[picked] else "outside"
    caption = escape(answer.scene.captions[picked] or "(no caption)")
    sums = f"V {answer.v[picked]:.3f}, P {answer.p[picked]:.3f}, N {answer.n[picked]:.3f}"
    return f"{text}<br>mask {picked}, “{caption}”: {sums}, {place}, {side} the region"


def freeze(notebook: NotebookNode) -> NotebookNode:
    """Put what each control showed in its place, as plain HTML, so that a page needs no script.

    Args:
        notebook: executed, with the widget states that the executor saved; changed in place.
    """
    saved = notebook.metadata.pop("widgets", {}).get(STATE, {}).get("state", {})
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            view = output.get("data", {}).pop(VIEW, None)
            if view is not None:
                inner = _frozen(saved, view.get("model_id", ""))
                output["data"] = {"text/html": f'<div class="tas-frozen">{inner}</div>'}
    return notebook


def _frozen(saved: dict[str, Any], model_id: str) -> str:
    """One model of a saved widget state as HTML, its children inside it."""
    model = saved.get(model_id, {})
    state, kind = model.get("state", {}), model.get("model_name", "")
    if "children" in state:
        children = [_frozen(saved, child.removeprefix("IPY_MODEL_")) for child in state["children"]]
        return f'<div class="{"row" if kind == "HBoxModel" else "box"}">{"".join(children)}</div>'
    if kind == "HTMLModel":
        return str(state.get("value", ""))
    if kind == "ImageModel":
        data = next((b["data"] for b in model.get("buffers", []) if b["path"] == ["value"]), "")
        image = f"data:image/{escape(state.get('format', 'png'))};base64,{escape(data)}"
        return f'<img alt="as drawn when the notebook ran" src="{image}">' if data else ""
    if "value" not in state and "index" not in state:
        return ""
    name = escape(str(state.get("description", "")))
    return f'<div class="control">{name} <b>{escape(_reading(state))}</b></div>'


def _reading(state: dict[str, Any]) -> str:
    """What a control stood at, in words."""
    labels, index = state.get("_options_labels"), state.get("index")
    if labels:
        return str(labels[index]) if index is not None else "nothing"
    value = state.get("value", index)
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
