"""The report on photographs: photos7, and the first image of valP."""

from pathlib import Path

import pandas as pd
import pytest
from shown import pictures, tables

from tasutils.datasets import group
from tasutils.report import build_report
from tasutils.runs import list_runs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page, with notebooks 01 and 06."""
    out = tmp_path_factory.mktemp("photographs")
    built = build_report(limit_images=1, preset="photo", out=out, only="01,06,07")
    assert not built.failed
    return built.page


def test_the_report_on_photographs_is_whole_and_says_what_it_is(photographs):
    names = {path.name for path in photographs.parent.glob("*.html")}
    assert names == {"index.html", "01_proposals.html", "06_study.html"}
    runs = {run.record.dataset: run.record for run in list_runs(photographs.parent.parent)}
    assert set(runs) == {"photos7", *group("refscenes")}
    assert (runs["photos7"].n_used, runs["photos7"].partial) == (35, False)
    html = photographs.read_text(encoding="utf-8")
    assert "TAS on photographs" in html and "n = 35" in html
    assert "P is no independent evidence" in html and "nothing here is zero-shot" not in html
    assert "which preset photo has not" in html  # 07 looks into CLIP
    study = (photographs.parent / "06_study.ipynb").read_text(encoding="utf-8")
    assert study.count("captions come from V's classifier") >= 4


def test_photographs_are_answered_better_than_by_chance(photographs):
    table = pd.read_csv(photographs.parent / "ablation.csv").query("family == 'photos7'")
    means = table.query("not rectifier").set_index("variant")["mean"]
    assert means["oracle"] > means["V"] > means["random mask"]


def test_the_proposals_notebook_compares_the_makers(photographs):
    shown = tables(photographs.parent / "01_proposals.ipynb")
    found = next(table for table in shown if "oracle_miou" in table and len(table) > 4)
    assert len(found) == 5  # SAM, free masks, merged superpixels, two unions
    reached = found["oracle_miou"].astype(float)
    assert reached.between(0, 1).all() and found["masks"].astype(float).gt(0).all()
    assert len(pictures(photographs.parent / "01_proposals.ipynb")) >= 2
