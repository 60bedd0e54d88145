"""Every wrong answer has one cause, and the causes account for all that the oracle is ahead."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from light import part_of

from tasutils import anatomy, anatomy_charts, anatomy_widget

ALPHA, LAM = 0.5, 0.8
GOOD, BAD = (90, 100), (10, 150)  # intersection and union px of a good mask and of a bad one


def sentence(good, bad, good_inside=True, bad_inside=True, **columns):
    """A sentence with a good mask and a bad one, of given V, P and N."""
    masks = [(*good, good_inside, GOOD), (*bad, bad_inside, BAD)]
    return {"masks": masks, "pronoun": False, **columns}


def causes(*sentences, **settings_):
    return list(anatomy.anatomy([part_of(sentences, **settings_)])["cause"])


WRONG = sentence((0, 0, 0), (1, 0, 0))
ONE_OF_TWO = WRONG | {"masks": [(0, 0, 0, True, GOOD), (1, 0, 0, True, (40, 105))]}


def test_each_cause_is_told_from_the_others():
    assert causes(sentence((1, 0, 0), (0, 0, 0))) == [""]
    assert causes(WRONG) == ["V"]
    assert causes(sentence((0.1, 0, 0), (0, 1, 0))) == ["P"]
    assert causes(sentence((0.1, 0, -1), (0, 0, 0))) == ["N"]
    assert causes(WRONG | {"masks": [(1, 0, 0, True, BAD)]}, WRONG | {"masks": []}) == [
        "proposals", "proposals",
    ]  # fmt: skip
    out = sentence((1, 0, 0), (0, 0, 0), good_inside=False)
    assert causes(out) == ["rectifier"]
    assert causes(out | {"masks": [(0, 0, 0, False, GOOD), (1, 0, 0, True, BAD)]}) == ["rectifier"]
    assert causes(WRONG | {"pronoun": True}) == ["pronoun"]
    assert causes(WRONG | {"unread": True}) == ["pronoun"]
    assert causes(ONE_OF_TWO | {"n_targets": 2, "pronoun": True}) == ["ambiguous"]
    assert causes(ONE_OF_TWO | {"multi": True}, ONE_OF_TWO | {"multi": False}) == ["ambiguous", "V"]
    assert causes(WRONG | {"n_targets": 2}) == ["V"]  # none of the targets


def test_the_terms_are_weighed_before_they_are_compared():
    both = sentence((0, 0, 0), (0.5, 0.6, 0))
    assert causes(both) == ["V"] and causes(both, alpha=1.0) == ["P"]
    both = sentence((0, 0, 0), (0.5, 0, 0.6))
    assert causes(both) == ["V"] and causes(both, lam=1.0) == ["N"]
    nothing = sentence((0, 0, np.nan), (0, 0.1, np.nan))
    assert causes(nothing, lam=0.0) == ["P"]


def test_an_empty_region_shuts_nobody_out():
    assert causes(sentence((0, 0, 0), (1, 0, 0), False, False)) == ["V"]


def test_the_same_sentence_for_two_targets_of_a_picture_is_ambiguous():
    right = sentence((1, 0, 0), (0, 0, 0))
    twins = [each | {"text": "a dog"} for each in (WRONG, right)]
    assert causes(*twins) == ["ambiguous", ""]
    assert causes(twins[0], twins[1] | {"text": "a cat"}) == ["V", ""]
    assert causes(twins[0], right, twins[1]) == ["V", "", ""]  # in another picture
    assert causes(twins[0], twins[0]) == ["V", "V"]  # right for neither


def test_without_a_flag_the_parser_tells_what_names_no_thing():
    texts = ["the one on the left", "it stands behind the car", "left dog", " ", "second from left"]
    unflagged = [{"masks": WRONG["masks"], "text": text} for text in texts]
    assert causes(*unflagged) == ["pronoun", "pronoun", "V", "pronoun", "pronoun"]
    assert causes(*unflagged, config={"language": {
        "spacy_model": "en_core_web_sm", "field": "raw",
    }}) == ["V"] * 5  # fmt: skip


def test_what_is_cured_is_right_without_the_piece():
    rows = [
        sentence((0.1, 0, 0), (0, 1, 0)),  # P out: right
        sentence((0, 0, 0), (0.1, 1, 0)),  # P out: V still against it
        sentence((0.1, 0, -1), (0, 0, 0)),
        sentence((1, 0, 0), (0, 0, 0), good_inside=False),
        sentence((0, 0, 0), (1, 0, 0), good_inside=False),
        WRONG,
    ]
    table = anatomy.anatomy([part_of(rows)])
    assert list(table["cause"]) == ["P", "P", "N", "rectifier", "rectifier", "V"]
    assert list(table["cured"]) == [True, False, True, True, False, False]
    steps = anatomy.waterfall(table, n_boot=10).set_index("step")
    assert steps.loc[list(anatomy.CURABLE), "cured"].tolist() == [1, 1, 1]
    assert steps["cured"].notna().sum() == 3


numbers = st.integers(-3, 3).map(lambda x: x / 2)
pixels = st.tuples(st.integers(0, 100), st.integers(100, 130))
masks = st.lists(st.tuples(numbers, numbers, numbers, st.booleans(), pixels), max_size=4)
one = st.fixed_dictionaries({"masks": masks, "pronoun": st.booleans(), "n_targets": st.just(1)})


def slow_cause(sentence):
    """The cause of one sentence, by plain loops."""
    rows = [
        (v + ALPHA * p + LAM * n, (v, ALPHA * p, LAM * n), inside, inter / union)
        for v, p, n, inside, (inter, union) in sentence["masks"]
    ]
    allowed = [row for row in rows if row[2]] or rows
    answer = max(allowed, key=lambda row: row[0]) if rows else None
    if answer and answer[3] > 0.5:
        return ""
    if not any(row[3] > 0.5 for row in rows):
        return "proposals"
    if sentence["pronoun"]:
        return "pronoun"
    good = [row for row in allowed if row[3] > 0.5]
    if not good or max(rows, key=lambda row: row[0])[3] > 0.5:
        return "rectifier"
    rival = max(good, key=lambda row: row[0])
    behind = [a - b for a, b in zip(answer[1], rival[1], strict=True)]
    return "VPN"[behind.index(max(behind))]


@given(st.lists(one, min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_causes_and_steps_account_for_everything(sentences):
    part = part_of(sentences)
    table = anatomy.anatomy([part])
    assert list(table["cause"]) == [slow_cause(s) for s in sentences]
    steps = anatomy.waterfall(table, n_boot=20)
    assert list(steps["step"]) == ["oracle", *anatomy.CAUSES, anatomy.RIGHT, "result"]
    by_step = steps.set_index("step")
    assert by_step.loc[list(anatomy.CAUSES), "n"].sum() == (table["iou"] <= 0.5).sum()
    assert (table["lost"] >= 0).all() and (steps["mean"].iloc[1:-1] <= 0).all()
    assert steps["mean"].iloc[:-1].sum() == pytest.approx(steps["mean"].iloc[-1], abs=1e-12)
    inter, union = part.pixels()
    assert by_step.loc["result", "mean"] == pytest.approx(np.mean(inter / union))
    valued = table.loc[table["cause"].isin(["V", "P", "N"]), ["v", "p", "n"]]
    assert (valued.sum(axis=1) >= -1e-12).all() and (valued.max(axis=1) >= 0).all()


def test_several_runs_stay_apart_and_the_words_hold_their_numbers():
    parts = [part_of([WRONG] * 3), part_of([WRONG | {"pronoun": True}] * 2, family="refscenesg")]
    table = anatomy.anatomy(parts)
    assert list(table["part"]) == [0, 0, 0, 1, 1] and list(table["row"]) == [0, 1, 2, 0, 1]
    steps = anatomy.waterfall(table, n_boot=10)
    lines = anatomy.anatomy_words(table, steps, "partial, n = 5 of 99")
    assert "partial, n = 5 of 99" in lines[0] and lines[1].startswith("5 of 5 answers are wrong")
    assert "pronoun 2" in lines[1] and "V 3" in lines[1] and "together 5" in lines[1]
    assert "refscenes val: most often V, 3 of 3." in lines
    assert "refscenesg val: most often pronoun, 2 of 2." in lines
    right = anatomy.anatomy([part_of([sentence((1, 0, 0), (0, 0, 0))] * 2)])
    lines = anatomy.anatomy_words(right, anatomy.waterfall(right, n_boot=5), "n = 2")
    assert len(lines) == 3 and lines[1].startswith("0 of 2")


def test_the_charts_draw_and_the_table_reads():
    table = anatomy.anatomy([part_of([WRONG, sentence((1, 0, 0), (0, 0, 0))])])
    steps = anatomy.waterfall(table, n_boot=10)
    for picture in (anatomy_charts.waterfall_plot(steps), anatomy_charts.causes_plot(table)):
        assert picture.png()[:4] == b"\x89PNG"
    html = anatomy_charts.steps_table(steps, "percent; <n> = 2").to_html()
    assert "no good mask was proposed" in html and "-41.7" in html and "100 %" in html


class Shown:
    """In place of `gallery.Gallery`: notes which rows are asked for."""

    def __init__(self):
        self.asked = []

    def example(self, row):
        from light import MASKS, SIZE_HW, ask, grey, scene_of

        from tasutils.show import Example

        self.asked.append(row)
        return Example(grey(SIZE_HW), ask(scene_of(MASKS)))


def test_a_click_on_a_bar_shows_the_cases_of_its_cause():
    rows = [WRONG] * 5 + [WRONG | {"pronoun": True}] + [sentence((1, 0, 0), (0, 0, 0))]
    table, galleries = anatomy.anatomy([part_of(rows)]), [Shown()]
    browser = anatomy_widget.AnatomyBrowser(galleries, table, count=2)
    assert set(browser.bars) == {"V", "pronoun"} and browser.cause == "V"
    assert galleries[0].asked == [0, 2]  # one an image first
    assert "cases 1 to 2 of 5" in browser.children[-2].value
    before = browser.children[-1].value
    browser.bars["pronoun"].click()
    assert galleries[0].asked[2:] == [5] and browser.more.disabled
    assert browser.children[-1].value != before and "cases 1 to 1 of 1" in browser._message.value
    browser.bars["V"].click()
    for expected in ("3 to 4", "5 to 5", "1 to 2"):
        browser.more.click()
        assert f"cases {expected} of 5" in browser._message.value
    nothing = anatomy.anatomy([part_of([sentence((1, 0, 0), (0, 0, 0))])])
    assert not anatomy_widget.AnatomyBrowser([Shown()], nothing).bars
