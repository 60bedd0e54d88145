"""Controls for notebooks: `Explorer`, and what is left of controls on a page without a kernel."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw

from tasutils import paths
from tasutils.errors import TasError
from tasutils.explore import export
from tasutils.explorer_side import Desk, Side

if TYPE_CHECKING:
    import numpy as np
    from nbformat import NotebookNode

    from tasutils.explore import View
    from tasutils.refer import TasAnswer
    from tasutils.scene import Scene
    from tasutils.tas import TAS

VIEW, STATE = (
    "application/vnd.jupyter.widget-view+json",
    "application/vnd.jupyter.widget-state+json",
)
EXPORTS = "explorer"


class Explorer(ipw.VBox):
    """Play with a sentence over one picture: presets, methods, weights, the rectifier.

    A preset describes the picture when it is first picked; from then on each move of a control
    only asks again. `explore.explore` gives the same views without controls.

    Args:
        tas: what `tasutils.load` returned.
        image: uint8 (H, W, 3).
        scene: what `tas.describe` returned for the image.
        sentence: to begin with.
        alpha: weight of P, lam: weight of N; None takes the preset's.

    Attributes:
        sentence: the control of the sentence; compare: whether there are two sides.
        left, right: the sides, see `explorer_side.Side`; the right one asks V alone to begin with.
        folder, export: where pictures and tables go, under `paths.RESULTS` if relative, and the
            button that writes them; written: says what was.
        preset, method, alpha, lam, rectifier, mask, view, answer: those of the left side.
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
        self.sentence = ipw.Text(value=sentence, description="sentence", continuous_update=False)
        self.sentence.layout.width = "min(30rem, 98%)"
        self.sentence.style.description_width = "4.2rem"
        self.compare = ipw.ToggleButton(description="side by side", value=False)
        self._desk = Desk.of(tas, image, scene)
        self.left, self.right = (
            Side(self._desk, self.sentence),
            Side(self._desk, self.sentence, "clip_only"),
        )
        left = self.left
        self.preset, self.method, self.mask = left.preset, left.method, left.mask
        self.alpha, self.lam, self.rectifier = left.alpha, left.lam, left.rectifier
        own = tas.preset.weights()
        left.set_weights(own["p"] if alpha is None else alpha, own["n"] if lam is None else lam)
        self.folder = ipw.Text(value=EXPORTS, description="folder")
        self.folder.layout.width = "min(26rem, 98%)"
        self.folder.style.description_width = "4.2rem"
        self.export, self.written = ipw.Button(description="export"), ipw.HTML()
        wrap = ipw.Layout(flex_flow="row wrap", overflow="visible")
        self._sides = ipw.HBox([left], layout=wrap)
        super().__init__(
            [
                ipw.HBox([self.sentence, self.compare], layout=wrap),
                self._sides,
                ipw.HBox([self.folder, self.export], layout=wrap),
                self.written,
            ]
        )
        self.compare.observe(self._show_sides, names="value")
        self.export.on_click(self._export)
        left.redraw()

    @property
    def view(self) -> View | None:
        """What the left side shows, None after a mistake."""
        return self.left.view

    @property
    def answer(self) -> TasAnswer | None:
        """The left side's answer, None of a peer and after a mistake."""
        return None if self.view is None else self.view.answer

    def _show_sides(self, _change: object) -> None:
        sides = (self.left, self.right) if self.compare.value else (self.left,)
        for side in sides:
            side.redraw()
        self._sides.children = sides

    def _export(self, _button: object) -> None:
        folder = paths.RESULTS / self.folder.value
        views = [side.view for side in self._sides.children if side.view is not None]
        try:
            files = [file.name for view in views for file in export(view, folder)]
        except TasError as error:
            self.written.value = f"<b>{escape(str(error))}</b>"
            return
        names = ", ".join(files) or "nothing: there is no answer"
        said = escape(f"written in {folder}: {names}")
        self.written.value = f'<div style="line-height: 1.4; overflow-wrap: anywhere">{said}</div>'


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
        layout = saved.get(state.get("layout", "").removeprefix("IPY_MODEL_"), {}).get("state", {})
        flex = f' style="flex: {escape(layout["flex"])}"' if layout.get("flex") else ""
        look = "row" if kind == "HBoxModel" else "box"
        return f'<div class="{look}"{flex}>{"".join(children)}</div>'
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
