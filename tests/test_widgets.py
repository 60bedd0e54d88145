"""The explorer without a browser: a control answers anew; frozen controls are plain HTML."""

import re
from types import SimpleNamespace

import nbformat
import pytest
from light import MASKS, PRESET, SIZE_HW, TAS, grey, scene_of
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tasutils import baselines, canvas, paths
from tasutils import tas as loading
from tasutils.errors import TasError
from tasutils.explore import FORMS
from tasutils.widgets import STATE, VIEW, Explorer, freeze

CAPTIONS = ["a cat", "<img src=x onerror=alert(1)>", "", "a dog", "an owl"]


@pytest.fixture
def explorer() -> Explorer:
    scene = scene_of(MASKS, CAPTIONS)
    return Explorer(TAS, grey(SIZE_HW), scene, "the cat on the left")  # type: ignore[arg-type]


def shown(side) -> str:
    """What a side of the explorer shows."""
    return side._seen.value


def test_the_explorer_begins_with_the_presets_weights(explorer):
    assert (explorer.alpha.value, explorer.lam.value) == (0.1, 0.2)
    assert (explorer.rectifier.value, explorer.method.value) == ("extended", "tas")
    assert explorer.answer.expression.text == "the cat on the left"
    assert "data:image/jpeg" in explorer.left._sheet.value
    assert f'class="m{explorer.answer.best} first"' in shown(explorer.left)


def test_weights_can_be_given_even_large_ones():
    own = Explorer(TAS, grey(SIZE_HW), scene_of(MASKS), "a cat", 3.5, 0)  # type: ignore[arg-type]
    assert (own.answer.alpha, own.answer.lam) == (3.5, 0.0)


def test_each_control_changes_what_it_names(explorer):
    before = shown(explorer.left)
    explorer.alpha.value = 0.5
    explorer.lam.value = 0.0
    assert (explorer.answer.alpha, explorer.answer.lam) == (0.5, 0.0)
    explorer.sentence.value = "the owl on the right"
    assert [d.name for d in explorer.answer.expression.directions] == ["right"]
    assert explorer.answer.in_region[explorer.answer.best]
    assert "<rect" in shown(explorer.left)
    explorer.rectifier.value = "none"
    assert explorer.answer.in_region.all() and "no rectifier" in shown(explorer.left)
    assert "<rect" not in shown(explorer.left) and shown(explorer.left) != before


def test_a_slider_asks_no_network_and_draws_with_no_matplotlib(explorer, monkeypatch):
    def refuse(*_):
        raise AssertionError("a slider's move must not come here")

    monkeypatch.setattr(type(TAS.encoder), "encode_text", refuse)
    monkeypatch.setattr(canvas.Picture, "__init__", refuse)
    for value in (0.9, 0.0):
        explorer.alpha.value = explorer.lam.value = value
        assert explorer.answer.alpha == explorer.answer.lam == value
    for form in FORMS:
        explorer.rectifier.value = form
        assert explorer.answer.preset.rectifier.form == form


def test_a_mask_can_be_looked_at(explorer):
    before = shown(explorer.left)
    explorer.mask.value = 3
    assert " picked" in shown(explorer.left)
    assert "<p>mask 3, “a dog”" in shown(explorer.left)
    explorer.mask.value = -1
    assert shown(explorer.left) == before


def test_a_mistake_is_said_and_the_explorer_goes_on(explorer):
    explorer.sentence.value = "   "
    assert explorer.answer is None and "empty" in explorer.left.message.value
    explorer.sentence.value = "a dog"
    assert explorer.answer is not None and not explorer.left.message.value


def test_all_text_is_escaped(explorer, monkeypatch):
    def refuse(name, tas):
        raise TasError(f"no <script> for {name}")

    explorer.mask.value = 1
    explorer.sentence.value = "<script>alert(1)</script>"
    monkeypatch.setattr(baselines, "make_method", refuse)
    explorer.method.value = "grad_cam"
    assert "no &lt;script&gt; for grad_cam" in explorer.left.message.value
    for html in (shown(explorer.left), explorer.left.message.value):
        assert "<img src=x" not in html and "<script>" not in html
    assert "&lt;img" in shown(explorer.left)


def test_a_scene_without_masks_can_be_explored():
    scene = scene_of(MASKS[:0])
    empty = Explorer(TAS, grey(SIZE_HW), scene, "a cat")  # type: ignore[arg-type]
    assert empty.answer.best is None and "no mask" in shown(empty.left)


def test_two_methods_stand_side_by_side(explorer):
    assert len(explorer._sides.children) == 1
    explorer.compare.value = True
    assert explorer._sides.children == (explorer.left, explorer.right)
    assert list(explorer.right.view.columns) == ["score"]
    assert explorer.right.alpha.disabled and not explorer.alpha.disabled
    explorer.sentence.value = "an owl"
    said = {side.view.expression.text for side in (explorer.left, explorer.right)}
    assert said == {"an owl"}
    before = explorer.right.view
    explorer.right.alpha.value = 0.9  # CLIP-only has no weights
    assert explorer.right.view is before
    explorer.right.method.value = "tas"
    assert explorer.right.view.answer.alpha == 0.9 != explorer.answer.alpha
    explorer.compare.value = False
    assert explorer._sides.children == (explorer.left,)


