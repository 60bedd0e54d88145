"""Text of others in names of files: it stays in its folder, and two texts never share a file."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from light import MASKS, SIZE_HW, ask, grey, run_of, scene_of, slow_tas
from PIL import Image

from tasutils import cli, paths
from tasutils.answers import AnswerFolder
from tasutils.config import load_preset
from tasutils.datasets.own import load_own
from tasutils.engines import describe_dataset
from tasutils.explore import View, export
from tasutils.paths import name_part
from tasutils.run_tables import write_mask
from tasutils.run_writer import run_name
from tasutils.runs import read_run
from tasutils.store import SceneStore

HOSTILE = ["../../x", "/etc/x", "..", ".", "", "\0", "x\n\x1b[2J", "é" * 200, "a" * 300, "CON",
           "nul.png", ".hidden", "a\\..\\b", "C:x", "\u202egnp", "a ", "-rf", "a/b",
           "a_b"]  # fmt: skip
TEXT = st.text(max_size=300) | st.sampled_from(HOSTILE)


@given(TEXT, st.integers(20, 200))
def test_any_text_is_a_plain_name(text, most):
    name = name_part(text, most)
    assert 0 < len(name.encode()) <= most and name.isprintable() and name == Path(name).name
    assert not set(name) & set('/\\:*?"<>|') and name[0] not in " .-" and name[-1] not in " ."
    assert name.partition(".")[0].upper() not in {"CON", "NUL", "COM1", "LPT9"}
    assert name_part(name, most) == name and (name == text or name[-7] == "-")


@given(st.lists(TEXT, unique=True, max_size=30))
def test_two_texts_have_two_names(texts):
    assert len({name_part(text) for text in texts}) == len(texts)


def inside(folder, outer):
    """The files under a folder, outside of which `outer` holds none."""
    files = [path for path in outer.rglob("*") if path.is_file()]
    assert files and all(path.is_relative_to(folder) for path in files)
    assert all(part.isprintable() for path in files for part in path.relative_to(outer).parts)
    return files


def test_masks_of_all_sentences_stay_in_their_folder(tmp_path):
    folder = tmp_path / "a" / "b" / "masks"
    folder.parent.mkdir(parents=True)
    for text in HOSTILE:
        write_mask(folder, text, np.ones((2, 2), bool))
    assert len(inside(folder, tmp_path)) == len(HOSTILE)


def test_answers_and_exports_stay_in_their_folder(tmp_path):
    answer = ask(scene_of(MASKS))
    sentences = [text for text in HOSTILE if text.strip()]
    folder = tmp_path / "a" / "out"
    with AnswerFolder(folder, sentences) as target:
        for text in sentences:
            said = replace(answer, expression=replace(answer.expression, text=text))
            place = target.write(grey(SIZE_HW), said, load_preset("tiny"), Path("x.png"))
            assert place.parent == folder
        target.keep()
    assert len(inside(folder, tmp_path)) == 3 * len(sentences)
    told = json.loads((place / "answer.json").read_text(encoding="utf-8"))
    assert told["sentence"] == sentences[-1]


@pytest.mark.parametrize("k", range(len(HOSTILE)))
def test_the_explorers_files_stay_in_their_folder(tmp_path, k):
    answer = ask(scene_of(MASKS))
    n, said = len(MASKS), replace(answer.expression, text=HOSTILE[k])
    columns = {"v": np.zeros(n), "p": np.zeros(n), "n": np.zeros(n), "total": answer.total}
    view = View(HOSTILE[-k], "tas", grey(SIZE_HW), answer.scene, said, columns, answer.chosen,
                answer.rank, answer.in_region, answer.reason)  # fmt: skip
    written = export(view, tmp_path / "a" / "out")
    assert len(inside(tmp_path / "a" / "out", tmp_path)) == 2 == len(set(written))


@pytest.mark.parametrize("name", ["...jpg", "..jpg", ".jpg", "con.jpg", "a\nb.jpg", "é" * 100])
def test_a_pictures_name_does_not_lead_out_of_the_results(tmp_path, monkeypatch, name):
    picture = tmp_path / "in" / name
    picture.parent.mkdir()
    Image.new("RGB", (32, 24)).save(picture, "JPEG")
    seen = []

    class Noted(Exception):
        pass

    def folder(place, _):
        seen.append(place)
        raise Noted

    monkeypatch.setattr("tasutils.answers.AnswerFolder", folder)
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    with pytest.raises(Noted):
        cli.main(["segment", str(picture), "a dog"])
    assert Path(os.path.normpath(seen[0])).parent == tmp_path / "results" / "segment"
    assert seen[0].name.isprintable()


def test_runs_of_any_name_are_written_and_read(world, make_tas, tmp_path):
    data = world[0]

    class Method:
        name, settings = "../" + "m" * 300, {"x": "../y"}

        def score(self, scene, expression, image):
            return np.zeros(len(scene.proposals), np.float32)

    from tasutils.evaluate import evaluate_all

    long = replace(data, split="é" * 200)
    tas = make_tas()
    tas.preset = tas.preset.model_copy(update={"name": "../" + "p" * 300})
    folders = evaluate_all([long], tas, ["tas", Method()], out=tmp_path / "o", progress=False)
    for folder in folders:
        run = read_run(folder)
        assert folder.parent == tmp_path / "o" and run.record.split == long.split
        assert len(folder.name.encode()) < 250 and run.record.run_id == folder.name
    plain = run_of(data, make_tas({"terms.p.weight": 0.5}), tmp_path / "p").record
    assert run_name(plain).split("_")[1:3] == ["refscenes-val", "tiny-"]


def test_own_data_of_a_long_name_is_loaded_and_its_failures_written(tmp_path):
    splits = set()
    for end in "xy":
        Image.new("RGB", (9, 8)).save(tmp_path / "a.png")
        path = tmp_path / f"{'d' * 245}{end}.csv"
        path.write_text("image,expression\na.png,the dog\n", encoding="utf-8")
        data = load_own(path)
        splits.add(data.split)
        (tmp_path / "a.png").unlink()
        store = SceneStore(tmp_path / "s")
        assert len(describe_dataset(data, slow_tas(), store, progress=False).failed) == 1
    assert len(splits) == 2 and len(list((tmp_path / "s").iterdir())) == 2
