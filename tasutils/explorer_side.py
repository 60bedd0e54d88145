"""One side of the Explorer: a preset and a method with their controls, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw

from tasutils.errors import TasError
from tasutils.explore import FORMS, View, explore, style_sheet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tasutils.baselines import Method
    from tasutils.encoders import ImageTextEncoder
    from tasutils.scene import Scene
    from tasutils.tas import TAS

THE_ANSWER = ("the answer", -1)
_WRAP = ipw.Layout(flex_flow="row wrap", width="100%", overflow="visible")


@dataclass
class Desk:
    """One picture, uint8 (H, W, 3), with all that was made of it: by preset, each made once.

    given: the preset that the Explorer was called with; by its name it is picked again.
    """

    image: np.ndarray
    given: str
    tas: dict[str, TAS]
    scenes: dict[str, Scene]
    methods: dict[tuple[str, str], Method] = field(default_factory=dict)
    askers: dict[str, TAS] = field(default_factory=dict)

    @classmethod
    def of(cls, tas: TAS, image: np.ndarray, scene: Scene) -> Desk:
        """The desk of a picture that one preset described."""
        return cls(image, tas.preset.name, {tas.preset.name: tas}, {tas.preset.name: scene})

    def presets(self) -> list[str]:
        """The given preset, and the shipped ones of which all weights are here."""
        from tasutils.config import load_preset, preset_names

        others = [name for name in preset_names() if name != self.given]
        return [self.given, *(name for name in others if complete(load_preset(name)))]

    def method(self, preset: str, name: str) -> str | Method:
        """What `explore` is to be told; peers are kept, since they remember the picture."""
        from tasutils.baselines import make_method

        if name == "tas":
            return name
        if (preset, name) not in self.methods:
            self.methods[preset, name] = make_method(name, self.tas[preset])
        return self.methods[preset, name]

    def describe(self, preset: str) -> None:
        """Load a preset and describe the picture with it, unless that was done before."""
        from tasutils.tas import TAS, load

        if preset not in self.tas:
            self.tas[preset] = load(preset)
        tas = self.tas[preset]
        if preset not in self.scenes:
            self.scenes[preset] = tas.describe(self.image)
        if preset not in self.askers:
            encoder: Any = Remembering(tas.encoder)
            self.askers[preset] = TAS(tas.preset, encoder=encoder, language=tas.language)


def complete(preset: Any) -> bool:
    """Whether all files are here that a preset needs for TAS itself."""
    paths = preset.weight_paths().items()
    return all(path.exists() for name, path in paths if not name.startswith("peer_encoder."))


class Remembering:
    """An encoder that embeds no sentence twice, so that a slider's move asks no network."""

    def __init__(self, encoder: ImageTextEncoder) -> None:
        self._encoder = encoder
        self._known: dict[tuple[str, ...], NDArray[np.float32]] = {}

    def encode_text(self, texts: list[str]) -> NDArray[np.float32]:
        """As the encoder's own."""
        key = tuple(texts)
        if key not in self._known:
            self._known[key] = self._encoder.encode_text(texts)
        return self._known[key]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)


