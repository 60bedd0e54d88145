"""Run a notebook with other parameters, and keep it as one page that needs no network."""

from __future__ import annotations

import ast
import base64
import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

from tasutils import paths
from tasutils.errors import TasError

KERNEL = "tasutils-here"
TEMPLATES = Path(__file__).parent / "report_template"
_CONTROL = "application/vnd.jupyter.widget-view+json"
_PICTURES = ("image/png", "image/jpeg", "image/svg+xml")
_FORMULA_PT = 12.0  # any size: the page scales a formula with its text


def run_notebook(
    name: str, parameters: Mapping[str, Any], out_dir: str | Path, *, threads: int | None = None,
    home: str = "",
) -> Path:  # fmt: skip
    """Run a notebook in this very interpreter; write it as `name`.ipynb and `name`.html.

    parameters: in place of the notebook's own; threads: of the networks; home: a page beside it
    that it links back to. Returns the page, which is self-contained; both files are written after a
    failure too, and show how far the notebook came. TasError: no such notebook, another parameter,
    an unwritable folder, or a user's mistake. RuntimeError: a cell failed.
    """
    import nbformat
    from papermill import execute_notebook
    from papermill.exceptions import PapermillExecutionError

    source, target = paths.NOTEBOOKS / f"{name}.ipynb", Path(out_dir) / f"{name}.ipynb"
    if not source.is_file():
        known = ", ".join(sorted(p.stem for p in paths.NOTEBOOKS.glob("*.ipynb"))) or "none"
        raise TasError(f"no notebook {name!r} in {paths.NOTEBOOKS}; there are: {known}")
    values = check_parameters(source, parameters)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"")
    except OSError as error:
        raise TasError(f"cannot write {out_dir}: {error.strerror}; choose another folder") from None
    failure: TasError | RuntimeError | None = None
    shows = f"{name}.html shows how far it came"
    try:
        execute_notebook(
            source, target, values, kernel_name=KERNEL, language="python", progress_bar=False,
            kernel_manager_class=_kernel_manager(threads), autosave_cell_every=0,
        )  # fmt: skip
    except PapermillExecutionError as error:
        failure = TasError(error.evalue)
        if error.ename != TasError.__name__:
            what = f"cell {error.cell_index}: {error.ename}: {error.evalue}"
            failure = RuntimeError(f"notebook {name}, {what}; {shows}")
    except (RuntimeError, TimeoutError) as error:  # the kernel died, or answers no more
        failure = RuntimeError(f"notebook {name}: {error}; {shows}")
    notebook = nbformat.read(target, as_version=4)
    for key in ("papermill", "widgets"):  # paths of this machine; controls with their HTML
        notebook.metadata.pop(key, None)
    spec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata.kernelspec = spec
    nbformat.write(notebook, target)
    page = target.with_suffix(".html")
    with paths.whole_file(page) as temporary:
        temporary.write_text(export_html(target, home), encoding="utf-8")
    if failure is not None:
        raise failure
    return page


def _kernel_manager(threads: int | None) -> type:
    """A kernel manager that starts this interpreter, whatever kernelspecs are installed."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    path = (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))
    settings = paths.OFFLINE | {
        "TAS_HOME": str(paths.ROOT),
        "TAS_RESULTS": str(paths.RESULTS),
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
    }
    if threads is not None:
        settings["OMP_NUM_THREADS"] = str(threads)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    command.append("--IPKernelApp.log_level=50")

    class ThisInterpreter(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(argv=command, language="python", display_name=KERNEL, env=settings)

        async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
            await super().start_kernel(**{**options, "cwd": str(paths.ROOT)})

    return ThisInterpreter


def notebook_parameters(path: Path) -> dict[str, Any]:
    """The names and default values of a notebook's parameters cell; raises TasError."""
    from papermill import inspect_notebook

    found = {}
    for name, entry in inspect_notebook(path).items():
        try:
            found[name] = ast.literal_eval(entry["default"])
        except (ValueError, SyntaxError):
            raise TasError(f"{path.name}: parameter {name} must be a plain scalar") from None
    return found


