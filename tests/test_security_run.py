"""What others wrote is shown as text; `tas` writes where it is told to, and calls nobody."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from light import MASKS, ask, scene_of
from shown import Tags
from watched import noted, watched_environment

from tasutils import paths, tables
from tasutils.errors import TasError
from tasutils.notebooks import TEMPLATES, export_html
from tasutils.report import Book, Report
from tasutils.run_tables import write_mask
from tasutils.runs import RunRecord

HOSTILE = "<img src=x onerror=alert(1)>"
SPAN = {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 3}


def only_text(html):
    """Asserts that the page shows HOSTILE as text and has no such picture."""
    parser = Tags()
    parser.feed(html)
    assert "img" not in parser.tags and HOSTILE in parser.text, html[:500]
    assert not {name for name in parser.names if name.startswith("on")}


def shown_tables():
    scene = scene_of(MASKS, [HOSTILE] * len(MASKS))
    answer = ask(scene, f"the cat {HOSTILE} on the left")
    yield tables.style_table(answer)
    rows = pd.DataFrame([{HOSTILE: HOSTILE, "group": HOSTILE, **SPAN}])
    yield tables.interval_table(rows, HOSTILE)
    groups = [
        {"question": HOSTILE, "group": HOSTILE, "n": 3, "method": name, "mean": 0.5,
         "difference_low": 0.1, "difference_high": 0.2}
        for name in ("tas", HOSTILE)
    ]  # fmt: skip
    yield tables.peer_groups_table(pd.DataFrame(groups), HOSTILE)
    variants = [
        {"family": HOSTILE, "split": HOSTILE, "variant": name, "rectifier": on, "oiou": 0.5,
         "oiou_low": 0.4, "oiou_high": 0.6, **SPAN}
        for name, on in [("oracle", False), (HOSTILE, False), (HOSTILE, True)]
    ]  # fmt: skip
    yield tables.ablation_table(pd.DataFrame(variants), HOSTILE)


@pytest.mark.parametrize("k", range(4))
def test_tables_show_text(k):
    only_text(list(shown_tables())[k].to_html())


def test_negatives_show_text():
    from dataclasses import replace

    scene = replace(scene_of(MASKS), phrases=[HOSTILE, "a dog"])
    only_text(tables.negatives_table(ask(scene)).to_html())


def test_an_executed_notebook_shows_text(tmp_path):
    """Whatever kind of output a cell chose for it."""
    outputs = [
        nbformat.v4.new_output("display_data", {"text/markdown": f"### “{HOSTILE}”"}),
        nbformat.v4.new_output("display_data", {"text/plain": HOSTILE}),
        nbformat.v4.new_output("stream", text=HOSTILE),
        nbformat.v4.new_output("error", ename="E", evalue=HOSTILE, traceback=[HOSTILE]),
    ]
    cells = [nbformat.v4.new_code_cell(f"text = {HOSTILE!r}", outputs=outputs)]
    cells.append(
        nbformat.v4.new_markdown_cell(f"{HOSTILE} [x](javascript:alert(1)) $\\nosuch{{<b>}}$")
    )
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "n.ipynb")
    html = export_html(tmp_path / "n.ipynb")
    parser = Tags()
    parser.feed(html)
    assert "<img src=x" not in html and not {name for name in parser.names if name[:2] == "on"}
    assert parser.text.count(HOSTILE) >= 4  # Markdown's shows as text too, written another way
    assert 'href="javascript' not in html


def test_the_reports_page_escapes_every_value():
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    card = dict.fromkeys(("kind", "sentence", "caption", "src"), HOSTILE)
    book = Book(HOSTILE, HOSTILE, {}, "", error=HOSTILE)
    report = Report(None, HOSTILE, [], HOSTILE, 1, None, [book, Book("x", HOSTILE, {}, HOSTILE)])
    html = environment.get_template("index.html.j2").render(
        title=HOSTILE, preset={"name": HOSTILE, "description": HOSTILE}, extent=HOSTILE,
        scope=HOSTILE, rule=HOSTILE, cards=[card], report=report, names=[], pieces=HOSTILE,
        settings=HOSTILE, made={HOSTILE: HOSTILE}, runs=HOSTILE, records=[], numbers=HOSTILE,
        versions={HOSTILE: HOSTILE}, figures=[card], model_cards={HOSTILE: ""},
        looks={HOSTILE: HOSTILE},
    )  # fmt: skip
    assert "<img src=x" not in html and html.count("&lt;img src=x onerror") >= 25


def test_a_model_card_is_no_page(tmp_path):
    from tasutils.report import _model_cards

    (tmp_path / "card.md").write_text(f"# {HOSTILE}\n[x](javascript:alert(1)) <script>1</script>")
    preset = type("P", (), {"weight_paths": lambda _: {"a": tmp_path / "w.pth"}})()
    ((name, html),) = _model_cards(preset)
    assert name == "card" and "<img" not in html and "<script" not in html
    assert "javascript:" not in html and "<h1" not in html


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/b\\c", "..", "\0", "x\n", "é" * 40, ""])
def test_names_of_files_stay_inside(tmp_path, name):
    inside = tmp_path / "run" / "masks"
    inside.parent.mkdir()
    write_mask(inside, name, np.ones((2, 2), bool))
    made = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(made) == 1 and made[0].parent == inside and made[0].name.isprintable()
    assert (
        "/" not in paths.slug(1, name)
        and "\\" not in paths.slug(1, name)
        and ".." not in paths.slug(1, name)
    )


def test_a_runs_id_names_no_other_folder():
    field = RunRecord.__pydantic_fields__["run_id"]
    pattern = next(m.pattern for m in field.metadata if getattr(m, "pattern", None))
    for bad in ("../x", "/x", "a\\b", "a\nb", "a\0"):
        assert not re.fullmatch(pattern, bad)
    assert re.fullmatch(pattern, "20261123-101500_refscenes+-val_tiny_partial40_3f2a9c")


def run_watched(folder: Path, calls: list[list[str]]) -> None:
    """Run `tas` in one process that notes what is written, with a home of its own."""
    for name in ("home", "tmp"):
        (folder / name).mkdir()
    # torch, once it has compiled in this process, names its folder for all that it starts
    here = {k: v for k, v in os.environ.items() if k != "TORCHINDUCTOR_CACHE_DIR"}
    environment = here | watched_environment(folder) | {
        "OMP_NUM_THREADS": "1", "HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"),
        "PYTHONDONTWRITEBYTECODE": "1",  # else Python's own caches where they are stale
    }  # fmt: skip
    script = f"from tasutils.cli import main\nfor a in {calls!r}:\n    assert main(a) == 0, a"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True,
        cwd=folder / "tmp", timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def written_elsewhere(folder: Path) -> set[str]:
    """What was written beside the output, and beside what matplotlib and IPython keep at home."""
    allowed = [folder / "out", folder / "tmp", Path("/dev/null"), Path("/dev/shm")]
    allowed += [folder / "home" / name for name in (".cache", ".config", ".ipython")]
    return {
        path for path in noted(folder, "write")
        if not any(Path(path).is_relative_to(place) for place in allowed)
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.unmeasured
def test_the_main_job_writes_only_its_output_and_calls_nobody(tmp_path):
    out, picture = str(tmp_path / "out"), min((paths.REFSCENES / "images").glob("*.jpg"))
    run_watched(tmp_path, [
        ["segment", str(picture), f"the {HOSTILE} ../../red car", "--out", f"{out}/seg"],
        ["describe", "refscenes", "val", "--limit", "1", "--out", out],
        ["evaluate", "refscenes", "val", "--family", "refscenes", "--limit", "1", "--masks",
         "--out", out],
    ])  # fmt: skip
    assert noted(tmp_path, "call") == []
    assert not written_elsewhere(tmp_path)
    assert len(noted(tmp_path, "write")) > 10 and list((tmp_path / "out").rglob("mask.png"))


@pytest.mark.skipif("TAS_LONG" not in os.environ, reason="takes minutes: TAS_LONG=1, make fuzz")
def test_a_report_writes_only_its_output_and_calls_nobody(tmp_path):
    run_watched(tmp_path, [["report", "--limit", "1", "--only", "00", "--out", f"{tmp_path}/out"]])
    assert noted(tmp_path, "call") == []
    assert not written_elsewhere(tmp_path)


def test_the_watch_sees_writes_and_calls(tmp_path):
    """Else the tests above would prove nothing."""
    code = "import socket; open('x', 'w'); socket.create_connection(('192.0.2.1', 9), 1)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | watched_environment(tmp_path), cwd=tmp_path,
        capture_output=True, text=True,
    )  # fmt: skip
    assert "no network here" in done.stderr and str(tmp_path / "x") in noted(tmp_path, "write")
    assert "192.0.2.1" in str(noted(tmp_path, "call"))


def test_errors_of_the_command_line_are_one_printable_line(capsys):
    from tasutils import cli

    assert cli.main(["segment", "no\x1b[2Jsuch.png", "a dog"]) == 2
    assert capsys.readouterr().err.strip().isprintable()
    with pytest.raises(TasError):
        raise TasError("x")
