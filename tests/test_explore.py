"""Views and the Explorer without a browser: what they hold and draw, all text only text."""

import re
from types import SimpleNamespace
from xml.etree import ElementTree

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from light import MASKS, PRESET, SIZE_HW, TAS, grey, scene_of
from PIL import Image
from shown import Tags

from tasutils import baselines, show, terms
from tasutils import tas as tas_room
from tasutils.errors import TasError
from tasutils.explore import Explorer, explore, left_out, trace
from tasutils.masks import encode_rle
from tasutils.rectifier import RECTIFIERS
from tasutils.refer import Answer, refer, region

HOSTILE = '<img src=x onerror="alert(1)"> & "left" </style></svg><script>alert(2)</script>'
SCENE = scene_of(MASKS, ["a cat", HOSTILE, "", "a dog", "an owl"])


def look(sentence="the cat on the left", **settings):
    return explore(TAS, grey(SIZE_HW), SCENE, sentence, **settings)


def test_a_view_is_the_answer_of_refer():
    weights = {"p": 0.3, "n": 0.7}
    view = look(weights=weights)
    answer = refer(SCENE, "the cat on the left", TAS.encoder, TAS.language, PRESET, weights=weights)
    assert view.best == answer.best and view.reason == answer.reason
    table = view.table()
    pd.testing.assert_frame_equal(table.sort_index(), answer.table())
    assert table["rank"].tolist() == [1, 2, 3, 4, 5]
    assert (view.mask() == answer.mask()).all()


def test_a_peer_ranks_by_its_own_scores():
    view = look(method="clip_only")
    assert list(view.columns) == ["score"] and view.inside.all()
    assert view.columns["score"] == pytest.approx(look().columns["v"])
    ranked = view.table()["score"]
    assert ranked.is_monotonic_decreasing and ranked.index[0] == view.best
    assert "clip_only" in view.reason and "negatives" not in view.html


@pytest.mark.parametrize("method", ["tas", "clip_only"])
def test_a_chip_tells_each_thing_that_a_sentence_asks_for(method):
    html = look("the biggest cat left of the dog", method=method).html
    chips = re.findall(r'<span class="ask">(.*?)</span>', html)
    assert chips == ["size: biggest", "relation: left of dog"]
    assert 'class="ask"' not in look("the cat", method=method).html


class Chooser:
    """Chooses masks without scores, or draws one of its own."""

    name = "chooser"

    def __init__(self, chosen=(), own=None):
        self.chosen, self.own = chosen, own

    def answer(self, scene, expressions, image):
        return [Answer(e, scene, self.chosen, own_mask=self.own) for e in expressions]


def test_several_masks_none_or_one_of_its_own_are_shown():
    two = look(method=Chooser((1, 3)))
    assert two.table().index[:2].tolist() == [1, 3] and "chose mask 1, 3" in two.reason
    paths_ = ElementTree.fromstring(two.svg).findall("path")
    assert sum("first" in path.get("class") for path in paths_) == 2
    assert (two.mask() == MASKS[1] | MASKS[3]).all()
    none = look(method=Chooser())
    assert none.best is None and "nothing here is meant" in none.reason and not none.mask().any()
    own = look(method=Chooser(own=encode_rle(MASKS[:1])[0]))
    assert (own.mask() == MASKS[0]).all() and 'class="first"' in own.svg


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"sentence": "  "}, "empty"),
        ({"method": "clip"}, "clip"),
        ({"form": "left"}, "no rectifier form 'left'; choose among "),
        ({"weights": {"q": 1}}, "no term 'q'"),
        ({"picked": 5}, "no mask 5; the picture has 5"),
    ],
)
def test_mistakes_are_one_line(asked, message):
    with pytest.raises(TasError, match=message):
        look(**asked)


@pytest.mark.parametrize("method", ["tas", "text_only"])
def test_whatever_is_written_is_shown_as_text(method):
    view = look(HOSTILE, method=method, picked=1)
    parser = Tags(view.html)
    assert parser.tags <= {"div", "svg", "path", "title", "text", "p", "b", "br", "s",
                           "span", "table", "thead", "tbody", "tr", "th", "td"}  # fmt: skip
    assert not {name for name in parser.names if name.startswith("on")}
    assert parser.text.count(HOSTILE) >= 3  # tooltip, picked mask, table
    label = ElementTree.fromstring(view.svg).get("aria-label")
    assert HOSTILE.split()[0] in label