def check_parameters(path: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as the notebook wants them, or TasError; one that is None takes a number."""
    known, values = notebook_parameters(path), {}
    for name, value in parameters.items():
        if name not in known:
            names = ", ".join(known) or "none"
            raise TasError(f"notebook {path.stem} has no parameter {name!r}; it has: {names}")
        wanted, plain = type(known[name]), str(value) if isinstance(value, Path) else value
        if wanted is float and type(plain) is int:
            plain = float(plain)
        number = known[name] is None
        if type(plain) is not wanted and not (number and type(plain) in {int, float}):
            kind = "number or None" if number else wanted.__name__
            told = f"{kind}, not {type(value).__name__} {value!r}; its default is {known[name]!r}"
            raise TasError(f"notebook {path.stem}: parameter {name} is {told}")
        values[name] = plain
    return values


def refuse_unknown(cells: Sequence[str] | None = None) -> None:
    """In a notebook: refuse parameters that papermill, which only logs it, should not have passed.

    cells: the sources of those that have run, the parameters' cell first; None: IPython's.

    >>> refuse_unknown(["limit = 4", "# Parameters\\nlimt = 2"])
    Traceback (most recent call last):
    tasutils.errors.TasError: no parameter 'limt'; this notebook has: limit
    """
    if cells is None:
        from IPython import get_ipython

        shell = get_ipython()  # type: ignore[no-untyped-call]
        cells = shell.user_ns["In"][1:] if shell is not None else []
    known, given = ([*re.findall(r"(?m)^(\w+) *=", cell)] for cell in [*cells, "", ""][:2])
    if len(cells) > 1 and cells[1].startswith("# Parameters"):
        for name in given:
            if name not in known:
                raise TasError(f"no parameter {name!r}; this notebook has: {', '.join(known)}")


def export_html(path: Path, home: str = "") -> str:
    """An executed notebook as a page: pictures inside, controls as they stood, nothing fetched.

    Formulas become pictures, since the page has no script. home: a page that it links back to.
    """
    import nbformat
    from jinja2 import pass_context
    from nbconvert import HTMLExporter
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def block_math(self, body: str) -> str:
            return formula_html(body, display=True)

        def latex_environment(self, name: str, body: str) -> str:
            return formula_html(body, display=True)

        def inline_math(self, body: str) -> str:
            return formula_html(body)

    class Exporter(HTMLExporter):
        @pass_context
        def markdown2html(self, context: Any, source: str) -> str:
            # what a cell shows as Markdown may hold others' words: no markup, no address with code
            renderer = Renderer(
                escape=True, allow_harmful_protocols=False, embed_images=True, anchor_link_text="",
                attachments=context.get("cell", {}).get("attachments", {}),
            )  # fmt: skip
            return str(MarkdownWithMath(renderer=renderer).render(source))

    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.title = title_of(notebook, path.stem)
    _describe_pictures(notebook)
    exporter = Exporter(
        template_name="offline", extra_template_basedirs=[str(TEMPLATES)], embed_images=True
    )
    exporter.log.setLevel(logging.ERROR)
    body, _ = exporter.from_notebook_node(notebook, {"home": home, "metadata": {}})
    # a table that scrolls is to be reached with the keyboard
    return re.sub(r"<table\b", '<table tabindex="0"', str(body))


def title_of(notebook: Any, name: str) -> str:
    """The first heading of a notebook, or its name."""
    texts = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    found = (re.search(r"^# +(.+)$", text, flags=re.M) for text in texts)
    return next((heading.group(1).strip() for heading in found if heading), name)


def _describe_pictures(notebook: Any) -> None:
    """Say of each picture that has no words where it stands, for those who cannot see it."""
    section = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            section = (re.findall(r"^#+ +(.+)$", cell.source, flags=re.M) or [section])[-1]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "text/html" in data:
                data.pop(_CONTROL, None)
            for kind in data.keys() & set(_PICTURES):
                words = output.setdefault("metadata", {}).setdefault(kind, {})
                words.setdefault("alt", f"figure under the heading “{section}”")


@lru_cache(maxsize=256)
def formula_html(tex: str, display: bool = False) -> str:
    r"""A formula, in the TeX of matplotlib, as an <img> that stands on its line and grows with it.

    display: a paragraph of its own, in the middle. What cannot be set stays TeX, as <code>.

    >>> formula_html(r"\alpha P")[:39], formula_html(r"\nosuch{x}")
    ('<img class="tas-formula" alt="\\alpha P"', '<code>\\nosuch{x}</code>')
    """
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from matplotlib.mathtext import MathTextParser

    text, font = f"${tex.strip()}$", FontProperties(math_fontfamily="cm", size=_FORMULA_PT)
    try:
        width, height, depth, *_ = MathTextParser("path").parse(text, dpi=72, prop=font)
    except ValueError:
        return f"<code>{escape(tex)}</code>"
    figure, svg = Figure(figsize=(width / 72, height / 72)), BytesIO()
    figure.text(0, depth / height, text, fontproperties=font)
    figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    size = f"height: {height / _FORMULA_PT:.3f}em; vertical-align: {-depth / _FORMULA_PT:.3f}em"
    image = (
        f'<img class="tas-formula" alt="{escape(tex.strip())}" style="{size}" '
        f'src="data:image/svg+xml;base64,{base64.b64encode(svg.getvalue()).decode("ascii")}">'
    )
    return f'<span class="tas-display">{image}</span>' if display else image
