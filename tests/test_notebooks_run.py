"""Notebooks 01 to A6, each run once in this process on as little as its assertions bear."""

import re
from functools import cache

import pandas as pd
import pytest
import torch
from notebook_tools import cells, run_twin
from published_trees import write_refcoco

from tasutils import paths
from tasutils.baselines import METHODS, lacking
from tasutils.runs import list_runs

pytestmark = pytest.mark.slow
HERE = [name for name in METHODS if not lacking(name)]
#: parameters, pictures, and what it says
BOOKS = {
    "01_proposals": ({"knob_limit": 1}, 5, ("SAM: oracle mIoU", "points_per_side: from")),
    "02_v_score": ({}, 5, ("V alone is right on", "commonest mistake", "with 2 encoder(s)")),
    "03_p_score": ({}, 4, ("captions of masks that cover", "P alone wins", "answers differ")),
    "04_n_score": ({}, 4, ("mine the same negatives in", "lambda 0.3: N ", "own negative in")),
    "05_rectifier": ({}, 9, ("all regions and answers agree", "words in 1733", "mends")),
    "06_study": ({"switch_limit": 0}, 6, ("answers chosen again", "the whole method reaches")),
    "07_peers": ({"limit": 1, "map_limit": 1}, len(HERE) + 2, ("on top of CLIP-only",)),
    "08_real_data": ({}, 5, ("No published data set is here", "drawn by two rules: IoU 0.")),
    "09_error_anatomy": ({}, 4, ("answers are wrong", "the result's ")),
    "10_cost_and_scale": ({"images": 1}, 5, ("of describing a picture", ": target ")),
    "11_graded": ({}, 1, ("all of them as written here", "true captions and masks")),
    "12_trust": ({}, 2, ("All@0.5: ", "least=0.45", "gIoU")),
    "A1_world": ({"n_scenes": 3}, 2, ()),
    "A2_clip": ({"scenes": 4, "steps": 4, "score_images": 1}, 2, ("loss: ",)),
    "A3_sam": ({"scenes": 4, "steps": 4, "score_images": 2}, 3, ("loss: ",)),
    "A4_captioner": ({"scenes": 4, "steps": 4, "score_images": 1}, 3, ("loss: ",)),
    "A5_train_freesolo": ({"images": 2, "steps": 4}, 5, ("partial", "with mask labels SAM")),
    "A6_train_tseg": ({"images": 2, "scenes": 4, "steps": 6}, 1, ("partial",)),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One folder of runs and scenes, so that a picture is described once; threads as they were."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "RESULTS", tmp_path_factory.mktemp("results"))
        yield paths.RESULTS
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def shown(results):
    """A function: what a notebook shows, which runs when it is first asked for."""

    @cache
    def run(name):
        given = dict(BOOKS[name][0])
        known = {line.split(" = ")[0] for line in cells(name)[0].source.split("\n")}
        common = {"limit": 2, "n_boot": 50, "results": str(results), "root": str(results)}
        if name == "06_study":
            run("09_error_anatomy")  # makes the run
            common["save_to"] = str(results)
        return run_twin(name, **{k: v for k, v in common.items() if k in known} | given)

    return run


@pytest.mark.parametrize("name", BOOKS)
def test_a_notebook_runs_and_concludes(name, shown):
    found, (_, pictures, lines) = shown(name), BOOKS[name]
    for line in lines:
        assert line in found.words
    assert found.pictures >= pictures
    assert "nan" not in found.words.lower().split()
    if "limit" in found.given and name != "08_real_data":
        assert "partial" in found.words


def test_pictures_are_described_once(shown, results):
    for name in ("02_v_score", "03_p_score", "04_n_score", "05_rectifier", "09_error_anatomy"):
        shown(name)
    records = [run.record for run in list_runs(results) if run.family == "refscenes"]
    (own,) = [record for record in records if record.preset == "tiny"]
    assert own.n_images == 2 >= own.n_described  # 07 may have described one before
    changed = [run.record for run in list_runs(results / "changed")]
    assert {(run.n_images, run.n_described) for run in changed} == {(2, 0)}


def test_06_and_09_hold_the_runs_own_numbers(shown, results):
    run = list_runs(results)[0]
    wrong = int((run.samples["iou"] <= 0.5).sum())
    said, result = shown("09_error_anatomy").words, run.samples["iou"].mean()
    assert f"{wrong} of {len(run.samples)} answers are wrong" in said
    assert f"the result's {100 * result:.1f} [" in said
    shown("06_study")
    table = pd.read_csv(results / "ablation.csv").query("variant == 'V+P+N' and rectifier")
    assert table.query("family == 'refscenes'")["mean"].item() == pytest.approx(result)


def test_07_sets_the_peers_side_by_side(shown):
    tables = shown("07_peers").tables
    peers, own = (table for table in tables if "won" in table)
    assert list(peers["method"]) == HERE and list(own["method"]) == ["clip_only", "colored"]
    assert peers["n"].nunique() == 1 and peers["oracle"].nunique() == 1  # the same masks
    published = next(table for table in tables if "RefCOCO val" in table).set_index("method")
    assert published["source"].all() and published["metric"].all()  # no number without
    assert published.loc["TAS (EMNLP 2023)", "RefCOCO val"] == "29.5"
    assert peers["mIoU"].iloc[0] in shown("07_peers").words


def test_08_takes_published_data_that_is_here(shown, results, tmp_path):
    told = shown("08_real_data")
    assert "tas data get refcoco" in told.html and "(here)" not in told.html
    for name in ("refscenes val", "phrasescenes val"):
        assert re.search(rf"\* {name}, n = \d+: mIoU 0\.\d+ \[0\.\d+, 0\.\d+\] of 0", told.words)
    write_refcoco(tmp_path)
    given = {"data": "refcoco testA", "root": str(tmp_path), "preset": "tiny", "n_boot": 50}
    told = run_twin("08_real_data", **given, limit=2, results=str(tmp_path / "results"))
    assert "refcoco (here)" in told.html and "* refcoco testA, n = 3: mIoU" in told.words
    assert "No published data set" not in told.words and "drawn world" not in told.words
