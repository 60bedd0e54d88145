"""Notebook 08, executed on two pictures that are described once."""

import re

import nbformat
import pytest
from published_trees import write_refcoco

from tasutils.notebooks import run_notebook

pytestmark = pytest.mark.slow
IMAGES = 2


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The folder that the notebooks share."""
    return tmp_path_factory.mktemp("results")


class Shown:
    """What an executed notebook shows, by the cell's id."""

    def __init__(self, page):
        self.html = page.read_text(encoding="utf-8")
        notebook = nbformat.read(page.with_suffix(".ipynb"), as_version=4)
        self.cells = {cell.id: cell.get("outputs", []) for cell in notebook.cells}

    def pictures(self, cell):
        return sum("image/png" in output.get("data", {}) for output in self.cells[cell])

    def text(self, cell):
        kinds = ("text/markdown", "text/html")
        found = [output.get("text", "") for output in self.cells[cell]]
        data = [output.get("data", {}) for output in self.cells[cell]]
        return "\n".join([*found, *(each[kind] for each in data for kind in kinds if kind in each)])


def run(name, results, out, **parameters):
    page = run_notebook(
        name, {"limit": IMAGES, "n_boot": 50, "results": results, **parameters}, out
    )
    shown = Shown(page)
    assert "http://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", shown.html)
    return shown


def test_real_data_without_any_runs_on_refscenes_and_says_so(results, tmp_path):
    shown = run("08_real_data", results, tmp_path, data="refscenes val", root=str(tmp_path))
    told = "\n".join(shown.text(cell) for cell in shown.cells)
    assert "tas data get refcoco" in told and "13.51" in told and "(here)" not in told
    assert "No published data set is here" in told
    for name in ("refscenes val", "phrasescenes val"):
        assert re.search(rf"\* {name}, n = \d+: mIoU 0\.\d+ \[0\.\d+, 0\.\d+\] of 0\.\d+", told)
    assert "numbers of a drawn world" in told and "drawn by two rules: IoU 0." in told
    assert sum(shown.pictures(cell) for cell in shown.cells) == 5


def test_published_data_that_is_here_is_taken(results, tmp_path):
    write_refcoco(tmp_path)
    data = "refcoco testA"
    shown = run("08_real_data", results, tmp_path, data=data, root=str(tmp_path), preset="tiny")
    told = "\n".join(shown.text(cell) for cell in shown.cells)
    assert "refcoco (here)" in told and "* refcoco testA, n = 3: mIoU" in told
    assert "No published data set" not in told and "drawn world" not in told
