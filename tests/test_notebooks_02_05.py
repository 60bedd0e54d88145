"""Notebooks 02 to 05: the steps that they write out, from their cells; and run on pictures."""

import jupytext
import numpy as np
import pandas as pd
import pytest
import shown
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from notebook_tools import build

from tasutils import rectifier, terms
from tasutils.config import CropConfig
from tasutils.crops import masked_crops
from tasutils.language.wordnet import path_similarity, wordnet
from tasutils.masks import boxes_xyxy
from tasutils.notebooks import run_notebook
from tasutils.runs import list_runs


def written(name):
    """What the cells of a notebook's twin that are tagged as definitions define."""
    text = (build.SOURCE / f"{name}.py").read_text(encoding="utf-8")
    found = {"np": np, "torch": torch, "F": torch.nn.functional, "wordnet": wordnet}
    for cell in jupytext.reads(text, build.FORMAT).cells:
        if "definition" in cell.metadata.get("tags", []):
            exec(cell.source, found)
    return found


V, P, N, REGION = map(written, ("02_v_score", "03_p_score", "04_n_score", "05_rectifier"))
FLOATS = st.floats(-1, 1, width=32).map(lambda x: round(x, 3))
ROWS = arrays(np.float64, st.tuples(st.integers(1, 6), st.just(5)), elements=FLOATS)
ROWS = ROWS.filter(lambda rows: (np.abs(rows).sum(axis=1) > 0.01).all())
TEXT = arrays(np.float64, 5, elements=FLOATS).filter(lambda row: np.abs(row).sum() > 0.01)


@given(ROWS, TEXT, ROWS)
def test_the_terms_as_written_are_the_package_s(rows, text, negatives):
    np.testing.assert_allclose(V["v_score"](rows, text), terms.v_score(rows, text), atol=1e-12)
    empty = np.concatenate([rows, np.zeros((1, 5))])
    np.testing.assert_allclose(P["p_score"](empty, text), terms.p_score(empty, text), atol=1e-12)
    np.testing.assert_allclose(
        N["n_score"](rows, negatives), terms.n_score(rows, negatives), atol=1e-12
    )
    assert (N["n_score"](rows, negatives[:0]) == 0).all()


def test_the_crop_as_written_is_the_package_s(picture, masks):
    boxes = boxes_xyxy(masks)
    ours = masked_crops(picture, masks, boxes, 32, CropConfig()).numpy()
    for mask, box, wanted in zip(masks, boxes, ours, strict=True):
        found = V["crop"](picture, mask, box, 32).numpy()
        assert np.abs(found - wanted).mean() < 0.03  # a square from an odd box: half a pixel


def test_the_first_of_equals_is_the_best_row():
    scores = pd.DataFrame({"sample_id": list("bbaa"), "proposal": [0, 1, 0, 1]})
    rows = V["best_rows"](scores, pd.Series([2.0, 2.0, 1.0, 3.0]))
    assert rows[["sample_id", "proposal"]].to_numpy().tolist() == [["b", 0], ["a", 1]]


@pytest.mark.parametrize(
    "pair",
    [("dog", "wolf"), ("couch", "sofa"), ("teddy_bear", "bear"), ("dog", "qzx"), ("car", "cat")],
)
def test_similarity_as_written_is_the_package_s(pair):
    assert np.isclose(N["similarity"](*pair), path_similarity(*pair))
    if path_similarity(*pair):
        steps = len(N["way"](*pair)) - 1
        assert np.isclose(1 / (1 + steps), path_similarity(*pair))


def test_mining_as_written():
    found = [("a dog", "dog"), ("two sofas", "sofa"), ("a puppy", "puppy")]
    assert N["mine"](found, "couch", 0.9) == ["a dog", "a puppy"]
    assert N["mine"](found, "dog", 0.0) == []


CENTERS = arrays(np.float64, st.tuples(st.integers(1, 6), st.just(2)), elements=st.floats(0, 30))
WORDS = st.lists(st.sampled_from(["left", "right", "up", "bottom"]), max_size=2)


@settings(max_examples=200)
@given(CENTERS, WORDS, st.randoms(use_true_random=False))
def test_the_region_as_written_is_the_package_s(centers, words, random):
    inside = REGION["in_region"](centers, (21, 31), words)
    assert (inside == rectifier.in_region(centers, (21, 31), words)).all()
    total = np.array([random.choice([0.0, 0.5, 1.0]) for _ in centers])
    assert REGION["rectify"](total, inside) == rectifier.rectify(total, inside)


# ---------------------------------------------------------------- as a whole

BOOKS = ("02_v_score", "03_p_score", "04_n_score", "05_rectifier")


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The executed notebooks by name, on two pictures, and the folder of their runs."""
    out = tmp_path_factory.mktemp("written")
    given = {"limit": 2, "results": str(out), "n_boot": 50}
    pages = {name: run_notebook(name, given, out / "pages") for name in BOOKS}
    return {name: page.with_suffix(".ipynb") for name, page in pages.items()} | {"results": out}


def said(path):
    """Everything that a notebook printed or wrote."""
    found = [
        "".join(o.get("text", "")) + "".join(o.get("data", {}).get("text/markdown", ""))
        for o in shown.outputs(path)
    ]
    return "\n".join(found)


@pytest.mark.slow
def test_pictures_are_described_once(executed):
    (own,) = (run.record for run in list_runs(executed["results"]))
    assert own.n_images == own.n_described == 2
    changed = [run.record for run in list_runs(executed["results"] / "changed")]
    assert {(run.n_images, run.n_described) for run in changed} == {(2, 0)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "lines"),
    {
        "02_v_score": ("V alone is right on", "commonest mistake", "with 2 encoder(s)"),
        "03_p_score": ("captions of masks that cover", "P alone wins", "answers differ"),
        "04_n_score": ("mine the same negatives in", "N changes mIoU by", "own negative in"),
        "05_rectifier": ("all regions and answers agree", "direction words in 1733", "mending"),
    }.items(),
)
def test_each_concludes_from_what_it_computed(executed, name, lines):
    words = said(executed[name])
    assert "partial, n = " in words and "nan" not in words.lower().split()
    for line in lines:
        assert line in words
    assert len(shown.pictures(executed[name])) >= 3


def test_cleaning_is_shown_on_what_users_reported(executed):
    table = next(t for t in shown.tables(executed["03_p_score"]) if "as generated" in t)
    assert table["cleaned"].iloc[0] == "a man with ray ban"