def test_the_drawing_tells_of_every_mask():
    view = look(picked=3)
    paths_ = ElementTree.fromstring(view.svg).findall("path")
    names = {path.get("class").split()[0]: path.get("class").split()[1:] for path in paths_}
    assert names.pop("dark") == [] and set(names) == {f"m{i}" for i in range(5)}
    assert [name for name, looks in names.items() if "first" in looks] == [f"m{view.best}"]
    assert [name for name, looks in names.items() if "picked" in looks] == ["m3"]
    assert {int(name[1]) for name in names if "out" not in names[name]} == set(
        np.flatnonzero(view.inside)
    )
    told = {path.get("class").split()[0]: path.findtext("title") for path in paths_}
    assert "“a dog”" in told["m3"] and f"rank {view.rank[3]} of 5" in told["m3"]
    assert f"{view.columns['total'][3]:.3f}" in told["m3"] and "(no caption)" in told["m2"]


def filled(path: str, size_hw: tuple[int, int], scale: int = 4) -> np.ndarray:
    """Bool (H, W): the pixels whose middle an SVG path holds, by even-odd."""
    loops = [
        np.array(part.rstrip("z").split(), float).reshape(-1, 2) * scale
        for part in path.split("M")[1:]
    ]
    canvas = np.zeros((size_hw[0] * scale, size_hw[1] * scale), np.uint8)
    cv2.fillPoly(canvas, [np.round(loop).astype(np.int32) for loop in loops], 1)
    return canvas[scale // 2 :: scale, scale // 2 :: scale] > 0


@pytest.mark.parametrize("mask", [
    *MASKS, np.pad(np.ones((1, 1), bool), 3), np.eye(9, dtype=bool), ~MASKS[0],
])  # fmt: skip
def test_an_outline_is_its_mask(mask):
    assert np.count_nonzero(filled(trace(mask), mask.shape) ^ mask) <= 0.02 * mask.size


WORDS = ["dog", "on the left", "right", "top", "at the bottom", "upper", "lower left", "middle"]
CHANGES = st.fixed_dictionaries({
    "rectifier.form": st.sampled_from(list(RECTIFIERS)),
    "rectifier.cut": st.sampled_from(["middle", "median"]),
    "rectifier.centers": st.sampled_from(["mean", "floor"]),
})  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=3), CHANGES)
def test_dark_is_just_what_the_rectifier_leaves_out(words, changes):
    preset = PRESET.override(changes)
    answer = refer(SCENE, " ".join(["the", *words]), TAS.encoder, TAS.language, preset)
    y, x = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    inside, _ = region(SCENE, answer.expression, answer.preset, points)
    dark = filled(left_out(answer), SIZE_HW)
    assert np.count_nonzero(dark ^ ~inside.reshape(SIZE_HW)) <= sum(SIZE_HW)


def test_a_picture_without_masks_has_a_view():
    scene = scene_of(MASKS[:0])
    for method in ("tas", "clip_only"):
        view = explore(TAS, grey(SIZE_HW), scene, "a cat", method=method)
        assert view.best is None and "no mask" in view.reason and not view.mask().any()
        assert "<path" not in view.html and len(view.table()) == 0


@pytest.mark.parametrize("method", ["tas", "clip_only"])
def test_picture_and_table_are_written_beside_earlier_ones(tmp_path, method):
    view = look(f"{HOSTILE} /../.. on the right", method=method, picked=2)
    first, second = view.export(tmp_path / "new"), view.export(tmp_path / "new")
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert len(names) == 4 and all(re.fullmatch(r"0[12]-[a-z0-9-]+\.(png|csv)", n) for n in names)
    assert names == sorted(path.name for path in (*first, *second))
    assert names[0].startswith(f"01-tiny-{method.replace('_', '-')}-img-src")
    again = pd.read_csv(first[1], index_col="mask", keep_default_na=False)
    pd.testing.assert_frame_equal(again, view.table(), check_dtype=False)
    assert Image.open(first[0]).size[0] > 500
    (tmp_path / "file").write_text("")
    with pytest.raises(TasError, match=r"cannot write .*choose another folder"):
        view.export(tmp_path / "file" / "x")


# --- the Explorer ---


@pytest.fixture
def explorer() -> Explorer:
    return Explorer(TAS, grey(SIZE_HW), SCENE, "the cat on the left")  # type: ignore[arg-type]


def test_each_control_changes_what_it_names(explorer):
    left = explorer.left
    left.weights["p"].value, left.weights["n"].value = 0.5, 0.0
    assert left.view.answer.weights == {"v": 1, "p": 0.5, "n": 0}
    explorer.sentence.value = "the owl on the right"
    assert [d.name for d in left.view.expression.directions] == ["right"]
    assert left.view.inside[left.view.best] and 'class="dark"' in left.shown.value
    left.rectifier.value = "none"
    assert left.view.inside.all() and "no rectifier" in left.shown.value
    assert 'class="dark"' not in left.shown.value