def test_a_preset_describes_the_picture_once(explorer, monkeypatch):
    described = []

    def describe(image):
        described.append(image.shape)
        return scene_of(MASKS[:4])

    other = PRESET.override({"terms.p.weight": 0.7, "rectifier.form": "paper"})
    tas = SimpleNamespace(**{**vars(TAS), "preset": other, "describe": describe})
    monkeypatch.setattr(loading, "load", lambda name: tas)
    explorer.mask.value = 4
    explorer.preset.options = [PRESET.name, "photo"]
    for name, n in (("photo", 4), (PRESET.name, 5), ("photo", 4)):
        explorer.preset.value = name
        assert len(explorer.answer.total) == n == len(explorer.mask.options) - 1
        assert explorer.mask.value == -1
    assert described == [(*SIZE_HW, 3)]
    assert (explorer.answer.alpha, explorer.rectifier.value) == (0.7, "paper")


def test_a_preset_that_cannot_be_loaded_is_said(explorer, monkeypatch):
    def load(name):
        raise TasError(f"preset {name}: no <weights>")

    monkeypatch.setattr(loading, "load", load)
    explorer.preset.options = [PRESET.name, "photo"]
    explorer.preset.value = "photo"
    assert explorer.answer is None and "no &lt;weights&gt;" in explorer.left.message.value
    explorer.alpha.value = 0.6
    assert "no &lt;weights&gt;" in explorer.left.message.value
    explorer.preset.value = PRESET.name
    assert explorer.answer is not None and not explorer.left.message.value


def test_only_presets_with_all_their_weights_are_offered(explorer, monkeypatch, tmp_path):
    assert explorer.preset.options[0] == PRESET.name
    assert "tiny" in explorer.preset.options and "paper" not in explorer.preset.options
    monkeypatch.setattr(paths, "WEIGHTS", tmp_path)
    assert "photo" not in explorer._desk.presets()


def test_what_is_seen_can_be_written(explorer, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    explorer.compare.value = True
    explorer.export.click()
    names = sorted(path.name for path in (tmp_path / "explorer").iterdir())
    assert [name[-4:] for name in names] == [".csv", ".png"] * 2
    assert all(name in explorer.written.value for name in names)
    assert str(tmp_path / "explorer") in explorer.written.value
    (tmp_path / "<b>").write_text("")
    explorer.folder.value = str(tmp_path / "<b>")
    explorer.export.click()
    assert "cannot write" in explorer.written.value and "&lt;b&gt;" in explorer.written.value


def test_no_folder_of_this_machine_stands_in_a_saved_page(explorer):
    assert not re.search(r"[/\\]", explorer.folder.value)


def test_frozen_controls_show_what_they_stood_at():
    states = {
        "wide": {"model_name": "LayoutModel", "state": {"flex": "1 1 9rem"}},
        "box": {"model_name": "VBoxModel", "state": {"layout": "IPY_MODEL_wide", "children": [
            f"IPY_MODEL_{name}" for name in ("slider", "check", "pick", "text", "html", "png")]}},
        "slider": {"model_name": "FloatSliderModel",
                   "state": {"description": "alpha", "value": 0.25}},
        "check": {"model_name": "CheckboxModel", "state": {"description": "on?", "value": True}},
        "pick": {"model_name": "DropdownModel",
                 "state": {"description": "mask", "_options_labels": ["none", "<b>"], "index": 1}},
        "text": {"model_name": "TextModel", "state": {"description": "s", "value": "<script>"}},
        "html": {"model_name": "HTMLModel", "state": {"value": "<i>said</i>"}},
        "png": {"model_name": "ImageModel", "state": {"format": "png"},
                "buffers": [{"path": ["value"], "data": "iVBOR", "encoding": "base64"}]},
    }  # fmt: skip
    output = new_output("display_data", {VIEW: {"model_id": "box"}, "text/plain": "VBox()"})
    notebook = new_notebook(cells=[new_code_cell("x", outputs=[output])])
    notebook.metadata["widgets"] = {STATE: {"state": states}}
    html = freeze(notebook).cells[0].outputs[0].data["text/html"]
    for part in ("alpha <b>0.25</b>", "on? <b>on</b>", "mask <b>&lt;b&gt;</b>",
                 "s <b>&lt;script&gt;</b>", "<i>said</i>", "base64,iVBOR",
                 '<div class="box" style="flex: 1 1 9rem">'):  # fmt: skip
        assert part in html
    assert "widgets" not in notebook.metadata
    nbformat.validate(notebook)
