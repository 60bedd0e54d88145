"""Files and texts of strangers: nothing in them runs, each ends in one line; text stays text.

What a reader refuses more finely stands with that reader's tests: pickles in test_pickles, torch
files, safetensors and archives in test_models, annotations in test_datasets.
"""

import ast
import gzip
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from light import MASKS, SIZE_HW, ask, discs, edit, grey, light_tas, make_dataset, run_of, scene_of
from PIL import Image
from shown import Tags

import tasutils
from tasutils import charts, cli, paths, show, tables
from tasutils.config import load_preset
from tasutils.errors import TasError
from tasutils.images import read_image
from tasutils.notebooks import TEMPLATES, export_html
from tasutils.report import Book, Report, _model_cards

PACKAGE = Path(tasutils.__file__).parent
HTML = "<img src=x onerror=alert(1)>"
NAMES = ["../../x", "/etc/x", "..", ".", "", "\0", "x\n\x1b[2J", "é" * 200, "a" * 300, "CON",
         "nul.png", ".hidden", "a\\..\\b", "C:x", "\u202egnp", "a ", "-rf", "a/b"]  # fmt: skip


@pytest.fixture
def evil(tmp_path):
    """An object whose unpickling makes a file; none is there afterwards, nor was a program run."""
    mark = tmp_path / "owned"

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {mark}",)

    yield Evil()
    assert not mark.exists()


def one_line(capsys, arguments, code=2):
    """What a command says on stderr, its one printable line."""
    assert cli.main([str(argument) for argument in arguments]) == code
    said = capsys.readouterr().err.split("image/s]")[-1].lstrip()
    assert said.count("\n") == 1 and said.strip().isprintable() and len(said) < 2500, said
    return said


# ------------------------------------------------------------------ pickles and checkpoints

SHAPES = ["raw", "zipped", "legacy", "tar", "cut", "text"]
PLACES = {
    "encoder.checkpoint": "w.pth",
    "proposals.checkpoint": "w.pth",
    "captioner.checkpoint": "model/pytorch_model.bin",
}


def write_evil(path, shape, evil):
    """A file of weights with `evil` in it, or what is none."""
    path.parent.mkdir(exist_ok=True)
    if shape == "raw":
        path.write_bytes(pickle.dumps({"a": evil}, 2))
    elif shape in ("zipped", "legacy", "cut"):
        torch.save(
            {"a": torch.zeros(9), "b": evil}, path, _use_new_zipfile_serialization=shape != "legacy"
        )
        if shape == "cut":
            path.write_bytes(path.read_bytes()[:200])
    elif shape == "tar":
        with tarfile.open(path, "w") as made:
            made.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    else:
        path.write_text("version https://git-lfs.github.com/spec/v1\n")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("field", PLACES)
def test_a_checkpoint_runs_nothing(tmp_path, capsys, evil, field, shape):
    path = tmp_path / PLACES[field]
    write_evil(path, shape, evil)
    given = tmp_path / "model" if "/" in PLACES[field] else path
    if given.is_dir():
        for file in (paths.WEIGHTS / "tiny" / "blip2").glob("*.json"):
            (given / file.name).write_bytes(file.read_bytes())
    preset = load_preset("tiny").override({field: str(given)})
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(preset.model_dump(mode="json")))
    Image.fromarray(grey((24, 32))).save(tmp_path / "p.png")
    tas = tasutils.load(tmp_path / "p.yaml", device="cpu")
    with pytest.raises(TasError) as refused:
        getattr(tas, {"encoder": "encoder", "proposals": "proposer"}.get(field[:-11], "captioner"))
    assert str(refused.value).isprintable() and len(str(refused.value).splitlines()) == 1


