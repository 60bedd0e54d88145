"""What is to be seen of one sentence: explore() as a value, and the Explorer with its controls.

The drawing has no script: a mask under the mouse is told by the browser's own tooltip, and lit by a
style sheet, which also carries the picture. Text of others is escaped everywhere.
"""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import ipywidgets as ipw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasutils import paths
from tasutils.config import load_preset, preset_names
from tasutils.errors import TasError
from tasutils.rectifier import RECTIFIERS
from tasutils.refer import parse_expression, refer
from tasutils.scene import said
from tasutils.show import ANSWER, label_points, region_left_out, save_overlay

if TYPE_CHECKING:
    from tasutils.scene import Scene
    from tasutils.tas import TAS

TRACED_PX, SHOWN_PX = 480, 960  # longest sides of the masks that are traced, and of the picture
LABELS = {"p": "alpha (P)", "n": "lambda (N)"}  # the article's names of two weights
TEMPLATES = Path(__file__).with_name("report_template")


@lru_cache(maxsize=8)
def outlines(scene: Scene) -> tuple[list[str], list[tuple[float, float]]]:
    """The masks of a scene as SVG paths in px of the picture, and where a number can stand in each.

    Of large pictures squares are traced that have any of the mask.
    """
    step = -(-max(scene.size_hw) // TRACED_PX)
    (height, width), masks = scene.size_hw, scene.proposals.masks()
    full = np.pad(masks, ((0, 0), (0, -height % step), (0, -width % step)))
    squares = full.reshape(len(full), -(-height // step), step, -(-width // step), step)
    small = np.asarray(squares.any(axis=(2, 4)))  # (n, h, w)
    points = label_points(small, scene.proposals.centers_xy / step)
    return [trace(m, step) for m in small], [
        ((x + 0.5) * step, (y + 0.5) * step) for x, y in points
    ]


def trace(mask: NDArray[np.bool_], step: int = 1) -> str:
    """The borders of a mask (h, w) of px `step` wide, as the `d` of an SVG path, by even-odd.

    >>> trace(np.ones((2, 2), bool), 4)
    'M1 1 1 7 7 7 7 1z'
    """
    doubled = mask.repeat(2, axis=0).repeat(2, axis=1).astype(np.uint8)  # so that 1 px has an area
    loops, _ = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parts = []
    for loop in loops:
        smooth = cv2.approxPolyDP(loop, 1.0, True)
        corners = (smooth if len(smooth) > 2 else loop)[:, 0] * (step / 2) + step / 4
        parts.append("M" + " ".join(f"{value:g}" for value in corners.ravel()) + "z")
    return "".join(parts)


def style_sheet(image: NDArray[np.uint8], scene: Scene) -> str:
    """The style sheet of all views of a picture (H, W, 3), which lies in it, and its scene."""
    from PIL import Image

    picture, buffer = Image.fromarray(image), io.BytesIO()
    picture.thumbnail((SHOWN_PX, SHOWN_PX))
    picture.save(buffer, format="JPEG", quality=85)
    data, name = base64.b64encode(buffer.getvalue()).decode("ascii"), _class(image, scene)
    lit = [
        f".{name}:has(tr.m{i}:hover) path.m{i} {{ fill-opacity: .5; stroke-opacity: 1; }}"
        f".{name}:has(path.m{i}:hover) tr.m{i} {{ box-shadow: inset 0 0 0 2px {ANSWER}; }}"
        for i in range(len(scene.proposals))
    ]
    under = f'.{name} .tas-svg {{ background-image: url("data:image/jpeg;base64,{data}"); }}'
    style = (TEMPLATES / "explorer.css").read_text(encoding="utf-8")
    return f"<style>{style}{under}\n{''.join(lit)}</style>"


def _class(image: NDArray[np.uint8], scene: Scene) -> str:
    """A name for style sheets, the same for the same picture (H, W, 3) and masks."""
    step = -(-max(image.shape[:2]) // 128)
    number = zlib.crc32(np.ascontiguousarray(image[::step, ::step]).tobytes())
    for rle in scene.proposals.rles:
        number = zlib.crc32(str(rle["counts"]).encode(), number)
    return f"tas-{number:08x}"


@cache
def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    environment.filters["said"] = said
    return environment.get_template("explorer.html.j2").module


@dataclass(frozen=True, eq=False)
class View:
    """What is seen of an answer, of any method, over a picture, uint8 (H, W, 3), with n masks.

    picked: a mask that is looked at. Of the answer it has scene, expression, best and mask() too.
    """

    preset: str
    method: str
    image: NDArray[np.uint8]
    answer: Any
    picked: int | None = None

    def __getattr__(self, name: str) -> Any:
        if name in ("scene", "expression", "best", "chosen", "mask"):
            return getattr(self.answer, name)
        raise AttributeError(name)

    @property
    def columns(self) -> dict[str, NDArray[np.float64]]:
        """The numbers of each mask, float64 (n,): terms, and their sum where there are several."""
        found = dict(self.answer.terms)
        if self.answer.total is not None and len(found) != 1:
            found["total"] = self.answer.total
        return found

    @cached_property
    def rank(self) -> NDArray[np.int64]:
        """The place of each mask, int64 (n,), 1 is the best; chosen ones come first."""
        if hasattr(self.answer, "rank"):
            return np.asarray(self.answer.rank)
        n = len(self.scene.proposals)
        total = np.zeros(n) if self.answer.total is None else self.answer.total
        order = np.lexsort((-total, ~np.isin(np.arange(n), self.answer.chosen)))
        return np.argsort(order) + 1

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Which masks may win, bool (n,); only TAS knows a region."""
        everywhere = np.ones(len(self.scene.proposals), bool)
        return np.asarray(getattr(self.answer, "in_region", everywhere))

    @property
    def reason(self) -> str:
        """Why, in a line."""
        answer, best = self.answer, self.answer.best
        if hasattr(answer, "reason"):
            return str(answer.reason)
        if not len(self.scene.proposals):
            return "no mask was proposed in this picture, so there is nothing to choose"
        if answer.own_mask is not None:
            return "; ".join([f"{self.method} drew a mask of its own", *answer.notes])
        if best is None:
            return f"{self.method} says that nothing here is meant"
        if answer.total is None:
            return f"{self.method} chose mask {', '.join(map(str, answer.chosen))}"
        return f"mask {best} has the highest score of {self.method}: {answer.total[best]:.4g}"

    def table(self) -> pd.DataFrame:
        """A row a mask, best first, index "mask": columns, in_region, rank, caption, area_px."""
        found = pd.DataFrame(self.columns, index=pd.RangeIndex(len(self.rank), name="mask"))
        captions = pd.Series(list(self.scene.captions), found.index, dtype="str")
        found = found.assign(in_region=self.inside, rank=self.rank, caption=captions)
        return found.assign(area_px=self.scene.proposals.areas_px).sort_values("rank")

    @cached_property
    def svg(self) -> str:
        """The picture's drawing, to be laid over the picture of `style_sheet`."""
        dark = left_out(self.answer) if getattr(self.answer, "rectified", False) else ""
        own = "" if self.answer.own_mask is None else trace(self.mask())
        return str(_template().svg(self, *outlines(self.scene), dark, own))

    @property
    def html(self) -> str:
        """Drawing, reason, negatives and table; the picture itself comes from `style_sheet`."""
        name = _class(self.image, self.scene)
        return f'<div class="tas-view {name}">{self.svg}{_template().rest(self)}</div>'

    def _repr_html_(self) -> str:
        return style_sheet(self.image, self.scene) + self.html

    def export(self, folder: str | Path) -> tuple[Path, Path]:
        """Write picture (PNG) and table (CSV) into a folder, beside what is there, or TasError."""
        place = Path(folder).expanduser()
        try:
            place.mkdir(parents=True, exist_ok=True)
            taken = [int(p.stem[:2]) for p in place.glob("[0-9][0-9]*.csv") if p.stem[:2].isdigit()]
            name = f"{self.preset} {self.method} {self.expression.text}"
            stem = place / paths.slug(1 + max(taken, default=0), name)
            picture, table = stem.with_suffix(".png"), stem.with_suffix(".csv")
            self.table().to_csv(table)
        except OSError as error:
            reason = f"{error.strerror}; choose another folder"
            raise TasError(f"cannot write in {place}: {reason}") from None
        save_overlay(picture, self.image, self, picked=self.picked)
        return picture, table


def left_out(answer: Any) -> str:
    """Where no mask may win, as the `d` of an SVG path."""
    step = -(-max(answer.scene.size_hw) // TRACED_PX)
    return trace(region_left_out(answer, step), step)


def explore(
    tas: TAS, image: NDArray[np.uint8], scene: Scene, sentence: str, *, method: Any = "tas",
    weights: Mapping[str, float] | None = None, form: str | None = None, picked: int | None = None,
) -> View:  # fmt: skip
    """Answer a sentence and draw what there is to see, without matplotlib and within milliseconds.

    image: uint8 (H, W, 3), described by scene; method: a name of `METHODS`, or a method made
    before, which need not look at the picture again; weights, form: of terms and rectifier in place
    of the preset's, peers have neither; picked: a mask to tell of. TasError: what cannot be used.
    """
    from tasutils.baselines import answers_of, check_picture, make_method

    check_picture(scene, image)
    n = len(scene.proposals)
    if picked is not None and not 0 <= picked < n:
        raise TasError(f"no mask {picked}; the picture has {n}, numbered from 0")
    if form is not None and form not in RECTIFIERS:
        raise TasError(f"no rectifier form {form!r}; choose among {', '.join(RECTIFIERS)}")
    preset = tas.preset
    if method != "tas":
        peer = make_method(method, tas) if isinstance(method, str) else method
        expression = parse_expression(sentence, tas.language, preset)
        (found,) = answers_of(peer, scene, [expression], image)
        return View(preset.name, peer.name, image, found, picked)
    if form is not None and form != preset.rectifier.form:
        preset = preset.override({"rectifier.form": form})
    answer = refer(scene, sentence, tas.encoder, tas.language, preset, weights=weights)
    return View(preset.name, "tas", image, answer, picked)


def still(widget: ipw.Widget) -> str:
    """A control and those in it as they stand, as HTML."""
    if isinstance(widget, ipw.Box):
        look = "row" if isinstance(widget, ipw.HBox) else "box"
        flex = f' style="flex: {escape(widget.layout.flex)}"' if widget.layout.flex else ""
        return f'<div class="{look}"{flex}>{"".join(map(still, widget.children))}</div>'
    if isinstance(widget, ipw.HTML):
        return str(widget.value)
    value = getattr(widget, "label", None) or getattr(widget, "value", None)
    if value is None:
        return ""
    if isinstance(value, bool):
        value = "on" if value else "off"
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    return f'<div class="control">{escape(widget.description)} <b>{escape(shown)}</b></div>'


class Explorer(ipw.VBox):
    """Play with a sentence over one picture: presets, methods, weights, the rectifier.

    A preset describes the picture when it is first picked; from then on each move of a control only
    asks again. A page without a kernel gets the controls as they stand. image: uint8 (H, W, 3),
    described by scene; weights: of terms by name, in place of the preset's.
    """

    def __init__(
        self, tas: TAS, image: NDArray[np.uint8], scene: Scene, sentence: str,
        weights: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        self.image, self._given, name = image, (tas, scene), tas.preset.name
        self.describe, self.method = cache(self._describe), cache(self._method)
        self.sentence = ipw.Text(sentence, description="sentence", continuous_update=False)
        self.compare = ipw.ToggleButton(False, description="side by side")
        self.left, self.right = Side(self, name, "tas"), Side(self, name, "clip_only")
        self.left.set_weights(weights or {})
        self.folder = ipw.Text("explorer", description="folder")
        for text in (self.sentence, self.folder):
            text.layout.width, text.style.description_width = "min(30rem, 98%)", "4.2rem"
        self.export, self.written = ipw.Button(description="export"), ipw.HTML()
        self._sides = ipw.HBox([self.left], layout=_WRAP)
        super().__init__([
            ipw.HBox([self.sentence, self.compare], layout=_WRAP), self._sides,
            ipw.HBox([self.folder, self.export], layout=_WRAP), self.written,
        ])  # fmt: skip
        self.compare.observe(self._show_sides, names="value")
        self.export.on_click(self._export)
        self.left.redraw()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        bundle = super()._repr_mimebundle_(**options)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        return {**data, "text/html": f'<div class="tas-frozen">{still(self)}</div>'}

    def presets(self) -> list[str]:
        """The presets of which all weights are here that TAS itself needs, the given one first."""
        found = [self._given[0].preset.name]
        for name in preset_names():
            needed = load_preset(name).weight_paths().items()
            if all(p.exists() for part, p in needed if not part.startswith("peer_encoder.")):
                found.append(name)
        return list(dict.fromkeys(found))

    def _describe(self, preset: str) -> tuple[TAS, Scene]:
        """A preset and what it says of the picture."""
        from tasutils import tas as room

        tas, scene = self._given
        if preset != tas.preset.name:
            tas = room.load(preset)
            scene = tas.describe(self.image)
        encoder: Any = Remembering(tas.encoder)
        return room.TAS(tas.preset, encoder=encoder, language=tas.language), scene

    def _method(self, preset: str, name: str) -> Any:
        """What `explore` is to be told; peers are kept, since they remember the picture."""
        from tasutils.baselines import make_method

        return name if name == "tas" else make_method(name, self.describe(preset)[0])

    def _show_sides(self, _change: object) -> None:
        sides = (self.left, self.right) if self.compare.value else (self.left,)
        for side in sides:
            side.redraw()
        self._sides.children = sides

    def _export(self, _button: object) -> None:
        folder = paths.RESULTS / self.folder.value
        views = [side.view for side in self._sides.children if side.view is not None]
        try:
            files = [file.name for view in views for file in view.export(folder)]
        except TasError as error:
            self.written.value = f"<b>{escape(str(error))}</b>"
            return
        told = f"written in {folder}: {', '.join(files) or 'nothing: there is no answer'}"
        self.written.value = f'<div style="overflow-wrap: anywhere">{escape(told)}</div>'


class Remembering:
    """An encoder that embeds no sentence twice, so that a slider's move asks no network."""

    def __init__(self, encoder: Any) -> None:
        known = cache(lambda texts: encoder.encode_text(list(texts)))
        self._encoder, self.encode_text = encoder, lambda texts: known(tuple(texts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)


_WRAP = ipw.Layout(flex_flow="row wrap", width="100%", overflow="visible")
_ANSWER = ("the answer", -1)


class Side(ipw.VBox):
    """One side of the Explorer: a preset and a method with their controls, and what they answer."""

    def __init__(self, explorer: Explorer, preset: str, method: str) -> None:
        from tasutils.baselines import METHODS, lacking

        self._explorer, self._settling, self._asked = explorer, False, ()
        self.view: View | None = None
        pick = {"layout": ipw.Layout(width="13rem"), "style": {"description_width": "4.2rem"}}
        self.preset = ipw.Dropdown(options=explorer.presets(), description="preset", **pick)
        here = [name for name in METHODS if not lacking(name)]
        self.method = ipw.Dropdown(options=here, value=method, description="method", **pick)
        self.weights: dict[str, ipw.FloatSlider] = {}
        self._sliders = ipw.HBox(layout=_WRAP)
        self.rectifier = ipw.ToggleButtons(
            options=list(RECTIFIERS), description="rectifier",
            style={"button_width": "auto", "description_width": "4.2rem"},
            layout=ipw.Layout(display="flex", flex_flow="row wrap", align_items="baseline"),
        )  # fmt: skip
        self.mask = ipw.Dropdown(options=[_ANSWER], description="look at", style=pick["style"])
        self.mask.layout.width = "min(26rem, 98%)"
        self.message, self.sheet, self.shown = ipw.HTML(), ipw.HTML(), ipw.HTML()
        self.message.layout.width = self.shown.layout.width = "auto"
        self.sheet.layout.display = "none"
        super().__init__(
            [
                ipw.HBox([self.preset, self.method], layout=_WRAP), self._sliders, self.rectifier,
                self.mask, self.message, self.sheet, self.shown,
            ],
            layout=ipw.Layout(flex="1 1 18rem", min_width="0", margin="0 1rem 0 0"),
        )  # fmt: skip
        self._settle()
        self.preset.observe(self._change_preset, names="value")
        for control in (explorer.sentence, self.method, self.rectifier, self.mask):
            control.observe(self.redraw, names="value")

    def redraw(self, _change: object = None) -> None:
        """Answer the sentence by the controls as they stand; a mistake is said, the view stays."""
        if self._settling:
            return
        own, picked = self.method.value == "tas", self.mask.value
        for control in (*self.weights.values(), self.rectifier):
            control.disabled = not own
        weights = {name: slider.value for name, slider in self.weights.items()}
        asked: Any = (self.preset.value, self.method.value, self._explorer.sentence.value, picked)
        asked += (str(weights), self.rectifier.value) if own else ()  # a peer minds neither
        if asked == self._asked:
            return
        self._asked = asked
        with self._told():
            tas, scene = self._explorer.describe(self.preset.value)
            self.view = explore(
                tas, self._explorer.image, scene, self._explorer.sentence.value, weights=weights,
                method=self._explorer.method(self.preset.value, self.method.value),
                form=self.rectifier.value, picked=None if picked < 0 else picked,
            )  # fmt: skip
            self.message.value, self.shown.value = "", self.view.html

    def _change_preset(self, _change: object) -> None:
        self.message.value = (
            f"<i>{escape(self.preset.value)} describes the picture, this once …</i>"
        )
        with self._told():
            self._settle()
            self.message.value = ""
            self.redraw()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """A mistake is said, and there is no view."""
        try:
            yield
        except TasError as error:
            self.view, self.message.value = None, f"<b>{escape(str(error))}</b>"

    def _settle(self) -> None:
        """Put the controls where the preset has them, and its picture under the drawings."""
        tas, scene = self._explorer.describe(self.preset.value)
        self._settling = True
        own = {name: weight for name, weight in tas.preset.weights().items() if name != "v"}
        look = {"layout": ipw.Layout(width="19rem"), "style": {"description_width": "4.6rem"}}
        self.weights = {
            name: ipw.FloatSlider(
                min=0.0, max=1.0, step=0.01, description=LABELS.get(name, name.upper()), **look
            )
            for name in own
        }
        self.set_weights(own)
        for slider in self.weights.values():
            slider.observe(self.redraw, names="value")
        self._sliders.children = tuple(self.weights.values())
        self.rectifier.value = tas.preset.rectifier.form
        numbers = [(f"{i}: {said(text)}", i) for i, text in enumerate(scene.captions)]
        self.mask.options = [_ANSWER, *numbers]
        self.sheet.value = style_sheet(self._explorer.image, scene)
        self._settling = False

    def set_weights(self, weights: Mapping[str, float]) -> None:
        """Move sliders; their ends move with a weight beyond them."""
        for name, value in weights.items():
            if name not in self.weights:
                raise TasError(f"no slider for term {name!r}; there are {', '.join(self.weights)}")
            self.weights[name].max = max(1.0, value)
            self.weights[name].value = value