def refuse(*_):
    """In place of what must not be called, or fails."""
    raise TasError("no <script> here")


def test_a_slider_asks_no_network_and_draws_with_no_matplotlib(explorer, monkeypatch):
    left = explorer.left
    monkeypatch.setattr(type(TAS.encoder), "encode_text", refuse)
    monkeypatch.setattr(show.Picture, "__init__", refuse)
    for value in (0.9, 0.0):
        left.weights["p"].value = left.weights["n"].value = value
        assert left.view.answer.weights == {"v": 1, "p": value, "n": value}
    for form in RECTIFIERS:
        left.rectifier.value = form
        assert left.view.answer.preset.rectifier.form == form


def test_all_text_is_escaped(explorer, monkeypatch):
    left = explorer.left
    left.mask.value = 1
    explorer.sentence.value = "<script>alert(1)</script>"
    monkeypatch.setattr(baselines, "make_method", refuse)
    left.method.value = "grad_cam"
    assert left.message.value == "<b>no &lt;script&gt; here</b>"
    assert "<img src=x" not in left.shown.value and "<script>" not in left.shown.value
    assert "&lt;img" in left.shown.value


def test_two_methods_stand_side_by_side(explorer):
    left, right = explorer.left, explorer.right
    explorer.compare.value = True
    assert list(right.view.columns) == ["score"]
    assert right.weights["p"].disabled and not left.weights["p"].disabled
    explorer.sentence.value = "an owl"
    assert {side.view.expression.text for side in (left, right)} == {"an owl"}
    before = right.view
    right.weights["p"].value = 0.9  # CLIP-only has no weights
    assert right.view is before
    right.method.value = "tas"
    assert right.view.answer.weights["p"] == 0.9 != left.view.answer.weights["p"]


def test_a_preset_describes_the_picture_once_and_a_mistake_is_said(explorer, monkeypatch):
    described, left = [], explorer.left

    def describe(image):
        described.append(image.shape)
        return scene_of(MASKS[:4])

    other = PRESET.override({"terms.p.weight": 0.7, "rectifier.form": "paper"})
    tas = SimpleNamespace(**{**vars(TAS), "preset": other, "describe": describe})

    def load(name):
        if name == "paper":
            raise TasError(f"preset {name}: no <weights>")
        return tas

    monkeypatch.setattr(tas_room, "load", load)
    left.mask.value = 4
    left.preset.options = [PRESET.name, "photo", "paper"]
    for name, n in (("photo", 4), (PRESET.name, 5), ("photo", 4)):
        left.preset.value = name
        assert len(explorer.left.view.rank) == n == len(left.mask.options) - 1
        assert left.mask.value == -1
    assert described == [(*SIZE_HW, 3)]
    assert (explorer.left.view.answer.weights["p"], left.rectifier.value) == (0.7, "paper")
    left.preset.value = "paper"
    assert explorer.left.view is None and "no &lt;weights&gt;" in left.message.value
    left.preset.value = PRESET.name
    assert explorer.left.view is not None and not left.message.value


def test_a_term_added_at_run_time_gets_a_slider(monkeypatch):
    area = terms.Term(lambda scene, *_: scene.proposals.areas_px / 1e4)
    monkeypatch.setitem(terms.TERMS, "area", area)
    preset = PRESET.override({"terms.area": 0.5})
    tas = SimpleNamespace(**{**vars(TAS), "preset": preset})
    explorer = Explorer(tas, grey(SIZE_HW), SCENE, "a cat")  # type: ignore[arg-type]
    slider = explorer.left.weights["area"]
    assert slider.value == 0.5 and "area" in explorer.left.view.columns
    slider.value = 0.0
    assert explorer.left.view.answer.weights["area"] == 0


def test_a_page_without_a_kernel_shows_the_controls_as_they_stood(explorer):
    explorer.left.mask.value = 1
    bundle = explorer._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    html = bundle["text/html"]
    for part in ("alpha (P) <b>0.1</b>", "side by side <b>off</b>", "rectifier <b>extended</b>",
                 "sentence <b>the cat on the left</b>", "<svg", "data:image/jpeg",
                 '<div class="box" style="flex: 1 1 18rem">'):  # fmt: skip
        assert part in html
    assert "<img src=x" not in html and "look at <b>1: &lt;img" in html
