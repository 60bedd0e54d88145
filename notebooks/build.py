"""Bring notebooks, their text twins and the exercises in line, and execute notebooks for git.

    NN_name.ipynb  <->  source/NN_name.py                        the same cells as text (jupytext)
    exercises/NN_name_solution.py  ->  exercises/NN_name.ipynb   the solutions taken out

Of a pair the file that was changed last is right, and the other one is written from it; cells keep
their ids, and their outputs where their code is the same. An exercise is always written from its
solution. With --check nothing is written, and what is out of line makes the exit code 1.

With --execute (`make notebooks`) the numbered notebooks are run as well, or those named after it
(`--execute 00 05`), and what they show is kept: pictures as JPEG, controls as they stood, no path
of this machine, no date of a run.
"""

import argparse
import base64
import io
import json
import re
import sys
import tempfile
import tomllib
from pathlib import Path

import jupytext
import nbformat
from jupytext.combine import combine_inputs_with_outputs
from nbformat import NotebookNode
from PIL import Image

NOTEBOOKS = Path(__file__).resolve().parent
SOURCE, EXERCISES = NOTEBOOKS / "source", NOTEBOOKS / "exercises"
_SETTINGS = tomllib.loads((NOTEBOOKS.parent / "pyproject.toml").read_text(encoding="utf-8"))
FORMAT = {"extension": ".py", "format_name": "percent", **_SETTINGS["tool"]["jupytext"]}
METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3",
    },
    "language_info": {"name": "python"},
}  # fmt: skip
LARGEST_BYTES = 1_000_000  # of an executed notebook
LARGE_PICTURE = 60_000  # characters in base64, from which a picture is made smaller
BEGIN, END, STUB = "# solution: begin", "# solution: end", "#: "


def text_of(notebook: NotebookNode) -> str:
    """The twin of a notebook: its kernel and cells in the percent format, without outputs."""
    return str(jupytext.writes(notebook, FORMAT))


def notebook_of(text: str, older: NotebookNode | None = None) -> NotebookNode:
    """A notebook of a twin's text; cells that `older` has keep their ids and metadata."""
    notebook = _read(text)
    if older is not None:
        notebook = combine_inputs_with_outputs(notebook, older, FORMAT)
        known = {cell.source for cell in older.cells}
        for cell in notebook.cells:
            if cell.cell_type == "code" and cell.source not in known:
                cell.outputs, cell.execution_count = [], None
    return clean(notebook, outputs=True)


def _read(text: str) -> NotebookNode:
    """Cells of the percent format, without the ids that jupytext draws at random."""
    notebook = jupytext.reads(text, FORMAT)
    for cell in notebook.cells:
        cell.id = ""
    return notebook


