"""Exercises: generated from their solutions, solved ones pass their checks, unsolved ones fail."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from notebook_tools import Shown, build, run_cell

from tasutils import paths

SOLUTIONS = sorted(build.EXERCISES.glob("*_solution.py"))
NAMES = [path.stem.removesuffix("_solution") for path in SOLUTIONS]


@pytest.fixture(scope="module", autouse=True)
def results(tmp_path_factory: pytest.TempPathFactory):
    """One folder of runs and scenes for all exercises: a picture is described once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "RESULTS", tmp_path_factory.mktemp("results"))
        yield


def solution(name: str) -> NotebookNode:
    text = (build.EXERCISES / f"{name}_solution.py").read_text(encoding="utf-8")
    return build.notebook_of(text)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_checks_pass_when_solved_and_not_before(name):
    """Each cell left unsolved, all others solved: it fails itself, or the next check does."""
    cells = [cell for cell in solution(name).cells if cell.cell_type == "code"]
    names, shown = dict[str, Any](), Shown({})
    waiting: list[str] = []
    for cell in cells:
        if build.BEGIN in cell.source:
            waiting.append(cell.source)
        if cell.source.startswith("# check"):
            for source in waiting:
                assert fails_unsolved(source, waiting, cell.source, names), source
            waiting.clear()
        run_cell(cell.source, names, shown)
    assert len(waiting) <= 1  # the open end of an exercise, where nothing is right or wrong
    assert shown.words


def fails_unsolved(unsolved: str, block: list[str], check: str, names: dict[str, Any]) -> bool:
    """Does a check fail where one cell of its block is as the student finds it?"""
    trial = dict(names)
    try:
        for source in [*block[: block.index(unsolved)], build.emptied(unsolved)]:
            run_cell(source, trial, Shown({}))
        run_cell(check, trial, Shown({}))
    except Exception:
        return True
    return False


@pytest.mark.parametrize("name", NAMES)
def test_an_exercise_is_its_solution_emptied(name):
    path = build.EXERCISES / f"{name}.ipynb"
    text = Path(f"{path.with_suffix('')}_solution.py").read_text(encoding="utf-8")
    wanted = nbformat.writes(build.exercise_of(text)) + "\n"
    assert path.read_text(encoding="utf-8") == wanted, "run: make notebooks"


def test_only_the_stub_is_left_of_a_solved_block():
    source = "a = 1\n# solution: begin\n#: b = ...  # two\nb = 2\n# solution: end\nc = a + b"
    assert build.emptied(source) == "a = 1\nb = ...  # two\nc = a + b"
    indented = "for a in b:\n    # solution: begin\n    #: c = ...\n    c = a\n    # solution: end"
    assert build.emptied(indented) == "for a in b:\n    c = ..."
