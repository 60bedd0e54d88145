"""Notebooks run with strict parameters in this very interpreter; pages need no network.

One report over one picture, with notebooks written here, serves all tests of reports: one of its
notebooks fails, and its preset has a captioner of one's own.
"""

import base64
import io
import re
import sys
from contextlib import redirect_stderr
from dataclasses import replace
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
from light import own_preset
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from shown import Tags, fetched

import tasutils
from tasutils import paths, report
from tasutils.config import load_preset
from tasutils.datasets import group, load_dataset
from tasutils.errors import TasError
from tasutils.notebooks import (
    TEMPLATES,
    check_parameters,
    export_html,
    formula_html,
    notebook_parameters,
    refuse_unknown,
    run_notebook,
)
from tasutils.report import build_report, plan
from tasutils.runs import list_runs
from tasutils.study import RANDOM

PARAMETERS = 'name = "a"\ncount = 3\nshare = 0.5\nflag = True\nweight = None  # a number\n'
GIVEN = 'preset = ""\ndata = ""\nnumber = 9\nsentence = ""\nlimit = 8\nruns = ""\nresults = ""\n'


def write(name, *sources, parameters=PARAMETERS):
    """Write a notebook into `paths.NOTEBOOKS`."""
    cells = [new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    cells.append(new_markdown_cell("# Title\n\nText with $x^2$ and <b>markup</b>."))
    cells += [new_code_cell(source) for source in sources]
    spec = {"name": "no-such-kernel", "display_name": "none", "language": "python"}
    book = new_notebook(cells=cells, metadata={"kernelspec": spec})
    nbformat.write(book, paths.NOTEBOOKS / f"{name}.ipynb")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of notebooks."""
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    return tmp_path


# ------------------------------------------------------------------ one notebook


def test_parameters_are_read_from_their_cell_and_kept_to(folder):
    write("one", "raise SystemExit('must never run')")
    known = {"name": "a", "count": 3, "share": 0.5, "flag": True, "weight": None}
    assert notebook_parameters(folder / "one.ipynb") == known
    values = check_parameters(folder / "one.ipynb", {"share": 1, "weight": 0.25, "name": folder})
    assert values == {"share": 1.0, "weight": 0.25, "name": str(folder)}
    assert isinstance(values["share"], float)
    assert check_parameters(folder / "one.ipynb", {"weight": None}) == {"weight": None}
    for given, message in (
        ({"nmae": "b"}, "no parameter 'nmae'; it has: name, count, share, flag, weight"),
        ({"count": "3"}, "parameter count is int, not str '3'"),
        ({"count": 3.5}, "parameter count is int, not float 3.5"),
        ({"count": True}, "parameter count is int, not bool True"),
        ({"flag": 1}, "parameter flag is bool, not int 1"),
        ({"name": None}, "parameter name is str, not NoneType None"),
        ({"weight": "0.5"}, "parameter weight is number or None, not str '0.5'"),
        ({"share": [1]}, "parameter share is float, not list"),
    ):
        with pytest.raises(TasError, match=re.escape(message)):
            run_notebook("one", given, folder / "out")
    with pytest.raises(TasError, match="no notebook 'two'.* one"):
        run_notebook("two", {}, folder / "out")
    (folder / "file").write_text("")
    with pytest.raises(TasError, match="cannot write"):
        run_notebook("one", {}, folder / "file" / "out")
    assert not (folder / "out").exists()


def test_papermill_by_hand_cannot_pass_a_misspelt_parameter(folder):
    """As in every shipped notebook, where the line stands after the imports."""
    from papermill import PapermillExecutionError, execute_notebook

    write("one", "from tasutils.notebooks import refuse_unknown\n\nrefuse_unknown()")
    given = [str(folder / f"{name}.ipynb") for name in ("one", "done")]
    with pytest.raises(PapermillExecutionError, match="no parameter 'cuont'"):
        execute_notebook(*given, {"cuont": 5}, kernel_name="python3", progress_bar=False)
    refuse_unknown(["a = 1"])
    refuse_unknown(["a = 1", "b = 2"])
    refuse_unknown(["a = 1", "# Parameters\na = 2"])


def test_a_notebook_runs_in_this_interpreter_and_becomes_one_page(folder):
    write(
        "one",
        "import sys; print('python at', sys.executable)",
        "print('got', name, count, weight)",
        "import os; print('home', os.environ['TAS_HOME'])",
        "import ipywidgets; ipywidgets.FloatSlider(value=0.25, description='alpha')",
        "from IPython.display import HTML; HTML('<p>raw</p>')",
        "import tasutils; raise tasutils.TasError('no run; make one')",
    )
    with pytest.raises(TasError, match="^no run; make one$"):  # a user's mistake stays one
        run_notebook("one", {"name": "b", "weight": 2}, folder / "out")
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["one.html", "one.ipynb"]
    html = (folder / "out" / "one.html").read_text(encoding="utf-8")
    assert f"python at {sys.executable}" in html and "got b 3 2" in html
    assert f"home {paths.ROOT}" in html
    assert "FloatSlider(value=0.25" in html and "<p>raw</p>" in html
    assert not fetched(html) and "require.js" not in html and "cdn" not in html.lower()
    executed = nbformat.read(folder / "out" / "one.ipynb", as_version=4)
    assert "papermill" not in executed.metadata and executed.metadata.kernelspec.name == "python3"


def test_a_dead_kernel_is_an_error_of_its_notebook(folder):
    write("one", "print('so', 'far')", "import os; os._exit(3)")
    with pytest.raises(RuntimeError, match=r"notebook one: .*died"):
        run_notebook("one", {}, folder / "out")
    assert "so far" in (folder / "out" / "one.html").read_text(encoding="utf-8")


# ------------------------------------------------------------------ the page of a notebook


def test_formulas_are_pictures_on_their_line(tmp_path):
    text = "Sum $S = V + \\alpha P$ in `$not$` here.\n\n$$\\frac{a}{b}$$\n\nOdd: $\\nosuch{x}$"
    nbformat.write(new_notebook(cells=[new_markdown_cell(text)]), tmp_path / "one.ipynb")
    html = export_html(tmp_path / "one.ipynb")
    found = re.findall(r'<img [^>]*class="tas-formula"[^>]*>', html)
    assert len(found) == 2 and 'alt="S = V + \\alpha P"' in found[0]
    assert '<span class="tas-display"><img' in html
    assert "<code>$not$</code>" in html and "<code>\\nosuch{x}</code>" in html
    assert not fetched(html)
    drawn = base64.b64decode(re.search(r"svg\+xml;base64,([^\"]+)", found[0]).group(1))
    assert b"<path" in drawn and b"<text" not in drawn  # needs no font
    flat, deep = (
        float(re.search(r"vertical-align: (-?[\d.]+)em", formula_html(tex)).group(1))
        for tex in ("x", "y_{g_j}")
    )
    assert deep < flat <= 0


def test_a_notebooks_page_can_be_read_without_eyes_or_mouse():
    html = export_html(paths.NOTEBOOKS / "04_n_score.ipynb", "index.html")
    page = Tags(html)
    assert not page.bare and len(page.headings) == 1 and page.headings[0]
    assert f"<title>{page.headings[0]}</title>" in html
    assert '<a href="index.html">' in html  # the way back
    assert html.count("<table") == html.count('<table tabindex="0"') > 0
    assert "details::details-content { content-visibility: visible" in html  # in print


def luminance(color):
    """Of a colour such as #0b5394, after WCAG 2.2."""
    digits = color[1:] if len(color) == 7 else "".join(2 * c for c in color[1:4])
    parts = np.array([int(digits[k : k + 2], 16) for k in (0, 2, 4)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(one, other):
    """The ratio of two colours, 1 to 21."""
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def test_text_of_the_pages_stands_out():
    """WCAG 2.2 AA: 4.5 to 1, for each colour of text on each ground where it stands."""
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    style = (TEMPLATES / "index.html.j2").read_text(encoding="utf-8")
    named = dict(re.findall(r"--(\w+): (#\w+)", style))
    words = [named[name] for name in ("ink", "soft", "accent")]
    words += re.findall(r"\.(?:right|wrong|moved|unproposed) { color: (#\w+)", style)
    pairs = [(word, named[ground]) for word in words for ground in ("paper", "wash")]
    grounds = [named[name] for name in ("paper", "wash", "warnwash")]
    (failed,) = re.findall(r"\.failed { color: (#\w+)", style)
    pairs += [(word, ground) for word in (failed, named["ink"]) for ground in grounds]
    style = (TEMPLATES / "offline" / "index.html.j2").read_text(encoding="utf-8")
    words = re.findall(r"[^-]color: (#\w+)", style) + re.findall(r"-color: (#\w{6})", style)
    html = export_html(paths.NOTEBOOKS / "06_study.ipynb")
    last = dict(re.findall(r"(--[\w-]+): *([^;}]+?) *[;}]", html))
    ground = last["--jp-cell-editor-background"]
    for value in re.findall(r"\.highlight \.\w+ *{ *color: ([^;}]+)", html):
        while value.startswith("var("):
            value = last[re.match(r"var\((--[\w-]+)", value).group(1)]
        if value.startswith("#"):
            pairs.append((value, ground if ground.startswith("#") else "#f5f5f5"))
    pairs += [(word, ground) for word in words for ground in ("#ffffff", "#f5f5f5")]
    assert len(words) >= 8 and len(pairs) > 60
    weak = {pair: round(contrast(*pair), 2) for pair in pairs if contrast(*pair) < 4.5}
    assert not weak


# ------------------------------------------------------------------ what a report is about


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"splits": ["valid"]}, "no split 'valid'; it has val, testA, testB, testS"),
        ({"preset": "tny"}, "unknown preset"),
        ({"families": ["coco"]}, "'coco' is none of DATASETS"),
        ({"families": ["own"]}, "no report on own data"),
        ({"families": ["photos7"], "splits": ["val"]}, "no split 'val'; it has all"),
        ({"only": "01,77"}, "no notebook '77' for --only; there are 00, 01"),
    ],
)
def test_mistakes_are_known_before_any_work(tmp_path, given, message):
    with pytest.raises(TasError, match=re.escape(message)):
        build_report(1, out=tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_only_numbered_notebooks_that_suit_take_part_in_their_order(folder):
    for name in ("03_c", "00_a", "A1_appendix", "07_peers", "10_d"):
        write(name)
    given = {"families": ["refscenes+"], "splits": ["val"], "preset": "tiny"}
    books = plan(1, **given).books
    assert [book.name for book in books] == ["00_a", "03_c", "07_peers", "10_d"]
    assert not any(book.left_out for book in books)
    chosen = plan(1, **given, only="10, 0").books
    assert [book.name for book in chosen if not book.left_out] == ["00_a", "10_d"]
    assert chosen[0].title == "Title" and chosen[1].left_out == "--only does not name it"
    planned = plan(None, families=["photos7"])
    assert planned.preset.name == "photo" and planned.chief == "photos7 all"
    assert "which preset photo has not" in planned.books[2].left_out
    assert plan(1).preset.name == plan(1, families=["refscenes+"]).preset.name == "tiny"


def test_a_second_report_takes_the_runs_that_are_there(world, tmp_path, monkeypatch, capsys):
    for room in ("report", "evaluate"):
        monkeypatch.setattr(f"tasutils.{room}.git_state", lambda _: ("c0ffee", False))

    def runs(limit):
        asked = report.Report(load_preset("tiny"), "tiny", [world[0]], "refscenes val", limit)
        report._evaluate(asked, tmp_path / "o")
        return [run.record.run_id for run in asked.runs], asked.reused

    (first, none), (again, reused), (other, fresh) = runs(2), runs(2), runs(1)
    assert first == again and reused == set(first) and not none
    assert "1 of 1 runs are there and reused" in capsys.readouterr().err
    assert other != first and not fresh


# ------------------------------------------------------------------ a report

DOOR = """\
import tasutils
tas = tasutils.load(preset)
print("caption:", *tas.captioner.caption([0]), "of", tas.preset.captioner.words)
"""
SHOWS = "from IPython.display import Image\nImage({!r})"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The report on the first image of val of each family, and what was said on stderr."""
    root = tmp_path_factory.mktemp("report")
    (root / "notebooks").mkdir()
    picture, said = str(paths.ROOT / "data" / "readme" / "overlay.png"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(said):
        patch.setattr(paths, "NOTEBOOKS", root / "notebooks")
        write("00_good", DOOR, "print(data, number, sentence, limit)", parameters=GIVEN)
        write("02_bad", "print('so', 'far')", "{}['gone']", "print('never', 'shown')")
        write("03_fine", SHOWS.format(picture))
        write("10_last")
        options = {"preset": own_preset(root), "out": root / "results", "only": "00,02,3"}
        made = build_report(1, ["val"], **options)
    html = made.page.read_text(encoding="utf-8")
    return SimpleNamespace(report=made, folder=made.page.parent, html=html, said=said.getvalue())


@pytest.mark.slow
def test_a_failing_notebook_does_not_stop_the_report_which_lies_whole_in_its_folder(built):
    folder, failed = built.folder, "notebook 02_bad, cell 3: KeyError: 'gone'; 02_bad.html"
    names = {f"{k}.{kind}" for k in ("00_good", "02_bad", "03_fine") for kind in ("ipynb", "html")}
    names |= {"index.html", "runs", "ablation.csv", "contributions.csv", "breakdown.csv"}
    assert {path.name for path in folder.iterdir()} == names
    assert folder.name.endswith("_report_mine_partial1") and not list(folder.parent.glob(".tas-*"))
    assert {run.record.dataset for run in list_runs(folder.parent)} == set(group("refscenes"))
    assert set(built.report.failed) == {"02_bad"}
    assert built.report.failed["02_bad"].startswith(failed)
    assert f"notebook 02_bad: FAILED: {failed}" in built.said
    ran = re.findall(r"^notebook (\w+): \d+ s$", built.said, flags=re.M)
    assert sorted(ran) == ["00_good", "03_fine"]
    bad = (folder / "02_bad.html").read_text(encoding="utf-8")
    assert "so far" in bad and "never shown" not in bad and "KeyError" in bad
    assert built.html.count("FAILED") == 2 and "KeyError: &#39;gone&#39;" in built.html
    assert "--only does not name it" in built.html  # 10


@pytest.mark.slow
def test_a_class_of_one_s_own_reaches_a_notebooks_kernel(built):
    """`kind: my_captions:Mine` in a preset file beside its module; and what a notebook is given."""
    made, html = built.report, (built.folder / "00_good.html").read_text(encoding="utf-8")
    assert "caption: a mine of a mine" in html
    assert "refscenes val 5 the dog on the right 1" in html
    given = made.books[0].parameters
    assert given["preset"] == str(built.folder.parents[1] / "mine.yaml")
    assert given["results"] == str(built.folder.parent)
    assert given["runs"].split(",") == [run.record.run_id for run in made.runs]


@pytest.mark.slow
def test_the_page_says_what_its_numbers_rest_on(built):
    html, folder = built.html, built.folder
    records = [run.record for run in built.report.runs]
    n, total = sum(r.n_used for r in records), sum(r.n_total for r in records)
    assert html.count(f"partial, n = {n} of {total} sentences") >= 6
    assert "never comparable with RefCOCO" in html and "TAS on RefScenes" in html
    for record in records:
        metric = record.metrics["miou"]
        assert f"{100 * metric.value:.1f} [{100 * metric.low:.1f}, " in html
        assert f'href="runs/{record.run_id}.json"' in html
        copy = folder / "runs" / f"{record.run_id}.json"
        assert copy.read_bytes() == (folder.parent / record.run_id / "run.json").read_bytes()
        assert f"&#34;run_id&#34;: &#34;{record.run_id}&#34;" in html  # shown as well
    words = re.sub(r"data:image/[^\"]+", "", html)
    assert not re.search(r"\b(nan|inf)\b", words, flags=re.I)
    environment = html[html.index('id="environment"') :]
    assert f"<li>tasutils {tasutils.__version__}</li>" in environment
    assert re.search(r"<li>torch \d+\.\d+", environment) and "<li>nbconvert " in environment
    assert "<td>captioner.kind</td><td>my_captions:Mine</td>" in html


@pytest.mark.slow
def test_the_pages_need_no_network_and_every_link_leads_somewhere(built):
    html = built.html
    for file in built.folder.glob("*.html"):
        text = file.read_text(encoding="utf-8")
        assert not fetched(text) and "require.js" not in text and not Tags(text).bare, file.name
        assert "@media print" in text
    links = re.findall(r"<a[^>]* href=\"([^\"]+)\"", html)
    assert len(links) > 10 and Tags(html).headings == ["TAS on RefScenes"]
    for link in links:
        if link.startswith("#"):
            assert f'id="{link[1:]}"' in html
        elif not link.startswith("http"):
            assert (built.folder / link).is_file(), link
    examples = html[html.index('id="examples"') : html.index('id="notebooks"')]
    cards = re.findall(r"<figure>\s*<img.*?</figure>", examples, flags=re.S)
    assert 1 <= len(cards) <= 12
    assert all('src="data:image/jpeg;base64,' in card and "IoU" in card for card in cards)
    assert '<img loading="lazy" alt="the first picture' in html  # of 03


@pytest.mark.slow
def test_on_photographs_the_page_says_what_they_are(built):
    data = [load_dataset("photos7", "all"), *built.report.data]
    photos = replace(built.report, preset=load_preset("photo"), data=data)
    tables = {file.stem: pd.read_csv(file) for file in built.folder.glob("*.csv")}
    html = report.page(photos, tables, built.folder)
    assert "TAS on photographs" in html and "n = 35" in html
    assert "P is no independent evidence" in html and "nothing here is zero-shot" not in html
    drawn = replace(built.report, preset=load_preset("tiny"))
    tiny = report.page(drawn, tables, built.folder)
    assert "nothing here is zero-shot" in tiny and "independent evidence" not in tiny


@pytest.mark.slow
def test_the_tables_have_every_variant_and_the_evaluations_own_numbers(built):
    ablation = pd.read_csv(built.folder / "ablation.csv")
    assert len(ablation) == 11 * len(group("refscenes")) and ablation.notna().all().all()
    names = (RANDOM, "V", "V+P", "V+N", "V+P+N")
    expected = {(name, on) for name in names for on in (False, True)} | {("oracle", False)}
    for _, part in ablation.groupby("family"):
        assert set(zip(part["variant"], part["rectifier"], strict=True)) == expected
    assert ablation["partial"].all() and (ablation["n_images"] == 1).all()
    full = ablation.query("variant == 'V+P+N' and rectifier").set_index("family")
    for run in built.report.runs:
        for column, metric in (("mean", "miou"), ("oiou", "oiou")):
            value = run.record.metrics[metric].value
            assert full.loc[run.record.dataset, column] == pytest.approx(value)
