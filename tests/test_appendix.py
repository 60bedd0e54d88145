"""Appendices A1 to A6, small: a little training each, and what the shipped weights reach."""

import pytest
from shown import outputs, pictures, tables

from tasutils.notebooks import run_notebook

pytestmark = pytest.mark.slow


def test_the_appendix_sets_sam_beside_freesolo(tmp_path):
    page = run_notebook("A5_train_freesolo", {"images": 2, "steps": 4}, tmp_path)
    # soft masks, free masks, losses, both makers, recall
    assert len(pictures(page.with_suffix(".ipynb"))) == 5
    shown = tables(page.with_suffix(".ipynb"))
    losses = next(table for table in shown if "focal" in table)["loss"].astype(float)
    assert losses.iloc[1] < losses.iloc[0]
    totals = next(table for table in shown if "oracle_miou" in table)
    assert totals.iloc[:, 0].tolist() == ["SAM", "FreeSOLO"]
    assert totals["oracle_miou"].astype(float).between(0.2, 1).all()
    assert (totals["n_images"].astype(int) == 2).all()
    text = page.read_text(encoding="utf-8")
    assert "partial" in text and "nothing here is zero-shot" in text


def test_the_appendix_trains_tseg_without_masks(tmp_path):
    page = run_notebook("A6_train_tseg", {"images": 2}, tmp_path)
    shown = tables(page.with_suffix(".ipynb"))
    losses = next(table for table in shown if "own" in table and "loss" in table)
    assert losses["loss"].astype(float).iloc[1] < losses["loss"].astype(float).iloc[0]
    scores = next(table for table in shown if "phrasescenes" in table)
    assert scores.iloc[1:, 0].tolist() == ["chosen", "random", "oracle"]
    assert scores["all"].astype(float).between(0, 1).all()
    text = page.read_text(encoding="utf-8")
    assert "partial" in text and "nothing here is zero-shot" in text


@pytest.mark.parametrize(
    ("name", "given", "shown"),
    [
        ("A1_world", {"n_scenes": 3}, 2),  # sprites, scenes
        ("A2_clip", {"scenes": 4, "steps": 4, "score_images": 1}, 2),  # a batch, losses
        ("A3_sam", {"scenes": 4, "steps": 4, "score_images": 2}, 3),  # points, losses, masks
        ("A4_captioner", {"scenes": 4, "steps": 4, "score_images": 1}, 3),  # examples, losses, said
    ],
)
def test_the_appendices_show_how_world_and_models_were_made(name, given, shown, tmp_path):
    """Their cells assert that what is written out is what `data/making` does; and it learns."""
    page = run_notebook(name, given, tmp_path)
    executed = page.with_suffix(".ipynb")
    assert len(pictures(executed)) == shown
    text = "".join(output.get("text", "") for output in outputs(executed))
    assert name == "A1_world" or "loss: " in text
