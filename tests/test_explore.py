"""Views without a widget: the answer they hold, what they draw, and that all text is only text."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from light import MASKS, PRESET, SIZE_HW, TAS, grey, scene_of
from PIL import Image

from tasutils.errors import TasError
from tasutils.explore import explore, export, left_out
from tasutils.refer import refer, region

HOSTILE = '<img src=x onerror="alert(1)"> & "left" </style></svg><script>alert(2)</script>'
SCENE = scene_of(MASKS, ["a cat", HOSTILE, "", "a dog", "an owl"])


def look(sentence="the cat on the left", **settings):
    return explore(TAS, grey(SIZE_HW), SCENE, sentence, **settings)


def test_a_view_is_the_answer_of_refer():
    view = look(alpha=0.3, lam=0.7)
    answer = refer(
        SCENE, "the cat on the left", TAS.encoder, TAS.language, PRESET, None, {"p": 0.3, "n": 0.7}
    )
    assert view.best == answer.best and view.reason == answer.reason
    table = view.table()
    pd.testing.assert_frame_equal(table.sort_index(), answer.table())
    assert table["rank"].tolist() == [1, 2, 3, 4, 5]
    assert (view.mask() == answer.mask()).all()


@pytest.mark.parametrize("form", ["none", "paper", "extended", "official"])
def test_the_form_of_the_rectifier_is_taken(form):
    preset = PRESET.override({"rectifier.form": form})
    answer = refer(SCENE, "the owl at the top", TAS.encoder, TAS.language, preset)
    assert (look("the owl at the top", form=form).inside == answer.in_region).all()


def test_a_peer_ranks_by_its_own_scores():
    view = look(method="clip_only")
    assert list(view.columns) == ["score"] and view.answer is None and view.inside.all()
    assert view.columns["score"] == pytest.approx(look().columns["v"])
    ranked = view.table()["score"]
    assert ranked.is_monotonic_decreasing and ranked.index[0] == view.best
    assert "clip_only" in view.reason and "negatives" not in view.html


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sentence": "  "}, "empty"),
        ({"sentence": " ", "method": "clip_only"}, "empty"),
        ({"method": "clip"}, "no method 'clip'"),
        ({"form": "left"}, "no rectifier form 'left'; choose among none, paper"),
        ({"picked": 5}, "no mask 5; the picture has 5"),
        ({"picked": -1}, "no mask -1"),
    ],
)
def test_mistakes_are_one_line(settings, message):
    with pytest.raises(TasError, match=message):
        look(**settings)


def test_a_picture_of_another_size_is_refused():
    with pytest.raises(TasError, match="the picture is"):
        explore(TAS, grey((60, 81)), SCENE, "a cat")


class Tags(HTMLParser):
    """The tags and attributes of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.names: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("method", ["tas", "text_only"])
def test_whatever_is_written_is_shown_as_text(method):
    parser = Tags()
    view = look(HOSTILE, method=method, picked=1)
    parser.feed(view.html)
    assert parser.tags <= {"div", "svg", "rect", "path", "title", "text", "p", "b", "br", "s",
                           "span", "table", "thead", "tbody", "tr", "th", "td"}  # fmt: skip
    assert not {name for name in parser.names if name.startswith("on")}
    assert parser.text.count(HOSTILE) >= 3  # tooltip, picked mask, table
    label = ElementTree.fromstring(view.svg).get("aria-label")
    assert HOSTILE.split()[0] in label


def test_phrases_of_the_picture_are_negatives_or_struck_out():
    html = look("the dog").html
    assert re.search(r'<s title="dropped[^"]*">a dog</s>, <span title="kept', html)


def test_the_drawing_tells_of_every_mask():
    view = look(picked=3)
    paths = ElementTree.fromstring(view.svg).findall("path")
    names = {path.get("class").split()[0]: path.get("class").split()[1:] for path in paths}
    assert set(names) == {f"m{i}" for i in range(5)}
    assert [name for name, looks in names.items() if "first" in looks] == [f"m{view.best}"]
    assert [name for name, looks in names.items() if "picked" in looks] == ["m3"]
    assert {int(name[1]) for name in names if "out" not in names[name]} == set(
        np.flatnonzero(view.inside)
    )
    told = {path.get("class").split()[0]: path.findtext("title") for path in paths}
    assert "“a dog”" in told["m3"] and f"rank {view.rank[3]} of 5" in told["m3"]
    assert f"{view.columns['total'][3]:.3f}" in told["m3"] and "(no caption)" in told["m2"]


WORDS = ["dog", "on the left", "right", "top", "at the bottom", "upper", "lower left", "middle"]
CHANGES = st.fixed_dictionaries({
    "rectifier.form": st.sampled_from(["none", "paper", "extended", "official"]),
    "rectifier.cut": st.sampled_from(["middle", "median"]),
    "rectifier.centers": st.sampled_from(["mean", "floor"]),
})  # fmt: skip


@given(st.lists(st.sampled_from(WORDS), max_size=3), CHANGES)
def test_dark_is_just_what_the_rectifier_leaves_out(words, changes):
    preset = PRESET.override(changes)
    answer = refer(SCENE, " ".join(["the", *words]), TAS.encoder, TAS.language, preset)
    height, width = SIZE_HW
    dark = np.zeros(SIZE_HW, bool)
    y, x = np.mgrid[:height, :width]
    for x0, y0, x1, y1 in left_out(answer):
        dark |= (x0 <= x + 0.5) & (x + 0.5 <= x1) & (y0 <= y + 0.5) & (y + 0.5 <= y1)
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    inside, _ = region(SCENE, answer.expression, answer.preset, points)
    wanted = ~inside.reshape(SIZE_HW) if answer.rectified else np.zeros(SIZE_HW, bool)
    # pixels on the very cut belong to both halves, and half of them is dark
    assert np.count_nonzero(dark ^ wanted) <= height + width


def test_a_picture_without_masks_has_a_view():
    scene = scene_of(MASKS[:0])
    for method in ("tas", "clip_only"):
        view = explore(TAS, grey(SIZE_HW), scene, "a cat", method=method)
        assert view.best is None and "no mask" in view.reason and not view.mask().any()
        assert "<path" not in view.html and len(view.table()) == 0


def test_a_view_shows_itself_with_its_picture():
    html = look()._repr_html_()
    assert html.index("data:image/jpeg") < html.index("<svg")
    assert "<script" not in html and "http" not in html


@pytest.mark.parametrize("method", ["tas", "clip_only"])
def test_picture_and_table_are_written_beside_earlier_ones(tmp_path, method):
    view = look(f"{HOSTILE} /../.. on the right", method=method, picked=2)
    first, second = export(view, tmp_path / "new"), export(view, tmp_path / "new")
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert len(names) == 4 and all(re.fullmatch(r"0[12]-[a-z0-9-]+\.(png|csv)", n) for n in names)
    assert names == sorted(path.name for path in (*first, *second))
    assert names[0].startswith(f"01-tiny-{method.replace('_', '-')}-img-src")
    again = pd.read_csv(first[1], index_col="mask", keep_default_na=False)
    pd.testing.assert_frame_equal(again, view.table(), check_dtype=False)
    assert Image.open(first[0]).size[0] > 500


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TasError, match="cannot write .*choose another folder"):
        export(look(), tmp_path / "file" / "x")
