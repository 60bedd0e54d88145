"""Notebooks 00 and 06 and the report, executed on two images, with assertions on what they show."""

import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tasutils import paths
from tasutils.baselines import method_names
from tasutils.bench import rows
from tasutils.bench.conditions import conditions
from tasutils.config import load_preset
from tasutils.datasets.refscenes import FAMILIES
from tasutils.execute import notebook_parameters, run_notebook
from tasutils.report import build_report
from tasutils.runs import list_runs
from tasutils.study import RANDOM
from tasutils.variants import VARIANTS

pytestmark = pytest.mark.slow
SHIPPED = ("00_quickstart", "06_study", "07_peers")
PHOTOGRAPHIC = ("00_quickstart", "01_proposals", "06_study")
IMAGES = 2


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report's page over the first two images of val."""
    out = tmp_path_factory.mktemp("results")
    return build_report(limit_images=IMAGES, splits=("val",), preset="tiny", out=out)


class Tables(HTMLParser):
    """The tables of a page as lists of rows of cell texts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[list[list[str]]] = []
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "table":
            self.found.append([])
        elif tag == "tr":
            self.found[-1].append([])
        elif tag in ("td", "th"):
            self.found[-1][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._in_cell &= tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.found[-1][-1][-1] += data.strip()


def tables(path: Path) -> list[pd.DataFrame]:
    """All HTML tables that an executed notebook shows, in their order, as text."""
    parser = Tables()
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            parser.feed("".join(output.get("data", {}).get("text/html", "")))
    return [
        pd.DataFrame([row for row in rows[1:] if any(row[1:])], columns=rows[0])
        for rows in parser.found
    ]


def test_the_report_lies_whole_in_its_folder(report):
    names = {path.name for path in report.parent.iterdir()}
    pages = {f"{name}.{kind}" for name in SHIPPED for kind in ("ipynb", "html")}
    assert names == {"index.html", "ablation.csv", "contributions.csv", "breakdown.csv", *pages}
    results = report.parent.parent
    assert not list(results.glob(".unfinished*"))
    assert {run.record.dataset for run in list_runs(results)} == set(FAMILIES)


def test_the_page_says_what_its_numbers_rest_on(report):
    html = report.read_text(encoding="utf-8")
    runs = [run.record for run in list_runs(report.parent.parent)]
    n, total = sum(r.n_used for r in runs), sum(r.n_total for r in runs)
    assert html.count(f"partial, n = {n} of {total} sentences") >= 6
    assert "never comparable with RefCOCO" in html and "nothing here is zero-shot" in html
    for record in runs:
        metric = record.metrics["miou"]
        assert f"{100 * metric.value:.1f} [{100 * metric.low:.1f}, " in html
        assert f"../{record.run_id}/run.json" in html
        assert (report.parent / f"../{record.run_id}/run.json").is_file()
    words = re.sub(r"data:image/[^\"]+", "", html)
    assert not re.search(r"\b(nan|inf)\b", words, flags=re.I)


def test_the_page_and_the_notebooks_need_no_network(report):
    for page in report.parent.glob("*.html"):
        html = page.read_text(encoding="utf-8")
        tags = r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=[\"']?([^\"'\s>]+)"
        fetched = re.findall(tags, html) + re.findall(r"url\(\s*[\"']?([^)\"']+)", html)
        assert all(place.startswith(("data:", "#")) for place in fetched), page.name
        assert "@import" not in html and "require.js" not in html


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
    cards = re.findall(r"<figure>\s*<img.*?</figure>", html, flags=re.S)
    assert 1 <= len(cards) <= 12
    for card in cards:
        assert 'src="data:image/png;base64,' in card and "IoU" in card and "alt=" in card


def test_the_study_has_every_variant_of_every_family(report):
    ablation = pd.read_csv(report.parent / "ablation.csv")
    assert len(ablation) == 11 * len(FAMILIES) and ablation.notna().all().all()
    for _, part in ablation.groupby("family"):
        pairs = set(zip(part["variant"], part["rectifier"], strict=True))
        names = (RANDOM, *VARIANTS)
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
    assert len(idle) == len(FAMILIES)
    assert (idle[["mean", "low", "high"]] == 0).all().all()


def test_the_studys_tables_print_n_and_say_that_they_are_partial(report):
    shown = tables(report.parent / "06_study.ipynb")
    assert len(shown) >= 4
    variants = next(table for table in shown if "variant" in table)
    assert len(variants) == 5 * len(FAMILIES)
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
    notebook = nbformat.read(path, as_version=4)
    pictures = [
        output.data["image/png"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 6
    table = next(table for table in tables(path) if "rank" in table)
    assert list(table.columns[1:]) == [
        "v", "p", "n", "total", "in_region", "rank", "caption", "area_px",
    ]  # fmt: skip
    assert table["rank"].tolist() == [str(rank) for rank in range(1, len(table) + 1)]
    assert np.isfinite(table[["v", "p", "n", "total"]].astype(float).to_numpy()).all()
    html = (report.parent / "00_quickstart.html").read_text(encoding="utf-8")
    assert "tas-frozen" in html and "alpha (P) <b>" in html


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on photographs: photos7, and the first image of valP."""
    out = tmp_path_factory.mktemp("photographs")
    return build_report(limit_images=1, preset="photo", out=out)