def clean(notebook: NotebookNode, outputs: bool = False) -> NotebookNode:
    """Take out what editors leave, and outputs unless asked; ids that are no words become some."""
    cells, used, section = [], set[str](), "opening"
    for cell in notebook.cells:
        kept = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        heading = re.search(r"^#+ (.+)$", cell.source, flags=re.M)
        heads = re.findall(r"[a-z]+", heading[1].lower()) if heading else []
        heads = heads if cell.cell_type == "markdown" else []
        section = "-".join(heads[:4]) or section
        name = cell.get("id", "")
        if not re.fullmatch(r"[a-z][a-z-]*", name):
            name = section if heads else _name(cell, section)
        while name in used:
            name += "-b"
        used.add(name)
        parts = {"cell_type": cell.cell_type, "id": name, "metadata": kept, "source": cell.source}
        if cell.cell_type == "code":
            kept_outputs = cell.get("outputs", []) if outputs else []
            count = cell.get("execution_count") if outputs else None
            parts |= {"execution_count": count, "outputs": kept_outputs}
        cells.append(NotebookNode(parts))
    made = {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
    return nbformat.from_dict(made)


def _name(cell: NotebookNode, section: str) -> str:
    if cell.source.startswith("# check"):
        return f"{section}-check"
    return f"{section}-code" if cell.cell_type == "code" else f"{section}-text"


def exercise_of(text: str) -> NotebookNode:
    """The exercise of a solution's text: solved lines give way to the stub that stands with them.

    Between the lines `# solution: begin` and `# solution: end` only what follows `#: ` is left.
    """
    notebook = _read(text)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = emptied(cell.source)
    return clean(notebook)


def emptied(source: str) -> str:
    """A solution's cell as the student finds it; raises ValueError for a marker without partner."""
    lines, solving = [], False
    for line in source.splitlines():
        mark = line.strip()
        if mark in (BEGIN, END):
            if solving == (mark == BEGIN):
                raise ValueError(f"{mark!r} twice in a row")
            solving = mark == BEGIN
        elif not solving:
            lines.append(line)
        elif mark.startswith(STUB):
            indent = line[: len(line) - len(line.lstrip())]
            lines.append(indent + mark.removeprefix(STUB))
    if solving:
        raise ValueError(f"{BEGIN!r} without {END!r}")
    return "\n".join(lines)


def wanted() -> dict[Path, str]:
    """What every file should hold: notebooks, twins and exercises."""
    files = {}
    names = {p.stem for p in NOTEBOOKS.glob("*.ipynb")} | {p.stem for p in SOURCE.glob("*.py")}
    for name in sorted(names):
        book, twin = NOTEBOOKS / f"{name}.ipynb", SOURCE / f"{name}.py"
        older = nbformat.read(book, as_version=4) if book.is_file() else None
        text = twin.read_text(encoding="utf-8") if twin.is_file() else ""
        if older is not None and text_of(clean(older)) == text:
            notebook = clean(older, outputs=True)
        elif older is None or (text and twin.stat().st_mtime > book.stat().st_mtime):
            notebook = notebook_of(text, older)
        else:
            notebook = clean(older)
        files |= {book: nbformat.writes(notebook) + "\n", twin: text_of(notebook)}
    for solution in sorted(EXERCISES.glob("*_solution.py")):
        name = solution.stem.removesuffix("_solution")
        notebook = exercise_of(solution.read_text(encoding="utf-8"))
        files[EXERCISES / f"{name}.ipynb"] = nbformat.writes(notebook) + "\n"
    return files


def execute(name: str) -> None:
    """Run a notebook with its own parameters, and keep what it shows in the notebook itself."""
    from tasutils import paths
    from tasutils.notebooks import run_notebook

    with tempfile.TemporaryDirectory() as folder:
        run_notebook(name, {}, folder)
        executed = nbformat.read(Path(folder) / f"{name}.ipynb", as_version=4)
    for cell in executed.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            data.pop("application/vnd.jupyter.widget-view+json", None)
            for kind in ("image/png", "image/jpeg"):
                if len(data.get(kind, "")) > LARGE_PICTURE:
                    as_jpeg(output, kind)
        text = json.dumps(cell.get("outputs", []))
        for place in (paths.RESULTS, paths.ROOT, Path.home(), Path(tempfile.gettempdir())):
            text = re.sub(rf"{re.escape(str(place))}(?=[/\\\\\"'\s:])/?", "", text)
        text = re.sub(r"\b20\d{6}-\d{6}_", "", text)  # of a run's name
        if "outputs" in cell:
            cell.outputs = [NotebookNode(one) for one in json.loads(text)]
    written = nbformat.writes(clean(nbformat.from_dict(executed), outputs=True)) + "\n"
    if len(written) > LARGEST_BYTES:
        raise SystemExit(f"{name}: {len(written)} bytes are more than {LARGEST_BYTES}")
    (NOTEBOOKS / f"{name}.ipynb").write_text(written, encoding="utf-8", newline="\n")
    print("executed:", name, flush=True)


def as_jpeg(output: NotebookNode, kind: str) -> None:
    """Turn a large picture of an output into a small JPEG."""
    with Image.open(io.BytesIO(base64.b64decode(output["data"].pop(kind)))) as picture:
        rgba = picture.convert("RGBA")
    opaque = Image.new("RGB", rgba.size, "white")
    opaque.paste(rgba, mask=rgba.getchannel("A"))
    opaque.thumbnail((720, 2400))
    buffer = io.BytesIO()
    opaque.save(buffer, "JPEG", quality=60, optimize=True)
    output["data"]["image/jpeg"] = base64.b64encode(buffer.getvalue()).decode("ascii")
    words = output.get("metadata", {}).pop(kind, None)
    if words is not None:
        output["metadata"]["image/jpeg"] = words


def main() -> int:
    """Write what is out of line, or with --check only say it; with --execute run notebooks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if out of line")
    parser.add_argument("--execute", nargs="*", metavar="NN", help="run these, or all numbered")
    arguments = parser.parse_args()
    n_different = 0
    for path, text in wanted().items():
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        n_different += 1
        print("out of line:" if arguments.check else "written:", path.relative_to(NOTEBOOKS.parent))
        if not arguments.check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
    if arguments.check:
        return int(n_different > 0)
    if arguments.execute is not None:
        for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
            if not arguments.execute or path.name[:2] in arguments.execute:
                execute(path.stem)
    return 0


if __name__ == "__main__":
    sys.exit(main())
