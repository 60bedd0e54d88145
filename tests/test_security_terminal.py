"""Text of others on a terminal: no control code, no forged line, no turned direction."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer
import yaml
from hypothesis import given
from hypothesis import strategies as st
from light import MASKS, ask, edit, run_of, scene_of
from tqdm import tqdm

from tasutils import answers, cli, console, paths
from tasutils.terminal import one_line, spelled

FORGED = "mIoU 99.9"
HOSTILE = f"a\x1b[2J\x1b]0;x\x07 \u202ecba\u2066 \x9b31m\r\n{FORGED}\u2028{FORGED}\x85\x7f\b"
OBEYED = {*map(chr, [*range(9), *range(11, 32), *range(127, 160)]), *"\u061c\u200e\u200f\ufeff"}
OBEYED |= {*"\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}
TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(sorted(OBEYED)))


def safe(text, *, bars=False):
    """Whether a terminal shows the text and does nothing else."""
    assert not OBEYED - ({"\r"} if bars else set()) & set(text), ascii(text)
    assert not any(line.lstrip().startswith(FORGED) for line in text.splitlines()), ascii(text)
    return True


@given(TEXT)
def test_nothing_that_a_terminal_obeys_is_left_and_json_stays_json(text):
    assert not OBEYED & set(spelled(text)) and len(one_line(text).splitlines()) <= 1
    assert spelled(spelled(text)) == spelled(text)
    assert json.loads(spelled(json.dumps(text, ensure_ascii=False))) == text
    plain = "".join(c for c in text if c not in OBEYED)
    assert spelled(plain) == plain


def test_readable_text_of_any_script_stays():
    text = "左の赤い車 🚗\tکتاب‌ها עברית\n👩‍🚀 é"
    assert spelled(text) == text and spelled("\ud800") == "\\ud800"


def test_all_that_a_command_prints_is_spelled_out(capsys):
    app, streams = typer.Typer(), (sys.stdout, sys.stderr)

    @app.command()
    def show() -> None:
        print(HOSTILE.replace("\n", ""))
        typer.echo(HOSTILE.replace("\n", ""), err=True)
        sys.stdout.writelines(["\x1b[1m", "bold\n"])
        for _ in tqdm(range(2), desc="a\x1b[2Jb\rc", file=sys.stderr):
            tqdm.write("x\x1b[A", sys.stderr)
        raise OSError(28, "No space left", "a\x1b[2J\nb")

    assert console.run(app, []) == 2
    assert (sys.stdout, sys.stderr) == streams
    out, err = capsys.readouterr()
    assert safe(out) and safe(err, bars=True)
    assert out.startswith("a\\u001b[2J\\u001b]0;x\\u0007 \\u202ecba") and "\\u001b[1mbold" in out
    assert "\ra\\u001b[2Jb\\rc: " in err and "x\\u001b[A" in err and "100%" in err
    assert err.endswith("tas: a\\u001b[2J b: No space left\n")


def test_a_sentence_and_a_caption_forge_no_line():
    scene = replace(scene_of(MASKS, [HOSTILE] * len(MASKS)), image_caption=HOSTILE)
    answer = ask(replace(scene, phrases=[HOSTILE, "a dog"]), f"the dog {HOSTILE} on the left")
    told = answers.scene_line(Path(HOSTILE), scene)
    assert safe(told) and told.count("\n") == 1
    told = answers.answer_lines(answer, Path("x"))
    assert safe(told) and told.count("\n") == 3 + min(len(MASKS), answers.ROWS_SHOWN) + 2


@pytest.fixture
def hostile_runs(world, make_tas, tmp_path):
    """Two runs over hostile sentences whose records are hostile, too."""
    runs = []
    for k, changes in enumerate(({}, {"terms.p.weight": 3.0, "terms.n.weight.default": 0.0})):
        run = run_of(world[0], make_tas(changes), tmp_path / str(k))
        samples = run.samples()
        for name in ("text", "image_id", "sample_id", "category"):
            samples[name] = HOSTILE + samples[name].astype(str)
        samples.to_parquet(run.folder / "samples.parquet", index=False)
        scores = run.scores()
        scores["sample_id"] = HOSTILE + scores["sample_id"].astype(str)
        scores.to_parquet(run.folder / "scores.parquet", index=False)
        versions = run.record.versions | {HOSTILE: f"{HOSTILE}{k}"}
        config = run.record.config | {"name": HOSTILE, "description": f"{HOSTILE}{k}"}
        config["reasons"] = {"terms.p.weight": HOSTILE}
        runs.append(edit(run, dataset=HOSTILE, split=HOSTILE, preset=HOSTILE, versions=versions,
                         config=config, method_settings={HOSTILE: f"{HOSTILE}{k}"},
                         device=f"{HOSTILE}{k}", git_commit=f"{HOSTILE}{k}"))  # fmt: skip
    return runs


@pytest.mark.parametrize("command", ["compare", "metrics", "sweep", "diff", "json", "rerun"])
def test_commands_on_runs_of_others_show_text(hostile_runs, tmp_path, capsys, command):
    folders = [str(run.folder) for run in hostile_runs]
    args = {
        "compare": ["compare", *folders], "metrics": ["metrics", folders[0]],
        "sweep": ["sweep", folders[0], "--alpha", "0,1", "--lam", "0", "--out",
                  str(tmp_path / "grid.parquet")],
        "diff": ["diff", *folders, "--all"], "json": ["diff", *folders, "--json", "--all"],
        "rerun": ["rerun", folders[0], "--anyway"],
    }[command]  # fmt: skip
    code = cli.main(args)
    out, err = capsys.readouterr()
    assert safe(out) and safe(err)
    if command == "rerun":  # it has settings of nobody
        assert code == 2 and err.count("\n") == 1
        return
    assert code == 0, err
    assert "\\u001b[2J" in out or "\\x1b[2J" in out
    if command == "json":
        told = json.loads(out)
        assert len(told["sentences"]) == 30 and told["sentences"][0]["text"].startswith(HOSTILE)


def test_data_and_presets_of_others_show_text(tmp_path, capsys):
    rows = [{"image": HOSTILE, "expression": "x"}, {"image": "a.png", "expression": None},
            {"image": "../" + HOSTILE, "expression": HOSTILE}]  # fmt: skip
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert cli.main(["data", "check", str(tmp_path / "own.jsonl")]) == 1
    out, err = capsys.readouterr()
    assert safe(out) and safe(err) and "\\" in err
    tiny = (paths.ROOT / "tasutils" / "presets" / "tiny.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(tiny)
    content["description"] = HOSTILE
    content["sources"] = {"terms.p.weight": HOSTILE}
    content["captioner"] = content.get("captioner", {}) | {"prompt": HOSTILE}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    for args in (["show", str(tmp_path / "p.yaml")], ["diff", "tiny", str(tmp_path / "p.yaml")]):
        assert cli.main(["presets", *args]) in (0, 2)
        assert all(map(safe, capsys.readouterr()))
