"""Notebooks run with strict parameters in this very interpreter; pages need no network."""

import re
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tasutils import paths, report
from tasutils.errors import TasError
from tasutils.execute import check_parameters, find_notebook, notebook_parameters, run_notebook

PARAMETERS = 'name = "a"\ncount = 3\nshare = 0.5\nflag = True\nweight = None  # a number\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of notebooks of our own; returns a function that writes one."""
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)

    def write(name: str, *sources: str) -> None:
        cells = [new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
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


def test_an_unknown_notebook_names_those_there_are(folder):
    folder("one")
    with pytest.raises(TasError, match="no notebook 'two'.* one"):
        find_notebook("two")


def test_a_place_that_cannot_be_written_is_said_before_the_work(folder, tmp_path):
    folder("one", "raise SystemExit('must never run')")
    (tmp_path / "file").write_text("")
    with pytest.raises(TasError, match="cannot write"):
        run_notebook("one", {}, tmp_path / "file" / "out")


def offline(html: str) -> bool:
    """Does a page fetch nothing: no script, style, picture or font of another place?"""
    fetched = re.findall(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=[\"']?([^\"'\s>]+)", html)
    fetched += re.findall(r"url\(\s*[\"']?([^)\"']+)", html) + re.findall(r"@import[^;]+;", html)
    return all(place.startswith(("data:", "#")) for place in fetched)


def test_a_notebook_runs_in_this_interpreter_and_becomes_one_page(folder, tmp_path):
    folder(
        "one",
        "import sys; print('python at', sys.executable)",
        "print('got', name, count, weight)",
        "import os; print('home', os.environ['TAS_HOME'])",
        "import ipywidgets; ipywidgets.FloatSlider(value=0.25, description='alpha')",
        "from IPython.display import HTML; HTML('<p>raw</p>')",
    )
    page = run_notebook("one", {"name": "b", "weight": 2}, tmp_path / "out", progress=False)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.html", "one.ipynb"]
    html = page.read_text(encoding="utf-8")
    assert f"python at {sys.executable}" in html and "got b 3 2" in html
    assert f"home {paths.ROOT}" in html
    assert "alpha <b>0.25</b>" in html and "<p>raw</p>" in html
    assert offline(html) and "require.js" not in html and "cdn" not in html.lower()
    executed = nbformat.read(page.with_suffix(".ipynb"), as_version=4)
    assert "papermill" not in executed.metadata and executed.metadata.kernelspec.name == "python3"


def test_a_failing_cell_is_named_and_a_users_mistake_stays_one(folder, tmp_path):
    folder("one", "x = 1", "{}['gone']")
    with pytest.raises(RuntimeError, match="notebook one, cell 3: KeyError: 'gone'"):
        run_notebook("one", {}, tmp_path / "out", progress=False)
    folder("two", "import tasutils; raise tasutils.TasError('no run; make one')")
    with pytest.raises(TasError, match="^no run; make one$"):
        run_notebook("two", {}, tmp_path / "out", progress=False)


def test_a_report_of_an_unknown_split_or_preset_is_refused(tmp_path):
    with pytest.raises(TasError, match="no split 'valid'; there are val, testA, testB, testS"):
        report.build_report(1, ["valid"], out=tmp_path / "out")
    with pytest.raises(TasError, match="unknown preset"):
        report.build_report(1, preset="tny", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
