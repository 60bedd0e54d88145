"""What `make house` prints: how large the package is, and what its notebooks use of it."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path
from statistics import median, quantiles

import networkx as nx

ROOT = Path(__file__).resolve().parents[1]
METHOD = ("terms", "rectifier", "refer", "describe", "tas", "scene", "masks", "crops", "metrics")
METHOD += ("config",)


def lines(paths: list[Path]) -> int:
    """Physical lines."""
    return sum(path.read_text(encoding="utf-8").count("\n") for path in paths)


def code_lines(path: Path) -> int:
    """Lines that are neither blank nor comments."""
    text = path.read_text(encoding="utf-8").split("\n")
    return sum(bool(line.strip()) and not line.lstrip().startswith("#") for line in text)


def room_of(path: Path) -> str:
    """The room of a file of the package: a file at the top, or a folder."""
    return path.relative_to(ROOT / "tasutils").parts[0].removesuffix(".py")


def imported(path: Path, rooms: set[str]) -> set[str]:
    """Rooms of the package that a file imports, in functions too, but not for types alone."""
    tree, found = ast.parse(path.read_text(encoding="utf-8")), set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tasutils."):
            found.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.module == "tasutils":
            found |= {alias.name for alias in node.names} & rooms
    return found - {room_of(path), "__init__"}


def names_in_notebooks(books: list[Path]) -> Counter[str]:
    """In how many cells each name of the package stands that notebooks import or call."""
    found: Counter[str] = Counter()
    for book in books:
        tree = ast.parse(re.sub(r"^%.*$", "", book.read_text(encoding="utf-8"), flags=re.M))
        modules, names = {"tasutils"}, set[str]()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tasutils"):
                for alias in node.names:
                    file = ROOT / str(node.module).replace(".", "/") / alias.name
                    whole = file.is_dir() or file.with_suffix(".py").is_file()
                    (modules if whole else names).add(alias.asname or alias.name)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in modules:
                found[node.attr] += 1
            elif isinstance(node, ast.Name) and node.id in names:
                found[node.id] += 1
    return found


def main() -> None:
    """Print the measures, one a line."""
    package = sorted((ROOT / "tasutils").rglob("*.py"))
    books = sorted((ROOT / "notebooks" / "source").glob("*.py"))
    rooms, graph = {room_of(path) for path in package}, nx.DiGraph()
    graph.add_edges_from(
        (room_of(path), room) for path in package for room in imported(path, rooms)
    )
    circles = [c for c in nx.strongly_connected_components(graph) if len(c) > 1]
    floors = nx.dag_longest_path_length(nx.condensation(graph)) + 1  # each circle being one
    top = [path for path in package if path.parent.name == "tasutils"]
    method = [path for path in top if path.stem in METHOD]
    functions = [
        node.end_lineno - node.lineno + 1
        for path in package
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
    ]
    used = names_in_notebooks(books)
    ratio = sum(map(code_lines, books)) / sum(map(code_lines, package))
    tests = sorted((ROOT / "tests").rglob("*.py"))
    bench = [path for path in tests if "bench" in path.relative_to(ROOT / "tests").parts]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    python = next((k for k, t in enumerate(readme.split("\n"), 1) if t.startswith("```python")), 0)
    rows = {
        "tasutils: lines / files / files directly in it": f"{lines(package):,} / {len(package)}"
        f" / {len(top)}",
        "of these the method": f"{lines(method):,}",
        "floors of imports; circles": f"{floors}; {len(circles)}",
        "names that notebooks use; of these used once": f"{len(used)};"
        f" {sum(n == 1 for n in used.values())}",
        "notebook code lines / package code lines": f"{ratio:.2f}",
        "tests: lines; of these tests/bench": f"{lines(tests):,}; {lines(bench):,}",
        "data/making: lines": f"{lines(sorted((ROOT / 'data' / 'making').rglob('*.py'))):,}",
        "functions: median / 90th percentile": f"{median(functions):g} /"
        f" {quantiles(functions, n=10)[-1]:g}",
        "README: words; line of the first Python": f"{len(readme.split()):,}; {python}",
    }
    for name, value in rows.items():
        print(f"{name:<50} {value}")
    for circle in circles:
        print("circle:", *sorted(circle))


if __name__ == "__main__":
    main()
