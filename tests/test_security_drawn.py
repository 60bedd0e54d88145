"""Text of others in pictures: drawn as it stands, never read as a formula, whatever it is."""

import warnings
from dataclasses import replace
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from light import MASKS, SIZE_HW, ask, grey, scene_of
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.mathtext import MathTextParser
from test_show import ablation_rows

from tasutils import (
    anatomy_charts,
    charts,
    peer_charts,
    proposal_charts,
    show,
)
from tasutils.bench import charts as bench_charts
from tasutils.canvas import Picture, fit_text

HOSTILE = [
    r"$\frac{", r"$\nosuch{x}$ and $x_$", r"a_b^c \input{x} $", "costs $5 or $6", "$" * 9,
    "x" * 10_000, "\u202egnp.exe\u2066\u200f", "a\x1b[2J\0b\x7f\x9b", "line\n" * 99,
    "_begins so", "", " ", "🚗 左の赤い車 کتاب‌ها",
]  # fmt: skip
TEXT = (
    st.sampled_from([*HOSTILE, "\ud800"])
    | st.text(max_size=60)
    | st.text("$\\_^{}%&#~ a\n\0\u202e")
)
CROP = np.zeros((8, 8, 3), np.float32)
SPAN = {"mean": 0.3, "low": 0.2, "high": 0.5}


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """All lines that a renderer was given, no warning and no formula among them."""
    lines, draw = [], RendererAgg.draw_text

    def noted(self, gc, x, y, s, prop, angle, ismath=False, mtext=None):
        assert not ismath, s
        lines.append(s)
        return draw(self, gc, x, y, s, prop, angle, ismath, mtext)

    monkeypatch.setattr(RendererAgg, "draw_text", noted)
    monkeypatch.setattr(MathTextParser, "parse", lambda *_, **__: pytest.fail("read as a formula"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield lines


def safely(picture, lines):
    lines.clear()
    assert picture.png().startswith(b"\x89PNG")
    assert lines and all(c.isprintable() or c in "\u200c\u200d" for line in lines for c in line)
    assert max(map(len, lines)) < 310


def text_of(kind):
    return HOSTILE[kind % len(HOSTILE)]


def tables(t):
    """A picture of each kind that is drawn from tables; t(k): text of somebody, another a k."""
    rows = ablation_rows((t(0), t(1)))
    rows["variant"] = [name if name == "oracle" else t(len(name)) for name in rows["variant"]]
    yield charts.ablation_plot(rows.assign(split=t(2)), note=t(3), value=t(4))
    forms = pd.DataFrame([
        {"family": t(0), "split": t(1), "n": 3, "synonyms": rule, "rectifier": form, "own": False}
        | SPAN for rule in (t(2), t(3)) for form in (t(4), t(5))
    ])  # fmt: skip
    yield charts.settings_plot(forms, note=t(6))
    weights = pd.DataFrame([[0.1, 0.2]], index=[0.0], columns=[0.0, 0.1])
    yield charts.weights_map(weights, chosen=(0, 0), title=t(0), note=t(1))
    groups = pd.DataFrame([{"question": t(k // 2), "group": t(k), "n": 3} | SPAN for k in range(4)])
    yield charts.breakdown_plot(groups, value=t(5), note=t(6))
    made = pd.concat([groups.assign(proposer=name) for name in (t(1), t(2))])
    yield proposal_charts.groups_plot(made, value=t(3), note=t(4))
    curves = pd.DataFrame({t(0): [1, 0.5], t(1): [0.9, 0.1]}, index=[0.5, 0.9])
    yield proposal_charts.recall_plot(curves, note=t(2))
    knobs = pd.DataFrame({"setting": [t(0)] * 2 + [t(1)], "value": [t(2), t(3), t(4)],
                          "oracle_miou": 0.3, "masks": 9.0, "own": True})  # fmt: skip
    yield proposal_charts.settings_plot(knobs, note=t(5))
    runs = pd.DataFrame([{"dataset": t(0), "split": t(1), "method": t(k), "miou": 0.3, "n": 3,
                          "miou_low": 0.2, "miou_high": 0.4, "oracle_miou": 0.5}
                         for k in (2, 3)])  # fmt: skip
    yield peer_charts.peers_plot(runs, note=t(4))
    causes = pd.DataFrame({"family": t(0), "split": t(1), "cause": ["V", ""]})
    yield anatomy_charts.causes_plot(causes, note=t(2))
    steps = pd.DataFrame([{"step": name, "n": 3} | SPAN for name in ("oracle", "V", "result")])
    yield anatomy_charts.waterfall_plot(steps, note=t(3))
    yield bench_charts.batches_plot([1, 2], {"SAM": [1, 2]}, note=t(1))
    yield bench_charts.stages_plot(pd.DataFrame({t(0): [1.0], t(1): [2.0]}, index=[t(2)]))


def answers(t):
    """A picture of each kind that is drawn from an answer."""
    scene = replace(scene_of(MASKS, [t(k) for k in range(len(MASKS))]), phrases=[t(5), t(6)])
    sentence = t(0) if t(0).strip() and "\ud800" not in t(0) else "the cat"
    answer = ask(scene, f"{sentence[:500]} on the left")
    image = grey(SIZE_HW)
    yield show.overlay(image, answer, MASKS[0])
    yield show.proposals_grid(image, scene)
    yield show.region_picture(image, answer)
    yield show.gallery([show.Example(image, answer, None, t(2))])
    yield charts.score_bars(answer)
    yield proposal_charts.makers_grid(image, [MASKS[0]], {t(0): scene.proposals})
    method = SimpleNamespace(
        name="text_only", views=lambda *_: np.zeros((len(MASKS), 8, 8, 3), np.uint8),
        score=lambda *_: np.arange(len(MASKS), dtype=np.float32),
    )  # fmt: skip
    asked = [peer_charts.Question(replace(answer.expression, text=t(7)), MASKS[0])]
    yield peer_charts.peer_row(method, image, scene, asked)


@pytest.mark.parametrize("kinds", [tables, answers], ids=["tables", "answers"])
@pytest.mark.parametrize("shift", [0, 6])
def test_every_chart_draws_any_text(drawn, kinds, shift):
    n = 0
    for picture in kinds(lambda k: text_of(k + shift)):
        safely(picture, drawn)
        n += 1
    assert n == {tables: 14, answers: 13}[kinds]


@settings(max_examples=25, deadline=None, suppress_health_check=[*HealthCheck])
@given(texts=st.lists(TEXT, min_size=6, max_size=6))
def test_a_picture_draws_any_text_anywhere(drawn, texts):
    figure = Picture(figsize=(4, 3))
    figure.suptitle(texts[0])
    ax = figure.subplots()
    ax.barh([texts[1], f"{texts[1]}x"], [1, 2], label=texts[2])
    ax.set_xticks([0, 1], texts[2:4])
    ax.set_title(texts[3], loc="left")
    ax.set_xlabel(texts[4])
    ax.annotate(texts[5], (0, 0))
    figure.legend(handles=list(ax.containers), title=texts[5])
    safely(figure, drawn)
    shown = [line for text in texts for line in fit_text(text, 3, 9)]
    assert all(c.isprintable() or c in "\u200c\u200d" for line in shown for c in line)


def test_words_stay_as_they_are_and_numbers_may_be_formulas(drawn, monkeypatch):
    monkeypatch.undo()
    figure = Picture(figsize=(4, 3))
    ax = figure.subplots()
    ax.set_xscale("log")
    ax.set_yticks([0, 1], ["costs $5", "or $6"])
    ax.set_title("$x^2$")
    parsed, parse = [], MathTextParser.parse
    with monkeypatch.context() as patch:
        patch.setattr(
            MathTextParser, "parse", lambda *a, **k: (parsed.append(a[1]), parse(*a, **k))[1]
        )
        assert figure.png() == figure.png()
    assert parsed and all("10^" in text for text in parsed)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["costs $5", "or $6"]
    assert ax.get_title() == "$x^2$"


def test_a_users_own_settings_of_matplotlib_start_no_latex(drawn, monkeypatch):
    monkeypatch.setattr("subprocess.check_output", lambda *_, **__: pytest.fail("LaTeX"))
    with matplotlib.rc_context({"text.usetex": True}):
        safely(show.overlay(grey(SIZE_HW), ask(scene_of(MASKS), r"\input{x}")), drawn)


def test_a_name_that_begins_with_an_underscore_stays_in_the_key():
    curves = pd.DataFrame({"_mine": [1, 0.5], "SAM": [0.9, 0.1]}, index=[0.5, 0.9])
    (key,) = proposal_charts.recall_plot(curves).legends
    assert [text.get_text() for text in key.get_texts()] == ["_mine", "SAM"]
