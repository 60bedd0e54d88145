"""Run a notebook with other parameters and keep it as one HTML page that needs no network."""

from __future__ import annotations

import ast
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasutils import paths
from tasutils.errors import TasError
from tasutils.offline_page import export_html
from tasutils.permissions import private, share

if TYPE_CHECKING:
    from collections.abc import Mapping

KERNEL = "tasutils-here"


def run_notebook(
    name: str,
    parameters: Mapping[str, Any],
    out_dir: str | Path,
    *,
    progress: bool = True,
    threads: int | None = None,
) -> Path:
    """Run a notebook in this very interpreter; write it as `name`.ipynb and `name`.html.

    Args:
        name: such as "00_quickstart".
        parameters: values for its parameters cell; those left out keep the notebook's own.
        out_dir: where both files go; made when missing. They are written after a failure as well,
            and show how far the notebook came.
        progress: show a bar on stderr.
        threads: of the networks; None leaves it to them.

    Returns:
        The HTML page: self-contained, nothing in it is fetched from a network.

    Raises:
        TasError: no such notebook, an unknown parameter, a value of another type, an unwritable
            folder, or a user's mistake that the notebook itself reports.
        RuntimeError: a cell failed; names the cell and the notebook as far as it came.
    """
    source, target = find_notebook(name), Path(out_dir)
    values = check_parameters(source, parameters)
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target):
            pass
    except OSError as error:
        raise TasError(f"cannot write {target}: {error.strerror}; choose another folder") from None
    executed, page = target / f"{name}.ipynb", target / f"{name}.html"
    for file in (executed, page):
        file.unlink(missing_ok=True)
    failure = _execute(name, source, executed, values, progress, threads)
    _write_whole(page, export_html(executed))
    if failure is not None:
        raise failure
    return page


def _write_whole(page: Path, html: str) -> None:
    """Write a page whole or not at all: what lies there is finished, whatever ends the report."""
    temporary = page.with_name(f".{page.name}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8", opener=private) as file:
            file.write(html)
        share(temporary)
        temporary.replace(page)
    finally:
        temporary.unlink(missing_ok=True)


def find_notebook(name: str) -> Path:
    """Return the path of a notebook of the project; raises TasError, naming those there are."""
    path = paths.NOTEBOOKS / f"{name}.ipynb"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in paths.NOTEBOOKS.glob("*.ipynb"))) or "none"
        raise TasError(f"no notebook {name!r} in {paths.NOTEBOOKS}; there are: {known}")
    return path


def notebook_parameters(path: Path) -> dict[str, Any]:
    """Return the names and default values of a notebook's parameters cell.

    Raises:
        TasError: a default that is no plain scalar.
    """
    from papermill import inspect_notebook

    found = {}
    for name, entry in inspect_notebook(path).items():
        try:
            found[name] = ast.literal_eval(entry["default"])
        except (ValueError, SyntaxError):
            raise TasError(f"{path.name}: parameter {name} must be a plain scalar") from None
    return found


def check_parameters(path: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters as the notebook wants them.

    A whole number serves where a float is asked for; nothing else is converted. A parameter that
    is None takes a number or None.

    Raises:
        TasError: an unknown name (the known ones are listed) or a value of another type.
    """
    known, values = notebook_parameters(path), {}
    for name, value in parameters.items():
        if name not in known:
            names = ", ".join(known) or "none"
            raise TasError(f"notebook {path.stem} has no parameter {name!r}; it has: {names}")
        wanted = type(known[name])
        plain = str(value) if isinstance(value, Path) else value
        if wanted is float and type(plain) is int:
            plain = float(plain)
        optional = known[name] is None and (plain is None or type(plain) in {int, float})
        if type(plain) is not wanted and not optional:
            kind = "number or None" if known[name] is None else wanted.__name__
            raise TasError(
                f"notebook {path.stem}: parameter {name} is {kind}, "
                f"not {type(value).__name__} {value!r}; its default is {known[name]!r}"
            )
        values[name] = plain
    return values


def _execute(
    name: str,
    source: Path,
    executed: Path,
    values: dict[str, Any],
    progress: bool,
    threads: int | None,
) -> TasError | RuntimeError | None:
    """Write the notebook as far as it ran; returns what stopped it."""
    import nbformat
    from papermill import execute_notebook
    from papermill.exceptions import PapermillExecutionError

    bar = {"desc": f"notebook {name}", "file": sys.stderr} if progress else False
    failure: TasError | RuntimeError | None = None
    try:
        execute_notebook(
            source, executed, values, kernel_name=KERNEL, language="python", cwd=paths.ROOT,
            progress_bar=bar, kernel_manager_class=kernel_manager_class(threads),
            autosave_cell_every=0,
        )  # fmt: skip
    except PapermillExecutionError as error:
        failure = TasError(error.evalue)
        if error.ename != TasError.__name__:
            failure = RuntimeError(
                f"notebook {name}, cell {error.cell_index}: {error.ename}: {error.evalue}; "
                f"{name}.html shows how far it came"
            )
    except (RuntimeError, TimeoutError) as error:  # the kernel died, or answers no more
        failure = RuntimeError(f"notebook {name}: {error}; {name}.html shows how far it came")
    notebook = nbformat.read(executed, as_version=4)
    notebook.metadata.pop("papermill", None)  # holds paths of this machine
    notebook.metadata.kernelspec = {
        "display_name": "Python 3", "language": "python", "name": "python3",
    }  # fmt: skip
    nbformat.write(notebook, executed)
    return failure


def kernel_manager_class(threads: int | None = None) -> type:
    """Return a kernel manager that starts this interpreter, whatever kernelspecs are installed.

    threads: of the networks; None leaves it to them.
    """
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    settings = {"TAS_HOME": str(paths.ROOT), "TAS_RESULTS": str(paths.RESULTS)}
    settings |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    settings["TOKENIZERS_PARALLELISM"] = "false"
    if threads is not None:
        settings["OMP_NUM_THREADS"] = str(threads)
    settings["PYTHONPATH"] = os.pathsep.join(
        part for part in (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")) if part
    )
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    # What a kernel says of itself: that its sockets are gone, when ctrl-c reaches it too.
    command.append("--IPKernelApp.log_level=50")

    class ThisInterpreter(AsyncKernelManager):
        """Starts `sys.executable`; a kernelspec of the same name elsewhere has no say."""

        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(argv=command, language="python", display_name=KERNEL, env=settings)

    return ThisInterpreter
