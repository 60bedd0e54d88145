"""All notebooks: tidy as they ship, in line with their twins; 00 with a picture of one's own."""

import os
import re

import jupytext
import nbformat
import numpy as np
import pytest
from notebook_tools import build
from PIL import Image
from shown import pictures, tables

from tasutils import paths
from tasutils.notebooks import notebook_parameters, run_notebook

NAMES = sorted(path.stem for path in paths.NOTEBOOKS.glob("*.ipynb"))
ALONE = {"00", "06", "10"}  # a picture, given runs, and a machine
COMMON = ["preset", "data", "limit", "n_boot", "results"]


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_notebook_is_tidy_small_of_no_machine_and_as_its_twin(name):
    path = paths.NOTEBOOKS / f"{name}.ipynb"
    text, twin = path.read_text("utf-8"), (build.SOURCE / f"{name}.py").read_text("utf-8")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert all(re.fullmatch(r"[a-z][a-z-]*", cell.id) for cell in notebook.cells)
    assert notebook.metadata.kernelspec.name == "python3" and "widgets" not in notebook.metadata
    assert "In this notebook" in notebook.cells[0].source
    assert any("What was seen" in cell.source for cell in notebook.cells[-2:])
    assert any("refuse_unknown()" in cell.source for cell in code[:3])
    assert not any("data/" in cell.source for cell in code)
    known = list(notebook_parameters(path))
    if name[0] != "A" and name[:2] not in ALONE:
        assert [n for n in known if n in COMMON] == [n for n in COMMON if n in known]
        assert {"preset", "data", "limit"} <= set(known)
    words = re.sub(r'"image/(?:png|jpeg)": "[^"]*"|base64,[A-Za-z0-9+/=]+', "", text)
    for place in (*map(str, (paths.ROOT, paths.RESULTS)), "/tmp/", "/home/", "/root/", "/work/"):
        assert place not in words, place
    assert not re.search(r"\b20\d{6}-\d{6}_|\d\d:\d\d:\d\d", words)
    assert known and len(text) <= build.LARGEST_BYTES and "widget-view" not in words
    assert jupytext.writes(notebook, build.FORMAT) == twin, "run: python notebooks/build.py"
    assert build.clean(build.notebook_of(twin, notebook)) == build.clean(notebook)


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """A notebook with its twin in a folder of their own; returns both paths."""
    for name, folder in (("NOTEBOOKS", ""), ("SOURCE", "source"), ("EXERCISES", "exercises")):
        monkeypatch.setattr(build, name, tmp_path / folder)
    notebook = build.notebook_of('# %% [markdown]\n# # A title\n\n# %% tags=["x"]\na = 1\n')
    (tmp_path / "source").mkdir()
    for path, text in (
        (tmp_path / "00_a.ipynb", nbformat.writes(notebook) + "\n"),
        (tmp_path / "source" / "00_a.py", build.text_of(notebook)),
    ):
        path.write_text(text, encoding="utf-8")
    return tmp_path / "00_a.ipynb", tmp_path / "source" / "00_a.py"


@pytest.mark.parametrize("newer", ["twin", "notebook"])
def test_the_newer_of_a_pair_wins_and_cells_keep_their_ids(pair, newer):
    book, twin = pair
    before = nbformat.read(book, as_version=4)
    before.cells[1].id, before.cells[1].execution_count = "one-word", 3
    before.cells[1].outputs = [nbformat.v4.new_output("stream", text="old")]
    before.metadata["widgets"] = {}
    nbformat.write(before, book)
    if newer == "twin":
        twin.write_text(twin.read_text().replace("a = 1", "a = 2") + "\n# %%\nb = 3\n")
    else:
        before.cells[1].source = "a = 2"
        nbformat.write(before, book)
    later = os.stat(book).st_mtime + 10
    os.utime(twin if newer == "twin" else book, (later, later))
    wanted = build.wanted()
    after = nbformat.reads(wanted[book], as_version=4)
    assert [cell.id for cell in after.cells][:2] == ["a-title", "one-word"]
    assert "a = 2" in wanted[twin] and after.cells[1].source == "a = 2"
    assert after.cells[1].metadata == {"tags": ["x"]} and dict(after.metadata) == build.METADATA
    assert not after.cells[1].outputs and after.cells[1].execution_count is None


@pytest.mark.slow
def test_the_quickstart_takes_a_picture_of_ones_own(tmp_path):
    image = np.full((90, 120, 3), 230, np.uint8)
    image[20:70, 10:50] = (200, 30, 30)
    image[20:70, 70:110] = (30, 30, 200)
    Image.fromarray(image).save(tmp_path / "own.png")
    given = {"picture": str(tmp_path / "own.png"), "sentence": "the 🚗 on the right"}
    given["preset"] = "tiny"
    html = run_notebook("00_quickstart", given, tmp_path).read_text(encoding="utf-8")
    assert "the 🚗 on the right" in html
    assert "tas-frozen" in html and "alpha (P) <b>" in html
    assert len(pictures(tmp_path / "00_quickstart.ipynb")) >= 6
    table = next(t for t in tables(tmp_path / "00_quickstart.ipynb") if "rank" in t)
    assert sorted(table["rank"].astype(int)) == list(range(1, len(table) + 1))
