"""Notebooks run with strict parameters in this very interpreter; pages need no network."""

import base64
import re
import sys
from datetime import UTC, datetime

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from shown import fetched

from tasutils import cli, paths, report
from tasutils.config import load_preset
from tasutils.datasets import load_dataset
from tasutils.errors import TasError
from tasutils.notebooks import (
    check_parameters,
    export_html,
    formula_html,
    notebook_parameters,
    refuse_unknown,
    run_notebook,
)
from tasutils.report import build_report, plan

PARAMETERS = 'name = "a"\ncount = 3\nshare = 0.5\nflag = True\nweight = None  # a number\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of notebooks of our own; returns a function that writes one."""
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)

    def write(name: str, *sources: str, parameters: str = PARAMETERS) -> None:
        cells = [new_code_cell(parameters, metadata={"tags": ["parameters"]})]
        cells.append(new_markdown_cell("# Title\n\nText with $x^2$ and <b>markup</b>."))
        cells += [new_code_cell(source) for source in sources]
        spec = {"name": "no-such-kernel", "display_name": "none", "language": "python"}
        nbformat.write(
            new_notebook(cells=cells, metadata={"kernelspec": spec}), tmp_path / f"{name}.ipynb"
        )

    return write


def test_parameters_are_read_from_their_cell(folder, tmp_path):
    folder("one")
    known = {"name": "a", "count": 3, "share": 0.5, "flag": True, "weight": None}
    assert notebook_parameters(tmp_path / "one.ipynb") == known


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"nmae": "b"}, "no parameter 'nmae'; it has: name, count, share, flag, weight"),
        ({"count": "3"}, "parameter count is int, not str '3'"),
        ({"count": 3.5}, "parameter count is int, not float 3.5"),
        ({"count": True}, "parameter count is int, not bool True"),
        ({"flag": 1}, "parameter flag is bool, not int 1"),
        ({"name": None}, "parameter name is str, not NoneType None"),
        ({"weight": "0.5"}, "parameter weight is number or None, not str '0.5'"),
        ({"share": [1]}, "parameter share is float, not list"),
    ],
)
def test_unknown_names_and_wrong_types_are_refused(folder, tmp_path, given, message):
    folder("one", "raise SystemExit('must never run')")
    with pytest.raises(TasError, match=re.escape(message)):
        run_notebook("one", given, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_whole_numbers_paths_and_none_are_taken(folder, tmp_path):
    folder("one")
    given = {"share": 1, "weight": 0.25, "name": tmp_path}
    values = check_parameters(tmp_path / "one.ipynb", given)
    assert values == {"share": 1.0, "weight": 0.25, "name": str(tmp_path)}
    assert isinstance(values["share"], float)
    assert check_parameters(tmp_path / "one.ipynb", {"weight": None}) == {"weight": None}


def test_an_unknown_notebook_names_those_there_are(folder, tmp_path):
    folder("one")
    with pytest.raises(TasError, match="no notebook 'two'.* one"):
        run_notebook("two", {}, tmp_path / "out")


def test_papermill_by_hand_cannot_pass_a_misspelt_parameter(folder, tmp_path):
    """As in every shipped notebook, where the line stands after the imports."""
    from papermill import PapermillExecutionError, execute_notebook

    folder("one", "from tasutils.notebooks import refuse_unknown\n\nrefuse_unknown()")
    given = [str(tmp_path / f"{name}.ipynb") for name in ("one", "done")]
    execute_notebook(*given, {"count": 5}, kernel_name="python3", progress_bar=False)
    with pytest.raises(PapermillExecutionError, match="no parameter 'cuont'"):
        execute_notebook(*given, {"cuont": 5}, kernel_name="python3", progress_bar=False)
    refuse_unknown(["a = 1"])
    refuse_unknown(["a = 1", "b = 2"])


def test_a_place_that_cannot_be_written_is_said_before_the_work(folder, tmp_path):
    folder("one", "raise SystemExit('must never run')")
    (tmp_path / "file").write_text("")
    with pytest.raises(TasError, match="cannot write"):
        run_notebook("one", {}, tmp_path / "file" / "out")


def test_a_notebook_runs_in_this_interpreter_and_becomes_one_page(folder, tmp_path):
    folder(
        "one",
        "import sys; print('python at', sys.executable)",
        "print('got', name, count, weight)",
        "import os; print('home', os.environ['TAS_HOME'])",
        "import ipywidgets; ipywidgets.FloatSlider(value=0.25, description='alpha')",
        "from IPython.display import HTML; HTML('<p>raw</p>')",
    )
    page = run_notebook("one", {"name": "b", "weight": 2}, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.html", "one.ipynb"]
    html = page.read_text(encoding="utf-8")
    assert f"python at {sys.executable}" in html and "got b 3 2" in html
    assert f"home {paths.ROOT}" in html
    assert "FloatSlider(value=0.25" in html and "<p>raw</p>" in html
    assert "<title>Title</title>" in html
    assert not fetched(html) and "require.js" not in html and "cdn" not in html.lower()
    executed = nbformat.read(page.with_suffix(".ipynb"), as_version=4)
    assert "papermill" not in executed.metadata and executed.metadata.kernelspec.name == "python3"


def test_a_failing_cell_is_named_and_a_users_mistake_stays_one(folder, tmp_path):
    folder("one", "x = 1", "{}['gone']")
    with pytest.raises(RuntimeError, match="notebook one, cell 3: KeyError: 'gone'"):
        run_notebook("one", {}, tmp_path / "out")
    folder("two", "import tasutils; raise tasutils.TasError('no run; make one')")
    with pytest.raises(TasError, match="^no run; make one$"):
        run_notebook("two", {}, tmp_path / "out")


def test_a_failing_notebook_shows_how_far_it_came(folder, tmp_path):
    folder("one", "print('so', 'far')", "1 / 0", "print('never', 'shown')")
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        run_notebook("one", {}, tmp_path / "out")
    html = (tmp_path / "out" / "one.html").read_text(encoding="utf-8")
    assert "so far" in html and "never shown" not in html
    assert "ZeroDivisionError" in html and not fetched(html)
    executed = nbformat.read(tmp_path / "out" / "one.ipynb", as_version=4)
    assert "papermill" not in executed.metadata


def test_a_dead_kernel_is_an_error_of_its_notebook(folder, tmp_path):
    folder("one", "print('so', 'far')", "import os; os._exit(3)")
    with pytest.raises(RuntimeError, match=r"notebook one: .*died"):
        run_notebook("one", {}, tmp_path / "out")
    assert "so far" in (tmp_path / "out" / "one.html").read_text(encoding="utf-8")


def test_formulas_are_pictures_on_their_line(folder, tmp_path):
    path = tmp_path / "one.ipynb"
    text = "Sum $S = V + \\alpha P$ in `$not$` here.\n\n$$\\frac{a}{b}$$\n\nOdd: $\\nosuch{x}$"
    nbformat.write(new_notebook(cells=[new_markdown_cell(text)]), path)
    html = export_html(path)
    found = re.findall(r'<img [^>]*class="tas-formula"[^>]*>|<img class="tas-formula"[^>]*>', html)
    assert len(found) == 2 and all("vertical-align: " in image for image in found)
    assert 'alt="S = V + \\alpha P"' in found[0]
    assert '<span class="tas-display"><img' in html
    assert "<code>$not$</code>" in html and "<code>\\nosuch{x}</code>" in html
    assert not fetched(html)
    drawn = base64.b64decode(re.search(r"svg\+xml;base64,([^\"]+)", found[0]).group(1))
    assert b"<path" in drawn and b"<text" not in drawn  # needs no font


def test_a_formula_stands_as_deep_as_its_descent():
    depths = [
        float(re.search(r"vertical-align: (-?[\d.]+)em", formula_html(tex)).group(1))
        for tex in ("x", "y_{g_j}")
    ]
    assert depths[1] < depths[0] <= 0


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


GIVEN = {"families": ["refscenes+"], "splits": ["val"], "preset": "tiny"}


def test_only_numbered_notebooks_take_part_in_their_order(folder):
    for name in ("03_c", "00_a", "A1_appendix", "10_d"):
        folder(name)
    assert [book.name for book in plan(1, **GIVEN).books] == ["00_a", "03_c", "10_d"]
    chosen = plan(1, **GIVEN, only="10, 0").books
    assert [book.name for book in chosen if not book.left_out] == ["00_a", "10_d"]
    assert chosen[0].title == "Title" and chosen[1].left_out == "--only does not name it"


def test_a_notebook_is_given_what_it_has(folder, tmp_path):
    samples = load_dataset("refscenes+", "val")
    common = 'preset = "x"\ndata = "x y"\nlimit = 8\nn_boot = 10\nresults = ""\n'
    folder("02_all", parameters=common)
    folder("05_more", parameters=common + 'number = 1\nsentence = "x"\nruns = ""\n')
    folder("06_none", parameters="seed = 0\n")

    def parameters(limit, results=tmp_path):
        planned = plan(limit, **GIVEN)
        return [report._parameters(book, planned, [], results) for book in planned.books]

    expected = {"preset": "tiny", "data": "refscenes+ val", "limit": 8, "results": str(tmp_path)}
    question = {"number": 0, "sentence": samples.samples[0].raw, "runs": ""}
    assert parameters(40) == [expected, expected | question, {}]
    assert parameters(5)[0]["limit"] == 5
    assert parameters(None)[0]["limit"] == len(samples.image_ids)
    assert "results" not in parameters(5, paths.RESULTS)[0]


def test_what_does_not_suit_is_left_out_with_its_reason(folder):
    folder("07_peers")
    planned = plan(None, families=["photos7"])
    assert planned.preset.name == "photo" and planned.chief == "photos7 all"
    assert "which preset photo has not" in planned.books[0].left_out
    assert not plan(1, **GIVEN).books[0].left_out
    assert plan(1).preset.name == plan(1, families=["refscenes+"]).preset.name == "tiny"


@pytest.mark.slow
def test_a_failing_notebook_does_not_stop_the_report(folder, tmp_path, capsys):
    folder("00_good", "print('it', 'ran')")
    folder("02_bad", "print('so', 'far')", "{}['gone']")
    folder("03_fine", "print('it', 'ran', 'too')")
    folder("10_last", "print('it', 'ran')")
    out = tmp_path / "results"
    words = ["report", "--dataset", "refscenes+", "--split", "val", "--limit", "1"]
    assert cli.main([*words, "--only", "00,02,3", "--out", str(out)]) == 1
    said = capsys.readouterr()
    (page,) = out.glob("*_report_refscenes+_tiny_partial1/index.html")
    assert str(page) in said.out
    for name in ("00_good", "03_fine"):
        assert re.search(rf"^notebook {name}: \d+ s$", said.err, flags=re.M)
    failed = "notebook 02_bad, cell 3: KeyError: 'gone'; 02_bad.html shows"
    assert f"notebook 02_bad: FAILED: {failed}" in said.err
    assert f"tas: notebook 02_bad failed: {failed}" in said.err
    html = page.read_text(encoding="utf-8")
    assert html.count("FAILED") == 2 and "KeyError: &#39;gone&#39;" in html
    assert "--only does not name it" in html  # 10
    assert "so far" in (page.parent / "02_bad.html").read_text(encoding="utf-8")
    for name in ("00_good", "02_bad", "03_fine"):
        assert f'href="{name}.html"' in html
    assert not list(out.glob(".tas-*")) and not fetched(html)


def test_a_second_report_takes_the_runs_that_are_there(world, tmp_path, monkeypatch, capsys):
    for room in ("runs", "evaluate"):
        monkeypatch.setattr(f"tasutils.{room}.git_state", lambda _: ("c0ffee", False))

    def runs(limit):
        asked = report.Report(
            load_preset("tiny"), "tiny", [world[0]], "refscenes val", limit, datetime.now(UTC)
        )
        return [run.record.run_id for run in report._evaluate(asked, tmp_path / "o")], asked.reused

    (first, none), (again, reused), (other, fresh) = runs(2), runs(2), runs(1)
    assert first == again and reused == set(first) and not none
    assert "1 of 1 runs are there and reused" in capsys.readouterr().err
    assert other != first and not fresh


@pytest.mark.parametrize("words", [["--only", "77"], ["--dataset", "coco"], ["--family", "x"]])
def test_a_mistake_is_one_line_and_exit_code_2(capsys, tmp_path, words):
    assert cli.main(["report", "--out", str(tmp_path / "out"), *words]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and said.err.startswith("tas: ") and not said.out
    assert not (tmp_path / "out").exists()


def test_two_notebooks_run_at_a_time_where_nothing_large_is_loaded(monkeypatch):
    tiny = load_preset("tiny")
    monkeypatch.setattr("tasutils.runs.cores", lambda: 2)
    assert report.at_once(tiny, "cpu") == 2 and report.at_once(tiny, "cuda") == 1
    monkeypatch.setattr(report, "LIGHT_BYTES", 1000)
    assert report.at_once(tiny, "cpu") == 1
