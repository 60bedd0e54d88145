"""Notebooks 02, 03 and 04 executed on two pictures that are described once, and what they show."""

from pathlib import Path

import pytest
import shown

from tasutils.notebooks import run_notebook
from tasutils.runs import list_runs

pytestmark = pytest.mark.slow
LIMIT = 2


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The executed notebooks by name, and the folder of their runs."""
    out = tmp_path_factory.mktemp("scores")
    values = {"limit": LIMIT, "results": str(out), "n_boot": 100}
    names = ("02_v_score", "03_p_score", "04_n_score")
    for name in names:
        run_notebook(name, values, out / "pages")
    return {name: out / "pages" / f"{name}.ipynb" for name in names} | {"results": out}


def words(path: Path) -> str:
    """Everything that a notebook printed or wrote."""
    found = []
    for output in shown.outputs(path):
        data = output.get("data", {})
        found.append("".join(output.get("text", "")) + "".join(data.get("text/markdown", "")))
    return "\n".join(found)


def test_the_pictures_are_described_once(executed):
    (own,) = (run.record for run in list_runs(executed["results"]))
    assert own.n_images == own.n_described == LIMIT
    # tiny-RN, three crops, and uncleaned captions are runs of their own, aside
    changed = [run.record for run in list_runs(executed["results"] / "changed")]
    assert {(run.n_images, run.n_described) for run in changed} == {(LIMIT, 0)}
    assert len(changed) == len({run.config_digest for run in changed} - {own.config_digest}) == 5


def test_each_says_that_it_is_partial_and_nothing_is_zero_shot(executed):
    for name, path in executed.items():
        if name != "results":
            said = words(path)
            assert "partial, n = " in said and "nan" not in said.lower().split()
            assert "Takes" in path.read_text(encoding="utf-8")
            assert len(shown.pictures(path)) >= 5


def test_notebook_02_compares_encoders_on_equal_sentences(executed):
    path = executed["02_v_score"]
    said = words(path)
    assert "compared here:  tiny-ViT  tiny-RN" in said
    assert "tas models get" in said and "no runs of preset photo" in said
    table = shown.tables(path)[-1]
    assert list(table["gain"]) == [
        f"{name}: {step}"
        for name in ("tiny-ViT", "tiny-RN")
        for step in ("P and N", "P, N, rectifier")
    ]
    assert table["n"].nunique() == 1
    for line in ("V alone is right on", "Crops, blurred", "tiny-RN: P and N", "Of 4 gains"):
        assert line in said


def test_notebook_03_judges_captions_and_cleans_them(executed):
    path = executed["03_p_score"]
    said = words(path)
    reported = next(t for t in shown.tables(path) if "as generated" in t)
    assert reported["cleaned"].iloc[0] == "a man with ray ban"
    assert "Cleaning changed " in said and "answers differ" in said
    assert "P alone is right where V alone is wrong on" in said


def test_notebook_04_follows_a_sentence_and_compares_rules(executed):
    path = executed["04_n_score"]
    said = words(path)
    for line in ("head noun:", "judgements differ", "rule three_pairs:", "N moves"):
        assert line in said
    page = path.with_suffix(".html").read_text(encoding="utf-8")
    assert "threshold <b>0.9</b>" in page, "the slider stands on the page as it was"
    gains = shown.tables(path)
    assert any("nearest, the target spared" in str(table) for table in gains)
