"""The command line: what it writes, and what it says of mistakes. Parts that see stand in."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from light import PARSER, FakeCaptioner, FakeEncoder
from PIL import Image

import tasutils
from tasutils import cli, paths
from tasutils.config import load_preset
from tasutils.datasets import load_dataset
from tasutils.scene import Proposals
from tasutils.tas import TAS

FILES = ["answer.json", "mask.png", "overlay.png"]


class BrightThings:
    """Proposes the red and the blue part of a picture, those that are there."""

    def __call__(self, image):
        pixels = image.astype(int)
        masks = np.stack([pixels[..., c] > pixels.sum(2) - pixels[..., c] for c in (0, 2)])
        return Proposals.from_masks(masks[masks.any((1, 2))])


@pytest.fixture
def stand_in(monkeypatch):
    """`tas` with light parts in place of networks; returns the pictures that it described."""
    calls = []

    class Counted(TAS):
        def describe(self, image, image_id=""):
            calls.append(image_id)
            return super().describe(image, image_id)

    def load(preset, device=None):
        return Counted(preset, BrightThings(), FakeEncoder(), FakeCaptioner(), PARSER)

    monkeypatch.setattr("tasutils.tas.load", load)
    return calls


@pytest.fixture
def here(tmp_path, monkeypatch, picture):
    """A folder to work in, with picture.png."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    Image.fromarray(picture).save("picture.png")
    return tmp_path


@pytest.fixture
def complaint(capsys, here):
    """Run `tas` with a mistake; check one line on stderr, code 2, no new file; return the line."""

    def run(*args):
        before = sorted(here.rglob("*"))
        assert cli.main([str(arg) for arg in args]) == 2
        error = capsys.readouterr().err
        assert error.startswith("tas: ") and error.count("\n") == 1, error
        assert sorted(here.rglob("*")) == before
        return error

    return run


def segment(*words, picture="picture.png", out="o"):
    """Run `tas segment` into a folder; the answers by the names of theirs."""
    assert cli.main(["segment", picture, *words, *(["--out", out] if out else [])]) == 0
    files = (Path(out) if out else paths.RESULTS).rglob("answer.json")
    return {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in files}


def test_segment_writes_three_files_a_sentence(here, stand_in, capsys):
    Path("more.txt").write_text("the blue square\n\n  a green thing \n", encoding="utf-8")
    answers = segment("the red disc", "--sentences", "more.txt")
    assert stand_in == ["picture.png"]  # described once, referred to three times
    assert sorted(answers) == ["01-the-red-disc", "02-the-blue-square", "03-a-green-thing"]
    for folder in Path("o").iterdir():
        assert sorted(p.name for p in folder.iterdir()) == FILES
    out = capsys.readouterr().out
    for text in ("the red disc", "why: mask", "negatives: ", "total", "01-the-red-disc", "80 x 60"):
        assert text in out


def test_the_mask_is_the_chosen_one(here, stand_in, picture):
    (answer,) = segment("the red disc").values()
    assert answer["preset_digest"] == load_preset("photo").digest()
    mask = np.asarray(Image.open("o/01-the-red-disc/mask.png"))
    assert mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 255}
    things = [picture[..., 0] == 240, picture[..., 2] == 200]
    assert ((mask == 255) == things[answer["chosen"]]).all()
    assert (mask == 255).sum() == answer["proposals"][answer["chosen"]]["area_px"]


@pytest.mark.parametrize(("size", "preset"), [((320, 240), "tiny"), ((240, 320), "photo")])
def test_the_preset_follows_the_size_of_the_picture(here, stand_in, size, preset, capsys):
    """And a picture in which there is nothing to see gets an empty mask."""
    Image.new("RGB", size, "gray").save("gray.png")
    (answer,) = segment("the red disc", picture="gray.png", out="").values()
    assert answer["preset"] == preset and answer["chosen"] is None and answer["proposals"] == []
    assert "no mask was proposed" in answer["reason"] in capsys.readouterr().out
    place = paths.RESULTS / "segment" / "gray" / "01-the-red-disc"
    assert not np.asarray(Image.open(place / "mask.png")).any()
    (answer,) = segment("a disc", "--preset", "paper", picture="gray.png").values()
    assert answer["preset"] == "paper"


def test_again_replaces_the_answer_and_nothing_else(here, stand_in, complaint):
    segment("the red disc")
    Path("o/notes.txt").write_text("mine")
    segment("the red disc")
    assert sorted(p.name for p in Path("o").iterdir()) == ["01-the-red-disc", "notes.txt"]
    Path("o/01-the-red-disc/thesis.txt").write_text("mine")
    error = complaint("segment", "picture.png", "the red disc", "--out", "o")
    assert "holds other things" in error
    assert Path("o/01-the-red-disc/thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("sentence", ["", "   ", "\t\n", "\u200b", "a" * 3000, "\udcff"])
def test_unreadable_sentences(stand_in, complaint, sentence):
    complaint("segment", "picture.png", "a dog", sentence, "--out", "o")
    assert stand_in == []  # known before any work


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"\n  \n", "no sentence"), (b"caf\xe9\n", "UTF-8"), (None, "No such file")],
)
def test_sentence_files(here, stand_in, complaint, content, words):
    if content:
        Path("some.txt").write_bytes(content)
    assert words in complaint("segment", "picture.png", "--sentences", "some.txt")
    Path("some.txt").write_bytes("\ufeffthe red disc\r\n".encode())
    assert list(segment("--sentences", "some.txt")) == ["01-the-red-disc"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["segment", "picture.png", "a dog", "--preset", "huge"], "unknown preset 'huge'"),
        (["segment", "picture.png", "a dog", "--device", "cuda:99"], "device 'cuda:99'"),
        (["segment", "picture.png", "a dog", "--preset", "paper"], "tas models get sam_vit_h"),
        (["segment", "picture.png"], "no sentence"),
        (["segment"], "arguments are required: image"),
        (["segment", "picture.png", "a dog", "--colour"], "unrecognized arguments: --colour"),
        (["evaluate", "coco", "val"], "'coco' is none of DATASETS"),
        (["evaluate", "refscenes", "val", "--family", "x"], "no family 'x'"),
        (["evaluate", "refscenes", "val", "--limit", "many"], "--limit"),
        (["evaluate", "refscenes", "testZ"], "testZ"),
        (["paint"], "No such command"),
    ],
)
def test_mistakes_are_one_line(complaint, args, words):
    assert words in complaint(*args)


