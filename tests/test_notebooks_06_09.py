"""What notebooks 06 and 09 write out: an argmax a variant, the bootstrap, the causes of errors."""

import nbformat
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from light import part_of
from shown import outputs, pictures

from tasutils import paths, study
from tasutils.evaluate import unreadable
from tasutils.language.parse import Parser
from tasutils.metrics import bootstrap, iou, segment_argmax
from tasutils.notebooks import run_notebook
from tasutils.runs import list_runs
from tasutils.terms import combine

ALPHA, LAM = 0.5, 0.8
GOOD, BAD = (90, 100), (10, 150)  # intersection and union px of a good mask and of a bad one


def definitions(name, run):
    """What the cells tagged `definition` define, over a run."""
    notebook = nbformat.read(paths.NOTEBOOKS / f"{name}.ipynb", as_version=4)
    found = {
        "np": np, "pd": pd, "run": run, "iou": iou, "segment_argmax": segment_argmax,
        "combine": combine, "Parser": Parser, "unreadable": unreadable, "bootstrap": bootstrap,
    }  # fmt: skip
    for cell in notebook.cells:
        if "definition" in cell.metadata.get("tags", []):
            exec(cell.source, found)
    return found


numbers = st.integers(-3, 3).map(lambda x: x / 2)
pixels = st.tuples(st.integers(0, 100), st.integers(100, 130))
masks = st.lists(st.tuples(numbers, numbers, numbers, st.booleans(), pixels), max_size=4)
one = st.fixed_dictionaries({"masks": masks, "pronoun": st.booleans(), "n_targets": st.just(1)})


# --- 06 ---


@given(st.lists(one, min_size=1, max_size=8).filter(lambda some: any(s["masks"] for s in some)))
@settings(max_examples=40, deadline=None)
def test_the_written_ablation_is_the_packages(sentences):
    run = part_of(sentences)
    written, ids = definitions("06_study", run), run.samples["sample_id"]
    for name, weights in study.variants(run.record.weights).items():
        for rectifier in (False, True):
            rows = written["best_rows"](run.scores, weights, rectifier)
            found = written["sentence_ious"](run.scores, rows, ids)
            wanted = iou(*study.variant_pixels(run, name, rectifier))
            np.testing.assert_allclose(found, wanted, atol=1e-15)
            ends = written["bootstrap_pictures"](found, run.images, 150)
            interval = bootstrap(
                *study.variant_pixels(run, name, rectifier), run.images, ("miou",), n_resamples=150
            )["miou"]
            np.testing.assert_allclose(ends, interval[1:3], atol=1e-12)


# --- 09 ---


def sentence(good, bad, good_inside=True, bad_inside=True, **columns):
    """A sentence with a good mask and a bad one, of given V, P and N."""
    both = [(*good, good_inside, GOOD), (*bad, bad_inside, BAD)]
    return {"masks": both, "pronoun": False, **columns}


def table_of(sentences, **options):
    run = part_of(sentences, **options)
    return definitions("09_error_anatomy", run)["sort_out"](run)


def causes(*sentences, **options):
    return list(table_of(sentences, **options)["cause"])


WRONG = sentence((0, 0, 0), (1, 0, 0))
ONE_OF_TWO = WRONG | {"masks": [(0, 0, 0, True, GOOD), (1, 0, 0, True, (40, 105))]}
OUT = sentence((1, 0, 0), (0, 0, 0), good_inside=False)
BOTH_OUT = OUT | {"masks": [(0, 0, 0, False, GOOD), (1, 0, 0, True, BAD)]}


@pytest.mark.parametrize("given_, cause", [
    (sentence((1, 0, 0), (0, 0, 0)), ""), (WRONG, "V"),
    (sentence((0.1, 0, 0), (0, 1, 0)), "P"), (sentence((0.1, 0, -1), (0, 0, 0)), "N"),
    (WRONG | {"masks": [(1, 0, 0, True, BAD)]}, "proposals"), (WRONG | {"masks": []}, "proposals"),
    (OUT, "rectifier"), (BOTH_OUT, "rectifier"),
    (WRONG | {"pronoun": True}, "pronoun"), (WRONG | {"unread": True}, "pronoun"),
    (ONE_OF_TWO | {"n_targets": 2, "pronoun": True}, "ambiguous"),
    (ONE_OF_TWO | {"multi": True}, "ambiguous"), (ONE_OF_TWO | {"multi": False}, "V"),
    (WRONG | {"n_targets": 2}, "V"),  # none of the targets
    (sentence((0, 0, 0), (1, 0, 0), False, False), "V"),  # an empty region shuts nobody out
])  # fmt: skip
def test_each_cause_is_told_from_the_others(given_, cause):
    assert causes(given_) == [cause]