def test_code_in_a_models_folder_does_not_run_even_if_the_terminal_says_yes(tmp_path, monkeypatch):
    """Unsaid, transformers asks on standard input whether to run it."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    entry = {"AutoConfig": "code.C", "AutoTokenizer": ["code.C", None], "AutoModel": "code.C"}
    content = {"model_type": "own", "auto_map": entry | {"AutoImageProcessor": "code.C"}}
    for name in ("config.json", "tokenizer_config.json", "preprocessor_config.json"):
        (tmp_path / name).write_text(json.dumps(content))
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')\n")
    preset = load_preset("tiny").override({"captioner.checkpoint": str(tmp_path)})
    with pytest.raises(TasError):
        _ = tasutils.load(preset, device="cpu").captioner
    assert not (tmp_path / "owned").exists()


def test_every_load_in_the_package_is_a_safe_one():
    seen = 0
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert given.get("trust_remote_code", "False") == "False", path
            called = ast.unparse(node.func)
            if node.func.attr == "from_pretrained":
                seen += 1
                assert given.get(None) == "SAFELY", f"{path}:{node.lineno}"
            if called in {"torch.load", "torch.hub.load", "torch.jit.load"}:
                seen += 1
                assert given.get("weights_only") == "True", f"{path}:{node.lineno}"
            assert called not in {"pickle.load", "pickle.loads", "yaml.load_all", "eval"}, path
    assert seen >= 4


# ------------------------------------------------------------------ pictures and presets


def picture(form="PNG", mode="RGB", size=(16, 16)):
    buffer = io.BytesIO()
    Image.new(mode, size, 1).save(buffer, form)
    return buffer.getvalue()


def of_side(side):
    whole = picture(mode="L", size=(8, 8))
    return whole[:16] + struct.pack(">II", side, side) + whole[24:]


@pytest.mark.parametrize("data", {
    **{form: picture(form) for form in ("EPS", "PCX", "ICO", "TGA", "PDF", "ICNS", "SGI")},
    "large": of_side(12_000), "huge": of_side(10**9), "cut": picture()[:45], "empty": b"",
    "page": b"<html><script>alert(1)</script>" + picture(), "svg": b"<svg/>", "text": b"x" * 99,
}.items(), ids=lambda item: item[0])  # fmt: skip
def test_what_is_no_picture_of_the_list_is_not_opened(tmp_path, capsys, monkeypatch, data):
    """An EPS with another name runs Ghostscript in Pillow."""
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    (tmp_path / "a.png").write_bytes(data[1])
    with pytest.raises(TasError) as refused:
        read_image(tmp_path / "a.png")
    assert str(refused.value).isprintable()
    one_line(capsys, ["segment", tmp_path / "a.png", "the dog", "--out", tmp_path / "o"])


@pytest.mark.parametrize("text", [
    "a: &a {x: 1}\nb: {<<: [*a, *a]}", "a: &a [*a]", "x: !!python/object/apply:os.system [touch x]",
    "x: !!python/name:os.system", "x: " + "[" * 10_000 + "]" * 10_000, "x: 2020-13-45",
    "x: !!int ''", "? [a]\n: b", "x: 9" + "9" * 9000, 'name: "a\\x1b[2J\\nb"', "- 1", "", "\0",
    "x" * 100_000, "!!set {a}", "x: !!binary =", "metrics: {epsilon: .nan}",
])  # fmt: skip
def test_a_preset_runs_nothing(tmp_path, monkeypatch, capsys, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.yaml").write_text(text)
    one_line(capsys, ["presets", "show", tmp_path / "p.yaml"])
    assert os.listdir(tmp_path) == ["p.yaml"]


# ------------------------------------------------------------------ names of files


@given(st.text(max_size=300) | st.sampled_from(NAMES), st.integers(20, 200))
def test_any_text_is_a_plain_name(text, most):
    name = paths.name_part(text, most)
    assert 0 < len(name.encode()) <= most and name.isprintable() and name == Path(name).name
    assert not set(name) & set('/\\:*?"<>|') and name[0] not in " .-" and name[-1] not in " ."
    assert name.partition(".")[0].upper() not in {"CON", "NUL", "COM1", "LPT9"}
    assert paths.name_part(name, most) == name


def test_a_run_of_hostile_names_stays_in_its_folder(tmp_path):
    data = make_dataset(tmp_path)
    ids = {s.sample_id: NAMES[k % len(NAMES)] + str(k) for k, s in enumerate(data.samples)}
    samples = tuple(replace(s, sample_id=ids[s.sample_id]) for s in data.samples)
    tas = light_tas()
    tas.preset = tas.preset.model_copy(update={"name": "../" + "p" * 300})
    truth, out = data.gt_mask(data.samples[0]), tmp_path / "a" / "b"
    data = replace(data, samples=samples, split="../" + "é" * 200, gt_mask=lambda *_: truth)
    out.mkdir(parents=True)
    run = run_of(data, tas, out, masks=True)
    assert run.folder.parent == out and run.record.split == data.split
    made = [path for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(made) > 20 and all(path.is_relative_to(run.folder) for path in made)


# ------------------------------------------------------------------ text of others: pages


def only_text(html):
    """The page shows HTML as text and has no such picture."""
    page = Tags(html)
    assert "img" not in page.tags and HTML in page.text, html[:500]
    assert not {name for name in page.names if name.startswith("on")}


def shown_tables():
    scene = replace(scene_of(MASKS, [HTML] * len(MASKS)), phrases=[HTML, "a dog"])
    answer = ask(scene, f"the cat {HTML} on the left")
    yield tables.styled(answer.table(), HTML)
    judged = [(one.phrase, one.reason) for one in answer.candidates]
    yield tables.styled(pd.DataFrame(judged, columns=["phrase", HTML]), index=True)
    span = {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 3}
    yield tables.interval_table(pd.DataFrame([{HTML: HTML, "group": HTML, **span}]), HTML)


@pytest.mark.parametrize("k", range(3))
def test_tables_show_text(k):
    only_text(list(shown_tables())[k].to_html())


def test_an_executed_notebook_shows_text(tmp_path):
    """Whatever kind of output a cell chose for it."""
    outputs = [
        nbformat.v4.new_output("display_data", {"text/markdown": f"### “{HTML}”"}),
        nbformat.v4.new_output("display_data", {"text/plain": HTML}),
        nbformat.v4.new_output("stream", text=HTML),
        nbformat.v4.new_output("error", ename="E", evalue=HTML, traceback=[HTML]),
    ]
    cells = [nbformat.v4.new_code_cell(f"text = {HTML!r}", outputs=outputs)]
    text = f"{HTML} [x](javascript:alert(1)) $\\nosuch{{<b>}}$"
    cells.append(nbformat.v4.new_markdown_cell(text))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "n.ipynb")
    html = export_html(tmp_path / "n.ipynb")
    page = Tags(html)
    assert "<img src=x" not in html and not {name for name in page.names if name[:2] == "on"}
    assert page.text.count(HTML) >= 4 and 'href="javascript' not in html


def test_the_reports_page_escapes_every_value(tmp_path):
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    card = dict.fromkeys(("kind", "sentence", "caption", "src"), HTML)
    books = [Book(HTML, HTML, error=HTML), Book("x", HTML, HTML)]
    preset = SimpleNamespace(
        name=HTML, description=HTML, photographs=False, digest=lambda: HTML, assumed=[HTML],
        leaves=lambda: {HTML: HTML}, sources={HTML: HTML},
    )  # fmt: skip
    record = SimpleNamespace(
        **dict.fromkeys(("dataset", "split", "run_id", "git_commit", "device", "dtype"), HTML),
        n_used=1, n_images=1, n_described=1, wall_s=1, metric_version=1, git_dirty=True,
        seeds=HTML,
        metrics=dict.fromkeys(("miou", "oiou", "p@0.5", "oracle_miou")), weights={HTML: 1.0},
        models={HTML: SimpleNamespace(sha256=HTML)}, model_dump_json=lambda **_: HTML,
    )  # fmt: skip
    html = environment.get_template("index.html.j2").render(
        report=Report(preset, HTML, [], HTML, 1, books), preset=preset, records=[record],
        scope=HTML,
        percent=None, figures=[card], pieces=[{HTML: HTML}], cards=[card], looks={HTML: HTML},
        model_cards={HTML: ""}, close=1, n=1, tolerance=1.0, pace={HTML: 1.0}, peaks={HTML: 1.0},
        n_described=1, machine=HTML, versions={HTML: HTML},
    )  # fmt: skip
    assert "<img src=x" not in html and html.count("&lt;img src=x onerror") >= 25
    made = [path for path in PACKAGE.rglob("*.py") if "Environment(" in path.read_text("utf-8")]
    assert made and all("autoescape=True" in path.read_text("utf-8") for path in made)
    (tmp_path / "card.md").write_text(f"# {HTML}\n[x](javascript:alert(1)) <script>1</script>")
    preset = SimpleNamespace(weight_paths=lambda: {"a": tmp_path / "w.pth"})
    ((_, card_html),) = _model_cards(preset)
    assert not any(bad in card_html for bad in ("<img", "<script", "javascript:"))


# ------------------------------------------------------------------ text of others: pictures


@settings(max_examples=8, deadline=None, suppress_health_check=[*HealthCheck])
@given(st.lists(st.sampled_from([r"$\frac{", r"$\nosuch{x}$ and $x_$", "costs $5 or $6", "$" * 9,
       "x" * 9_000, "\u202egnp\u2066", "a\x1b[2J\0b", "line\n" * 99, "", "\ud800", "🚗 左の"])
       | st.text("$\\_^{}%&#~ a\n\0\u202e"), min_size=6, max_size=6))  # fmt: skip
def test_a_picture_draws_any_text_as_it_stands(texts):
    from matplotlib.mathtext import MathTextParser

    figure = show.Picture(figsize=(4, 3))
    figure.suptitle(texts[0])
    ax = figure.subplots()
    ax.barh([texts[1], f"{texts[1]}x"], [1, 2], label=texts[2])
    ax.set_xticks([0, 1], texts[2:4])
    ax.set_title(texts[3], loc="left")
    ax.annotate(texts[5], (0, 0))
    figure.legend(handles=list(ax.containers), title=texts[5])
    masks = discs(SIZE_HW, [(15, 15), (60, 20)], 9)
    scene = scene_of(masks, texts[:2])
    said = texts[4][:500].replace("\ud800", "")
    answer = ask(scene, f"the cat {said} on the left")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MathTextParser, "parse", lambda *_, **__: pytest.fail("read as a formula"))
        made = [figure, show.overlay(grey(SIZE_HW), answer, masks[0]), charts.score_bars(answer)]
        for drawn in made:
            assert drawn.png().startswith(b"\x89PNG")


# ------------------------------------------------------------------ text of others: terminal


def test_a_record_and_data_of_others_are_printed_as_text(tmp_path, capsys):
    """No control code of theirs reaches the terminal, and no line is forged."""
    forged = "mIoU 99.9"
    hostile = f"a\x1b[2J\x1b]0;x\x07 \u202ecba\u2066 \x9b31m\r\n{forged}\u2028\x85\x7f\b"
    run = run_of(make_dataset(tmp_path), light_tas(), tmp_path / "o")
    run = edit(run, dataset=hostile, split=hostile, preset=hostile, device=hostile)
    (tmp_path / "own.jsonl").write_text(json.dumps({"image": hostile, "expression": "x"}))
    for args, code in (
        (["compare", run.folder, run.folder], None),
        (["data", "check", tmp_path / "own.jsonl"], 1),
        (["segment", "no\x1b[2Jsuch.png", "a dog"], 2),
    ):
        assert cli.main(list(map(str, args))) in ({code} if code is not None else {0, 2})
        out, err = capsys.readouterr()
        for line in (out + err).split("\n"):
            assert all(c.isprintable() or c in "\t\r" for c in line), ascii(line)
            assert not line.lstrip().startswith(forged)
    error = TasError("a\x1b[2J\u202eb\nc\td" + "x" * 10_000 + "\ud800")
    assert str(error).isprintable() and len(str(error)) < 2100
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


# ------------------------------------------------------------------ offline, and in its place

WATCH = """
import os, sys

