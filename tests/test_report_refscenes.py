"""The report on RefScenes over two images, with notebooks 00 and 06, and what these show."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from shown import fetched, pictures, tables

from tasutils import __version__
from tasutils.datasets import group
from tasutils.report import build_report
from tasutils.runs import list_runs
from tasutils.study import RANDOM

pytestmark = pytest.mark.slow
SHIPPED = ("00_quickstart", "06_study")
IMAGES = 2


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report's page over the first two images of val."""
    out = tmp_path_factory.mktemp("results")
    built = build_report(limit_images=IMAGES, splits=("val",), preset="tiny", out=out, only="00,06")
    assert not built.failed
    return built.page


def test_the_report_lies_whole_in_its_folder(report):
    names = {path.name for path in report.parent.iterdir()}
    pages = {f"{name}.{kind}" for name in SHIPPED for kind in ("ipynb", "html")}
    tables = {"ablation.csv", "contributions.csv", "breakdown.csv"}
    assert names == {"index.html", "runs", *tables, *pages}
    results = report.parent.parent
    assert not list(results.glob(".tas-*"))
    assert {run.record.dataset for run in list_runs(results)} == set(group("refscenes"))


def test_the_page_and_the_notebooks_need_no_network(report):
    for page in report.parent.glob("*.html"):
        html = page.read_text(encoding="utf-8")
        assert not fetched(html) and "require.js" not in html, page.name


def test_the_page_names_notebooks_environment_and_what_was_left_out(report):
    html = report.read_text(encoding="utf-8")
    for name in SHIPPED:
        assert f'href="{name}.html"' in html and f'href="{name}.ipynb"' in html
    assert "FAILED" not in html and "--only does not name it" in html
    environment = html[html.index('id="environment"') :]
    assert f"<li>tasutils {__version__}</li>" in environment
    assert re.search(r"<li>torch \d+\.\d+", environment) and "<li>nbconvert " in environment
    assert "@media print" in html


def test_the_page_says_what_its_numbers_rest_on(report):
    html = report.read_text(encoding="utf-8")
    runs = [run.record for run in list_runs(report.parent.parent)]
    n, total = sum(r.n_used for r in runs), sum(r.n_total for r in runs)
    assert html.count(f"partial, n = {n} of {total} sentences") >= 6
    assert "never comparable with RefCOCO" in html and "nothing here is zero-shot" in html
    for record in runs:
        metric = record.metrics["miou"]
        assert f"{100 * metric.value:.1f} [{100 * metric.low:.1f}, " in html
        assert f'href="runs/{record.run_id}.json"' in html
        copy = report.parent / "runs" / f"{record.run_id}.json"
        assert copy.read_bytes() == (report.parent.parent / record.run_id / "run.json").read_bytes()
        assert f"&#34;run_id&#34;: &#34;{record.run_id}&#34;" in html  # shown as well
    words = re.sub(r"data:image/[^\"]+", "", html)
    assert not re.search(r"\b(nan|inf)\b", words, flags=re.I)


def test_every_link_of_the_page_leads_somewhere(report):
    html = report.read_text(encoding="utf-8")
    links = re.findall(r"<a href=\"([^\"]+)\"", html)
    assert len(links) > 10
    for link in links:
        if link.startswith("#"):
            assert f'id="{link[1:]}"' in html
        elif not link.startswith("http"):
            assert (report.parent / link).is_file(), link


def test_the_page_shows_examples_with_pictures_and_words(report):
    html = report.read_text(encoding="utf-8")
    html = html[html.index('id="examples"') : html.index('id="notebooks"')]
    cards = re.findall(r"<figure>\s*<img.*?</figure>", html, flags=re.S)
    assert 1 <= len(cards) <= 12
    for card in cards:
        assert 'src="data:image/jpeg;base64,' in card and "IoU" in card and "alt=" in card


def test_the_study_has_every_variant_of_every_family(report):
    ablation = pd.read_csv(report.parent / "ablation.csv")
    assert len(ablation) == 11 * len(group("refscenes")) and ablation.notna().all().all()
    for _, part in ablation.groupby("family"):
        pairs = set(zip(part["variant"], part["rectifier"], strict=True))
        names = (RANDOM, "V", "V+P", "V+N", "V+P+N")
        expected = {(name, on) for name in names for on in (False, True)} | {("oracle", False)}
        assert pairs == expected
        oracle = part.loc[part["variant"] == "oracle", "mean"].item()
        assert (part["mean"] <= oracle + 1e-12).all()
    numbers = ablation[["mean", "low", "high", "oiou", "oiou_low", "oiou_high", "p50"]].to_numpy()
    assert np.isfinite(numbers).all() and (numbers >= 0).all() and (numbers <= 1).all()
    assert (ablation["n"] > 0).all() and (ablation["n_images"] == IMAGES).all()
    assert ablation["partial"].all()


def test_the_studys_full_variant_is_the_evaluations_own_number(report):
    ablation = pd.read_csv(report.parent / "ablation.csv").query("variant == 'V+P+N' and rectifier")
    means = dict(zip(ablation["family"], ablation["mean"], strict=True))
    oious = dict(zip(ablation["family"], ablation["oiou"], strict=True))
    for run in list_runs(report.parent.parent):
        assert means[run.record.dataset] == pytest.approx(run.record.metrics["miou"].value)
        assert oious[run.record.dataset] == pytest.approx(run.record.metrics["oiou"].value)


def test_the_rectifier_leaves_sentences_without_direction_alone(report):
    table = pd.read_csv(report.parent / "contributions.csv")
    idle = table[table["piece"] == "rectifier, no direction word"]
    assert len(idle) == len(group("refscenes"))
    assert (idle[["mean", "low", "high"]] == 0).all().all()


def test_the_studys_tables_print_n_and_say_that_they_are_partial(report):
    shown = tables(report.parent / "06_study.ipynb")
    assert len(shown) >= 4
    variants = next(table for table in shown if "variant" in table)
    assert len(variants) == 5 * len(group("refscenes"))
    assert variants["n"].astype(int).gt(0).all()
    interval = r"\d+\.\d \[\d+\.\d, \d+\.\d\]"
    for column in (
        "mIoU, no rectifier",
        "mIoU, rectifier",
        "oIoU, no rectifier",
        "oIoU, rectifier",
    ):
        assert variants[column].str.fullmatch(interval).all()
    assert variants["oracle mIoU"].str.fullmatch(r"\d+\.\d").all()
    source = (report.parent / "06_study.ipynb").read_text(encoding="utf-8")
    assert source.count("partial, n = ") >= 4


def test_the_quickstart_shows_pictures_and_a_whole_table(report):
    path = report.parent / "00_quickstart.ipynb"
    assert len(pictures(path)) >= 6
    table = next(table for table in tables(path) if "rank" in table)
    assert list(table.columns[1:]) == [
        "v", "p", "n", "total", "in_region", "rank", "caption", "area_px",
    ]  # fmt: skip
    assert table["rank"].tolist() == [str(rank) for rank in range(1, len(table) + 1)]
    assert np.isfinite(table[["v", "p", "n", "total"]].astype(float).to_numpy()).all()
    html = (report.parent / "00_quickstart.html").read_text(encoding="utf-8")
    assert "tas-frozen" in html and "alpha (P) <b>" in html