def test_the_report_on_photographs_is_whole_and_says_what_it_is(photographs):
    names = {path.name for path in photographs.parent.iterdir()}
    pages = {f"{name}.{kind}" for name in PHOTOGRAPHIC for kind in ("ipynb", "html")}
    assert names == {"index.html", "ablation.csv", "contributions.csv", "breakdown.csv", *pages}
    runs = {run.record.dataset: run.record for run in list_runs(photographs.parent.parent)}
    assert set(runs) == {"photos7", *FAMILIES}
    assert (runs["photos7"].n_used, runs["photos7"].partial) == (35, False)
    html = photographs.read_text(encoding="utf-8")
    assert "TAS on photographs" in html and "n = 35" in html
    assert "P is no independent evidence" in html and "nothing here is zero-shot" not in html
    study = (photographs.parent / "06_study.ipynb").read_text(encoding="utf-8")
    assert study.count("captions come from V's classifier") >= 4


def test_photographs_are_answered_better_than_by_chance(photographs):
    table = pd.read_csv(photographs.parent / "ablation.csv").query("family == 'photos7'")
    means = table.query("not rectifier").set_index("variant")["mean"]
    assert means["oracle"] > means["V"] > means["random mask"]


def test_the_proposals_notebook_compares_the_makers(photographs):
    shown = tables(photographs.parent / "01_proposals.ipynb")
    found = next(table for table in shown if "oracle_miou" in table and len(table) > 4)
    assert len(found) == 6
    reached = found["oracle_miou"].astype(float)
    assert reached.between(0, 1).all() and found["masks"].astype(float).gt(0).all()
    pictures = [
        output.data["image/png"]
        for cell in nbformat.read(photographs.parent / "01_proposals.ipynb", 4).cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 2


def test_the_peers_stand_side_by_side(report):
    executed = report.parent / "07_peers.ipynb"
    shown, names = tables(executed), set(method_names())
    peers = next(table for table in shown if "won / lost" in table)
    assert set(peers["method"]) == names and len(peers) == len(names)
    assert peers["n"].nunique() == 1 and peers["oracle"].nunique() == 1  # the same masks
    oracle = float(peers["oracle"].iloc[0])
    assert all(float(text.split()[0]) <= oracle + 0.05 for text in peers["mIoU"])
    alone = next(table for table in shown if "pointing" in table)
    assert {"tseg", "grad_cam", "clip_surgery"} < set(alone.iloc[:, 0])
    published = next(table for table in shown if "RefCOCO val" in table).set_index("method")
    assert not "".join(published.loc["TAS (EMNLP 2023)"].iloc[3:])  # no number without a source
    own = [table for table in shown if "won / lost" in table][1]
    assert own["method"].tolist() == ["clip_only", "colored"]
    outputs = [o for c in nbformat.read(executed, as_version=4).cells for o in c.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == len(names) + 2  # a row a method, the chart, one's own
    said = outputs[-1]["data"]["text/markdown"]
    assert peers["mIoU"].iloc[0] in said and "Colour of pixels on top of CLIP-only" in said
    words = next(c.source for c in nbformat.read(executed, as_version=4).cells if c.id == "own")
    assert len(words.splitlines()) < 30


def test_the_quickstart_takes_a_picture_of_ones_own(tmp_path):
    image = np.full((90, 120, 3), 230, np.uint8)
    image[20:70, 10:50] = (200, 30, 30)
    image[20:70, 70:110] = (30, 30, 200)
    Image.fromarray(image).save(tmp_path / "own.png")
    given = {"picture": str(tmp_path / "own.png"), "sentence": "the 🚗 on the right", "alpha": 0.5}
    page = run_notebook("00_quickstart", given, tmp_path, progress=False)
    assert "the 🚗 on the right" in page.read_text(encoding="utf-8")


def test_the_appendix_sets_sam_beside_freesolo(tmp_path):
    page = run_notebook("A5_train_freesolo", {"images": 2, "steps": 4}, tmp_path, progress=False)
    notebook = nbformat.read(page.with_suffix(".ipynb"), as_version=4)
    pictures = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 5  # soft masks, free masks, losses, both makers, recall
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
    page = run_notebook("A6_train_tseg", {"images": 2}, tmp_path, progress=False)
    shown = tables(page.with_suffix(".ipynb"))
    losses = next(table for table in shown if "own" in table and "loss" in table)
    assert losses["loss"].astype(float).iloc[1] < losses["loss"].astype(float).iloc[0]
    scores = next(table for table in shown if "phrasescenes" in table)
    assert scores.iloc[1:, 0].tolist() == ["chosen", "random", "oracle"]
    assert scores["all"].astype(float).between(0, 1).all()
    text = page.read_text(encoding="utf-8")
    assert "partial" in text and "nothing here is zero-shot" in text


def test_the_costs_are_measured_and_a_saved_bench_is_shown(tmp_path):
    ratio = rows.Spread.of([9.0, 8.5, 9.5])
    slow = rows.Target(number="ratio", at_least=10.0)
    row = rows.Row(section="describe", what="saved", checked="all", ratio=ratio, target=slow)
    missing = rows.Row(section="ray", what="actors", skipped="Ray is not here")
    saved = rows.Bench(conditions=conditions(load_preset("tiny"), "cpu"), rows=[row, missing])
    saved.write(tmp_path / "bench.json")
    given = {"images": 1, "bench": str(tmp_path / "bench.json")}
    page = run_notebook("10_cost_and_scale", given, tmp_path, progress=False)
    outputs = [
        output
        for cell in nbformat.read(page.with_suffix(".ipynb"), as_version=4).cells
        for output in cell.get("outputs", [])
    ]
    # stages, functions, what is kept, batches, the quick bench, the saved one
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 6
    text = "".join(output.get("text", "") for output in outputs)
    for section in ("crops", "sentence", "store"):
        assert re.search(rf"^{section}$", text, flags=re.M), section
    assert text.count("checked: ") == 3 and "the outputs differ" not in text
    assert "Ray is not here" in text and "describe, saved: target NOT reached" in text
    assert re.search(r"^\w+ takes \d+% of describing a picture", text, flags=re.M)
    functions = next(table for table in tables(page.with_suffix(".ipynb")) if "own_s" in table)
    assert functions["share"].astype(float).between(0, 1).all()


@pytest.mark.parametrize(
    "name",
    [*PHOTOGRAPHIC, "07_peers", "10_cost_and_scale", "A5_train_freesolo", "A6_train_tseg"],
)
def test_a_shipped_notebook_is_tidy(name):
    notebook = nbformat.read(paths.NOTEBOOKS / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert all(re.fullmatch(r"[a-z][a-z-]*", cell.id) for cell in notebook.cells)
    assert notebook.metadata.kernelspec.name == "python3"
    lines = [len([line for line in cell.source.splitlines() if line.strip()]) for cell in code]
    assert 2 <= np.median(lines) <= 6
    assert "In this notebook" in notebook.cells[0].source
    assert any("What was seen" in cell.source for cell in notebook.cells[-2:])
    source = "\n".join(cell.source for cell in code if cell.id != "own")  # a method of one's own
    assert "def " not in source and "/home" not in source and "data/" not in source
    assert notebook_parameters(paths.NOTEBOOKS / f"{name}.ipynb")