_LOG = os.environ["TAS_WATCH_LOG"]


def _note(kind, what):
    with os.fdopen(os.open(_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "w") as log:
        log.write(f"{kind} {what}\\n")


def _watch(event, arguments):
    if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        path = arguments[0]
        if isinstance(path, (str, bytes)) and os.path.abspath(os.fsdecode(path)) != _LOG:
            _note("write", os.path.abspath(os.fsdecode(path)))
    elif event in ("os.mkdir", "os.rename") and isinstance(arguments[0], (str, os.PathLike)):
        _note("write", os.path.abspath(os.fsdecode(arguments[0])))
    elif event in ("socket.connect", "socket.getaddrinfo"):
        address = arguments[1] if event == "socket.connect" else arguments
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost", ""):
            _note("call", address)
            raise OSError("no network here")


sys.addaudithook(_watch)
"""


@pytest.mark.slow
@pytest.mark.unmeasured
def test_the_main_job_writes_only_its_output_and_calls_nobody(tmp_path):
    for name in ("home", "tmp", "site"):
        (tmp_path / name).mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(WATCH)
    out, image = str(tmp_path / "out"), min((paths.REFSCENES / "images").glob("*.jpg"))
    calls = [
        ["segment", str(image), f"the {HTML} ../../red car", "--out", f"{out}/seg"],
        ["evaluate", "refscenes", "val", "--family", "refscenes", "--limit", "1", "--out", out],
    ]
    script = f"from tasutils.cli import main\nfor a in {calls!r}:\n    assert main(a) == 0, a\n"
    # the watch itself: else the rest would prove nothing
    script += "import socket\ntry: socket.create_connection(('192.0.2.1', 9), 1)\n"
    script += "except OSError: print('no call')\nopen('seen', 'w')"
    # torch, once it has compiled in this process, names its folder for all that it starts
    here = {k: v for k, v in os.environ.items() if k != "TORCHINDUCTOR_CACHE_DIR"}
    environment = here | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(PACKAGE.parent)]),
        "TAS_WATCH_LOG": str(tmp_path / "log"), "OMP_NUM_THREADS": "1",
        "HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True,
        cwd=tmp_path / "tmp",
    )  # fmt: skip
    assert done.returncode == 0 and "no call" in done.stdout, done.stderr[-2000:]
    noted = [line.partition(" ")[::2] for line in (tmp_path / "log").read_text().splitlines()]
    called = [what for kind, what in noted if kind == "call"]
    assert called and all(what.startswith("('192.0.2.1', 9") for what in called)
    written = [Path(what) for kind, what in noted if kind == "write"]
    allowed = [tmp_path / "out", tmp_path / "tmp", Path("/dev/null"), Path("/dev/shm")]
    allowed += [tmp_path / "home" / name for name in (".cache", ".config", ".ipython")]
    strays = [p for p in written if not any(p.is_relative_to(place) for place in allowed)]
    assert not strays and tmp_path / "tmp" / "seen" in written
    assert len(list(Path(out).rglob("mask.png"))) == 1


def test_names_of_weights_import_nothing(tmp_path, monkeypatch):
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "__init__.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("package:evil/x", "package:evil.sub/x", "package:/x", "package:..x/y"):
        paths.weights_path(name)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("data", [
    gzip.compress(b"#v\n" + b"a b\n" * 20_000_000), gzip.compress(b"#v\na\n"), b"\x1f\x8b",
    gzip.compress(b"#v\na b c\n"), gzip.compress(b"\xff\xfe"), gzip.compress(b"x y\n" * 9)[:-6],
], ids=["long", "one word", "no stream", "three words", "not text", "cut"])  # fmt: skip
def test_a_vocabulary_of_a_stranger(tmp_path, data):
    (tmp_path / "m.gz").write_bytes(data)
    preset = load_preset("tiny").override({"encoder.tokenizer": str(tmp_path / "m.gz")})
    with pytest.raises(TasError):
        _ = tasutils.load(preset, device="cpu").encoder
