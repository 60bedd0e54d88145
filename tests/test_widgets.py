"""The explorer without a browser: a control answers anew; frozen controls are plain HTML."""

import nbformat
import pytest
from drawn import MASKS, SIZE_HW, TAS, grey, scene_of
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tasutils.widgets import STATE, VIEW, Explorer, describe_choice, freeze


@pytest.fixture
def explorer() -> Explorer:
    scene = scene_of(MASKS, ["a cat", "<img src=x onerror=alert(1)>", "", "a dog", "an owl"])
    return Explorer(TAS, grey(SIZE_HW), scene, "the cat on the left")  # type: ignore[arg-type]


def test_the_explorer_begins_with_the_presets_weights(explorer):
    assert (explorer.alpha.value, explorer.lam.value) == (0.1, 0.2)
    assert explorer.answer.expression.text == "the cat on the left"
    assert bytes(explorer._picture.value).startswith(b"\x89PNG")
    assert bytes(explorer._bars.value).startswith(b"\x89PNG")


def test_each_control_changes_what_it_names(explorer):
    before = explorer._picture.value
    explorer.alpha.value = 0.5
    explorer.lam.value = 0.0
    assert (explorer.answer.alpha, explorer.answer.lam) == (0.5, 0.0)
    explorer.sentence.value = "the owl on the right"
    assert [d.name for d in explorer.answer.expression.directions] == ["right"]
    assert explorer.answer.in_region[explorer.answer.chosen]
    explorer.rectifier.value = False
    assert explorer.answer.in_region.all() and "no rectifier" in explorer._message.value
    assert explorer._picture.value != before


def test_a_mask_can_be_looked_at(explorer):
    before = explorer._picture.value
    explorer.mask.value = 3
    assert explorer._picture.value != before
    assert "mask 3, “a dog”" in explorer._message.value
    explorer.mask.value = -1
    assert explorer._picture.value == before


def test_a_mistake_is_said_and_the_explorer_goes_on(explorer):
    explorer.sentence.value = "   "
    assert explorer.answer is None and "empty" in explorer._message.value
    explorer.sentence.value = "a dog"
    assert explorer.answer is not None


def test_all_text_is_escaped(explorer):
    explorer.mask.value = 1
    explorer.sentence.value = "<script>alert(1)</script>"
    for html in (explorer._message.value, explorer._table.value):
        assert "<img src=x" not in html and "<script>" not in html
    assert "&lt;img" in describe_choice(explorer.answer, 1)


def test_a_scene_without_masks_can_be_explored():
    scene = scene_of(MASKS[:0])
    empty = Explorer(TAS, grey(SIZE_HW), scene, "a cat")  # type: ignore[arg-type]
    assert empty.answer.chosen is None and "no mask" in empty._message.value


def test_frozen_controls_show_what_they_stood_at():
    states = {
        "box": {"model_name": "VBoxModel", "state": {"children": [
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
                 "s <b>&lt;script&gt;</b>", "<i>said</i>", "base64,iVBOR"):  # fmt: skip
        assert part in html
    assert "widgets" not in notebook.metadata
    nbformat.validate(notebook)
