"""Notebooks for tests: build.py as a module, what a cell defines, and all cells run in-process."""

import ast
import contextlib
import importlib.util
import io
import sys
from typing import Any

import IPython.display
import jupytext
import matplotlib.pyplot as plt
import pandas as pd
from shown import tables_of

from tasutils import paths

_PLACE = paths.ROOT / "notebooks" / "build.py"
_spec = importlib.util.spec_from_file_location("notebooks_build", _PLACE)
assert _spec is not None and _spec.loader is not None
plt.switch_backend("agg")
build = importlib.util.module_from_spec(_spec)
sys.modules["notebooks_build"] = build
_spec.loader.exec_module(build)


def cells(name: str) -> list[Any]:
    """The code cells of a notebook's twin."""
    text = (build.SOURCE / f"{name}.py").read_text(encoding="utf-8")
    return [cell for cell in jupytext.reads(text, build.FORMAT).cells if cell.cell_type == "code"]


def written(name: str, **known: Any) -> dict[str, Any]:
    """What a notebook's imports and tagged cells define, beside names that it has by then."""
    found = dict(known)
    for cell in cells(name):
        if set(cell.metadata.get("tags", [])) - {"parameters"}:
            exec(cell.source, found)
        elif "refuse_unknown()" in cell.source:
            imports = [
                n for n in ast.parse(cell.source).body if isinstance(n, ast.Import | ast.ImportFrom)
            ]
            exec(compile(ast.Module(imports, []), "imports", "exec"), found)
    return found


class Shown:
    """What a notebook showed: all its words, Markdown, tables, HTML, and how many pictures."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.given, self.words, self.html, self.pictures = given, "", "", 0
        self.markdown: list[str] = []
        self.tables: list[pd.DataFrame] = []

    def show(self, *things: Any, **options: Any) -> None:
        """In place of `display`: what a page would get of each thing."""
        for thing in things:
            if options.get("raw"):  # a show.Picture, drawn
                self.pictures += 1
            elif isinstance(thing, plt.Figure) and not hasattr(thing, "_ipython_display_"):
                thing.canvas.draw()
                self.pictures += 1
            elif hasattr(thing, "_ipython_display_"):
                thing._ipython_display_()
            elif isinstance(thing, IPython.display.Markdown):
                self.markdown.append(thing.data)
                self.words += f"{thing.data}\n"
            elif hasattr(thing, "_repr_html_"):
                html = thing._repr_html_() or ""
                self.html += html
                self.tables += tables_of(html)
            else:
                self.words += f"{thing!r}\n"

    def close_figures(self) -> None:
        """Draw what pyplot holds, as the end of a cell does."""
        for number in plt.get_fignums():
            plt.figure(number).canvas.draw()
            self.pictures += 1
        plt.close("all")


def run_cell(source: str, names: dict[str, Any], shown: Shown) -> None:
    """Run a cell as Jupyter does: what its last line gives is shown."""
    tree, printed = ast.parse(source), io.StringIO()
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    silent = source.rstrip().endswith(";")
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "cell", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
            if value is not None and not silent:
                shown.show(value)
    shown.words += printed.getvalue()
    shown.close_figures()


def run_twin(name: str, **parameters: Any) -> Shown:
    """Run a notebook's cells in this process with other parameters."""
    names: dict[str, Any] = {"__name__": "__main__"}
    shown, display, show = Shown(parameters), IPython.display.display, plt.show
    IPython.display.display, plt.show = shown.show, lambda: shown.close_figures()
    try:
        for cell in cells(name):
            run_cell(cell.source, names, shown)
            if "parameters" in cell.metadata.get("tags", []):
                assert set(parameters) <= set(names), "no such parameter"
                names |= parameters
    finally:
        IPython.display.display, plt.show = display, show
    return shown