def test_presets(capsys):
    assert cli.main(["presets", "list"]) == cli.main(["presets", "show", "paper"]) == 0
    shown = capsys.readouterr().out
    for text in ("tiny", "assumed", load_preset("paper").digest(), *load_preset("paper").leaves()):
        assert text in shown


def test_data_list_and_check(here, monkeypatch, capsys):
    shutil.copytree(paths.REFSCENES, here / "world", ignore=shutil.ignore_patterns("sprites"))
    monkeypatch.setattr(paths, "REFSCENES", here / "world")
    some = [load_dataset("refscenes", "val")]
    monkeypatch.setattr("tasutils.datasets.doctor.shipped", lambda: some)
    assert cli.main(["data", "list"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^refscenes +val +200 images +\d+ sentences$", out, flags=re.M)
    assert "tas data get refcoco" in out
    assert cli.main(["data", "check"]) == 0
    assert capsys.readouterr().out.endswith("sentences checked, 0 faults\n")
    broken = some[0].image_path(some[0].image_ids[0])
    broken.write_bytes(broken.read_bytes()[:200])
    assert cli.main(["data", "check"]) == 1
    streams = capsys.readouterr()
    assert broken.name in streams.err and "0 faults" not in streams.out


def test_evaluate_passes_on_what_was_asked(here, monkeypatch, capsys):
    asked = {}

    def evaluate_families(families, split, preset, **options):
        asked.update(options, families=families, split=split, preset=preset.name)
        return []

    monkeypatch.setattr("tasutils.evaluate.evaluate_families", evaluate_families)
    args = ["evaluate", "refscenes", "testA", "--family", "refscenes+", "--limit", "3"]
    assert cli.main([*args, "--out", "runs", "--no-masks"]) == 0
    assert asked["masks"] is False and asked["methods"] == ["tas"]
    assert asked["families"] == ["refscenes+"] and asked["split"] == "testA"
    assert asked["limit_images"] == 3 and asked["out"] == Path("runs")
    assert cli.main(["evaluate", "refscenes", "val"]) == 0
    assert len(asked["families"]) == 4 and asked["limit_images"] is None
    assert cli.main(["evaluate", "refscenes", "val", "--masks", "--method", "all"]) == 0
    assert asked["masks"] is True and len(asked["methods"]) > 5


def test_a_report_with_a_failed_notebook_ends_with_1(monkeypatch, capsys):
    asked = []

    def build_report(*args, **options):
        asked.append((args, options))
        return SimpleNamespace(page="a/index.html", failed={"02_b": "KeyError"})

    monkeypatch.setattr(cli, "build_report", build_report)
    words = ["--dataset", "refscenes", "--family", "refscenes+", "--limit", "3", "--only", "01"]
    assert cli.main(["report", *words]) == 1
    assert asked == [((3, None, None, None), {"families": ["refscenes+"], "only": "01"})]
    said = capsys.readouterr()
    assert said.out == "open a/index.html\n" and "tas: notebook 02_b failed: KeyError" in said.err


def test_version_and_what_there_is(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"tas {tasutils.__version__}\n"
    for words, code in (([], 2), (["--help"], 0), (["models"], 2), (["data", "--help"], 0)):
        assert cli.main(words) == code
        said = capsys.readouterr()
        group = words[0] if words[:1] and words[0] in cli.GROUPS else ""
        named = [name for name in cli.COMMANDS if name.startswith(group)]
        assert not said.err and all(f"  {name} " in said.out for name in named)
    for name in cli.COMMANDS:
        assert cli.main([*name.split(), "--help"]) == 0
        assert capsys.readouterr().out.startswith(f"usage: tas {name}")


IMPORT = """
import sys, time
def heavy(names):
    return [name for name in names.split() if name in sys.modules]
start = time.process_time()
import tasutils
assert time.process_time() - start < 0.5
assert not heavy("torch spacy nltk pandas transformers open_clip numpy pydantic PIL")
from tasutils import TasError, load_preset, load, read_image
load("tiny")
assert set(tasutils.__all__) <= set(dir(tasutils))
assert all(getattr(tasutils, name) is not None for name in tasutils.__all__ if name != "TAS")
from tasutils.cli import main
assert main(["--help"]) == 0
assert not heavy("torch spacy nltk pandas transformers matplotlib")
try:
    tasutils.nonsense
except AttributeError as error:
    assert "nonsense" in str(error)
"""


def test_import_and_help_are_light():
    subprocess.run([sys.executable, "-c", IMPORT], check=True, stdout=subprocess.DEVNULL)