def test_the_terms_are_weighed_before_they_are_compared():
    both = sentence((0, 0, 0), (0.5, 0.6, 0))
    assert causes(both) == ["V"] and causes(both, alpha=1.0) == ["P"]
    both = sentence((0, 0, 0), (0.5, 0, 0.6))
    assert causes(both) == ["V"] and causes(both, lam=1.0) == ["N"]
    assert causes(sentence((0, 0, np.nan), (0, 0.1, np.nan)), lam=0.0) == ["P"]


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
    raw = {"language": {"spacy_model": "en_core_web_sm", "field": "raw"}}
    assert causes(*unflagged, config=raw) == ["V"] * 5


def test_what_is_cured_is_right_without_the_piece():
    rows = [
        sentence((0.1, 0, 0), (0, 1, 0)),  # P out: right
        sentence((0, 0, 0), (0.1, 1, 0)),  # P out: V still against it
        sentence((0.1, 0, -1), (0, 0, 0)), OUT, BOTH_OUT, WRONG,
    ]  # fmt: skip
    table = table_of(rows)
    assert list(table["cause"]) == ["P", "P", "N", "rectifier", "rectifier", "V"]
    assert list(table["cured"]) == [True, False, True, True, False, False]


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
    run = part_of(sentences)
    written = definitions("09_error_anatomy", run)
    table = written["sort_out"](run)
    assert list(table["cause"]) == [slow_cause(s) for s in sentences]
    steps = written["waterfall"](table, 20).set_index("step")
    assert list(steps.index) == ["oracle", *written["MEANING"], written["RIGHT"], "result"]
    assert steps.loc[list(written["MEANING"]), "n"].sum() == (table["iou"] <= 0.5).sum()
    assert (table["lost"] >= 0).all() and (steps["mean"].iloc[1:-1] <= 0).all()
    assert steps["mean"].iloc[:-1].sum() == pytest.approx(steps["mean"].iloc[-1], abs=1e-12)
    whole = iou(*study.variant_pixels(run)).mean()
    assert steps.loc["result", "mean"] == pytest.approx(whole)
    valued = table.loc[table["cause"].isin(["V", "P", "N"]), ["v", "p", "n"]]
    assert (valued.sum(axis=1) >= -1e-12).all() and (valued.max(axis=1) >= 0).all()


@pytest.mark.slow
def test_both_notebooks_on_two_pictures(tmp_path):
    results = tmp_path / "results"
    given_ = {"limit": 2, "n_boot": 50, "results": results}
    executed = run_notebook("09_error_anatomy", given_, tmp_path).with_suffix(".ipynb")
    (made,) = list_runs(results)
    wrong = int((made.samples["iou"] <= 0.5).sum())
    said = outputs(executed)[-1]["data"]["text/markdown"]
    assert f"{wrong} of {len(made.samples)} answers are wrong" in said and "partial, n = " in said
    oracle, result = made.samples["oracle_iou"].mean(), made.samples["iou"].mean()
    assert f"mIoU is {100 * oracle:.1f} [" in said and f"result's {100 * result:.1f} [" in said
    assert len(pictures(executed)) >= 4  # a case, the waterfall, the families, a gallery
    given_ = {"n_boot": 50, "results": results, "switch_limit": 1, "save_to": tmp_path}
    executed = run_notebook("06_study", given_, tmp_path).with_suffix(".ipynb")
    said = outputs(executed)[-1]["data"]["text/markdown"]
    assert "the whole method reaches" in said and f"of the oracle's {100 * oracle:.1f}" in said
    table = pd.read_csv(tmp_path / "ablation.csv")
    whole = table.query("variant == 'V+P+N' and rectifier")["mean"].item()
    assert whole == pytest.approx(result)