class Side(ipw.VBox):
    """Preset, method, weights and rectifier, and the view that they give of a sentence.

    Args:
        desk: the picture, shared by both sides.
        sentence: the control that holds the sentence.
        method: to begin with.

    Attributes:
        preset, method, alpha, lam, rectifier, mask: the controls; setting `.value` answers anew.
        view: the latest `View`, None after a mistake; message: what is to be said beside it.
    """

    def __init__(self, desk: Desk, sentence: ipw.Text, method: str = "tas") -> None:
        from tasutils.baselines import method_names

        self._desk, self._sentence, self._settling = desk, sentence, False
        self._asked: tuple[object, ...] = ()
        self.view: View | None = None
        pick = {"layout": ipw.Layout(width="13rem"), "style": {"description_width": "4.2rem"}}
        self.preset = ipw.Dropdown(options=desk.presets(), description="preset", **pick)
        self.method = ipw.Dropdown(
            options=method_names(), value=method, description="method", **pick
        )
        self.alpha, self.lam = _slider("alpha (P)"), _slider("lambda (N)")
        self.rectifier = ipw.ToggleButtons(
            options=FORMS, description="rectifier",
            style={"button_width": "auto", "description_width": "4.2rem"},
            layout=ipw.Layout(display="flex", flex_flow="row wrap", align_items="baseline"),
        )  # fmt: skip
        self.mask = ipw.Dropdown(options=[THE_ANSWER], description="look at", style=pick["style"])
        self.mask.layout.width = "min(26rem, 98%)"
        self.message, self._sheet, self._seen = ipw.HTML(), ipw.HTML(), ipw.HTML()
        for shown in (self.message, self._seen):
            shown.layout = ipw.Layout(width="auto")
        self._sheet.layout.display = "none"
        super().__init__(
            [
                ipw.HBox([self.preset, self.method], layout=_WRAP),
                ipw.HBox([self.alpha, self.lam], layout=_WRAP),
                self.rectifier, self.mask, self.message, self._sheet, self._seen,
            ],
            layout=ipw.Layout(flex="1 1 18rem", min_width="0", margin="0 1rem 0 0"),
        )  # fmt: skip
        self._settle()
        self.preset.observe(self._change_preset, names="value")
        for control in (sentence, self.method, self.alpha, self.lam, self.rectifier, self.mask):
            control.observe(self.redraw, names="value")

    def redraw(self, _change: object = None) -> None:
        """Answer the sentence by the controls as they stand; a mistake is said, the view stays."""
        if self._settling:
            return
        name, own, picked = self.preset.value, self.method.value == "tas", self.mask.value
        for control in (self.alpha, self.lam, self.rectifier):
            control.disabled = not own
        weights = (self.alpha.value, self.lam.value, self.rectifier.value)
        asked = (name, self.method.value, self._sentence.value, picked, *(weights if own else ()))
        if asked == self._asked:  # a peer minds no weights
            return
        self._asked = asked
        try:
            self._desk.describe(name)
            self.view = explore(
                self._desk.askers[name], self._desk.image, self._desk.scenes[name],
                self._sentence.value, method=self._desk.method(name, self.method.value),
                alpha=weights[0], lam=weights[1], form=weights[2],
                picked=None if picked < 0 else picked,
            )  # fmt: skip
        except TasError as error:
            self._say(error)
            return
        self.message.value, self._seen.value = "", self.view.html

    def _change_preset(self, _change: object) -> None:
        name = self.preset.value
        if name not in self._desk.scenes:
            self.message.value = f"<i>{escape(name)} describes the picture, this once …</i>"
        try:
            self._desk.describe(name)
        except TasError as error:
            self._say(error)
            return
        self._settle()
        self.redraw()

    def _say(self, error: TasError) -> None:
        self.view, self.message.value = None, f"<b>{escape(str(error))}</b>"

    def _settle(self) -> None:
        """Put the controls where the preset has them, and its picture under the drawings."""
        preset, scene = (
            self._desk.tas[self.preset.value].preset,
            self._desk.scenes[self.preset.value],
        )
        self._settling = True
        self.set_weights(preset.weights()["p"], preset.weights(None)["n"])
        self.rectifier.value = preset.rectifier.form
        numbers = [(f"{i}: {text}", i) for i, text in enumerate(scene.captions)]
        self.mask.options = [THE_ANSWER, *numbers]
        self._sheet.value = style_sheet(self._desk.image, scene)
        self._settling = False

    def set_weights(self, alpha: float, lam: float) -> None:
        """Move both sliders; their ends move with a weight beyond them."""
        for slider, value in ((self.alpha, alpha), (self.lam, lam)):
            slider.max = max(1.0, value)
            slider.value = value


def _slider(name: str) -> ipw.FloatSlider:
    return ipw.FloatSlider(
        min=0.0, max=1.0, step=0.01, description=name, readout_format=".2f",
        layout=ipw.Layout(width="19rem"), style={"description_width": "4.6rem"},
    )  # fmt: skip
