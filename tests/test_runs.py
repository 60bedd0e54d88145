"""Evaluation and runs on disk: what is written, kept, checked, and found again."""

import json
import os
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from light import H, Smallest, W, a_run, light_tas, make_dataset, rewrite, run_of
from PIL import Image

from tasutils import engines, paths
from tasutils.compare import summary_line
from tasutils.datasets.coco import RefFiles, split_of
from tasutils.errors import TasError
from tasutils.evaluate import Task, evaluate, evaluate_all, newest_runs, truths_of
from tasutils.evaluate import run_of as newest_run
from tasutils.masks import decode_rle, encode_rle, intersection_union
from tasutils.metrics import METRIC_NAMES
from tasutils.refer import Answer
from tasutils.runs import list_runs, read_run
from tasutils.study import variant_pixels


@pytest.fixture
def tas():
    return light_tas({"rectifier.form": "extended"})


def test_a_run_on_disk(dataset, tas, tmp_path):
    run = run_of(dataset, tas, tmp_path / "results")
    assert sorted(os.listdir(tmp_path / "results")) == [run.folder.name]
    assert sorted(os.listdir(run.folder)) == ["run.json", "samples.parquet", "scores.parquet"]
    record = run.record
    assert run.folder.name == record.run_id
    pattern = rf"\d{{8}}-\d{{6}}_refscenes-val_tiny_{record.config_digest[:6]}"
    assert re.fullmatch(pattern, record.run_id)
    assert (record.n_total, record.n_used, record.n_images) == (30, 30, 6)
    assert not record.partial and record.n_without_proposals == 5
    assert record.config_digest == tas.preset.digest()
    assert record.weights == tas.preset.weights("refscenes")
    assert record.dtype == "float32" and record.device == "cpu" and record.n_described == 6
    assert set(record.metrics) == {*METRIC_NAMES, *(f"oracle_{name}" for name in METRIC_NAMES)}
    assert record.versions["numpy"] == np.__version__ and record.seeds == {"bootstrap": 0}
    assert record.wall_s > 0 and record.peak_memory_mib["host"] > 10
    assert set(record.models) == {*tas.preset.weight_paths(), "language.spacy_model", "wordnet"}
    digests = [*(model.sha256 for model in record.models.values()), *record.tables.values()]
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)
    told = record.model_dump_json()
    assert str(paths.ROOT) not in told and str(tmp_path) not in told
    assert "n = 30 sentences, 6 images" in summary_line(run)
    assert run.samples["sample_id"].tolist() == [s.sample_id for s in dataset.samples]
    assert not run.samples.isna().any().any() and not run.scores.isna().any().any()
    assert set(run.scores.columns) == {
        "sample_id", "proposal", "term_v", "term_p", "term_n", "region", "yields",
        "alt_n_three_pairs", "region_paper", "region_official", "yields_official",
        "intersection_px", "union_px", "gt_area_px",
    }  # fmt: skip


def test_sentences_that_cannot_be_read_count_as_wrong(tas, tmp_path):
    data = make_dataset(tmp_path, sentences=["the dog", "  ", "\u200b", "x" * 3000, "\U0001f415"])
    run = run_of(data, tas, tmp_path / "r")
    samples = run.samples
    assert len(samples) == 30 and (samples["chosen"] >= 0).sum() == 10
    blank = samples[samples["text"] == "  "]
    assert (blank["union_px"] == blank["gt_area_px"]).all() and (blank["iou"] == 0).all()
    assert set(blank["reason"]) == {"the sentence is empty"}
    assert blank["oracle_iou"].max() > 0
    inter, union = variant_pixels(run, "V", rectifier=False)
    assert (inter[samples["chosen"] < 0] == 0).all()
    assert (union[samples["chosen"] < 0] == samples["gt_area_px"][samples["chosen"] < 0]).all()


def test_wrong_or_missing_pictures(dataset, tas, tmp_path):
    Image.new("RGB", (W + 1, H)).save(tmp_path / "images" / "3.png")
    with pytest.raises(TasError, match="33 x 24 px, its annotations say 32 x 24"):
        evaluate(dataset, tas, out=tmp_path / "r", progress=False)
    (tmp_path / "images" / "1.png").unlink()
    with pytest.raises(TasError, match=r"1\.png"):
        evaluate(dataset, tas, out=tmp_path / "r", progress=False)
    assert os.listdir(tmp_path / "r") == []
    (tmp_path / "file").write_text("")
    described = tas.n_described
    with pytest.raises(TasError, match="cannot be written"):
        evaluate(dataset, tas, out=tmp_path / "file" / "results", progress=False)
    assert tas.n_described == described


def test_progress_is_lines_where_there_is_no_terminal(dataset, tas, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(engines, "SAID_S", 1e9)
    evaluate(dataset, tas, out=tmp_path / "r")
    shown = capsys.readouterr()
    assert shown.err == "refscenes val: 6/6 images\n" and shown.out == ""
    monkeypatch.setattr(engines, "SAID_S", -1.0)
    assert list(engines.counted(["a", "bc"], "x", 3, size=len)) == ["a", "bc"]
    assert capsys.readouterr().err.splitlines() == [f"x: {k}/3 images" for k in (1, 3)]


# --- what is read is what was written ---


def test_damaged_runs(dataset, tas, tmp_path):
    run = run_of(dataset, tas, tmp_path, limit_images=1)
    folder = run.folder
    assert read_run(folder / "run.json").record == run.record
    for name in ("samples", "scores"):
        path = folder / f"{name}.parquet"
        data = path.read_bytes()
        for damaged in (b"PAR1", data[:99] + bytes([data[99] ^ 1]) + data[100:]):
            path.write_bytes(damaged)
            with pytest.raises(TasError, match=rf"{name}\.parquet: cannot be read \(its SHA-256"):
                getattr(read_run(folder), name)
        path.write_bytes(data)
    short = run.samples.drop(columns="oracle_union_px")
    with pytest.raises(TasError, match="no column oracle_union_px as a run has it"):
        rewrite(run, short).samples  # noqa: B018
    content = json.loads((folder / "run.json").read_text())
    for text, words in (
        (json.dumps(content | {"surprise": 1}), "surprise"),
        ("{", "evaluate again and move"),
    ):
        (folder / "run.json").write_text(text)
        with pytest.raises(TasError, match=words):
            read_run(folder)
    with pytest.raises(TasError, match="no run there"):
        read_run(tmp_path / "none")


def test_a_run_of_an_older_form_is_skipped_with_one_line(dataset, tas, tmp_path, capsys):
    old, new = (run_of(dataset, tas, tmp_path / "r", limit_images=k) for k in (1, 2))
    path = old.folder / "run.json"
    content = json.loads(path.read_text())
    content["alpha"] = content.pop("weights")["p"]
    path.write_text(json.dumps(content))
    assert [run.record.run_id for run in list_runs(tmp_path / "r")] == [new.record.run_id]
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "skipped" in said and old.folder.name in said
    assert newest_runs(tmp_path / "r", "tiny")[0].record.run_id == new.record.run_id


def test_the_newest_run_is_found_or_made(dataset, tas, tmp_path):
    first = newest_run(dataset, tas, 2, tmp_path / "r", progress=False)
    assert first.record.n_images == 2 and first.record.partial
    assert not newest_run(dataset, tas, 6, tmp_path / "whole", progress=False).record.partial
    with pytest.raises(TasError, match="limit_images is 0"):
        evaluate(dataset, tas, out=tmp_path, limit_images=0)
    assert newest_run(dataset, tas, 1, tmp_path / "r").folder == first.folder
    more = newest_run(dataset, tas, 3, tmp_path / "r", progress=False)
    assert more.record.n_images == 3 and more.record.n_described == 1
    assert newest_run(dataset, tas, None, tmp_path / "r", aside="x").folder.parent.name == "x"
    other = light_tas({"rectifier.form": "paper"})
    assert newest_run(dataset, other, 1, tmp_path / "r").record.config["rectifier"]["form"]
    with pytest.raises(TasError, match="no run of preset 'gone'"):
        newest_runs(tmp_path / "r", "gone")
    with pytest.raises(TasError, match="no run there"):
        newest_runs(tmp_path / "r", "tiny", "gone")


# --- answers from stored scores ---


def toy(region=(True, True, True)):
    scores = pd.DataFrame({
        "sample_id": "a", "proposal": [0, 1, 2], "v": [0.5, 0.9, 0.9], "p": [0.0, 0.0, 0.0],
        "n": [0.0, 0.0, 0.0], "region": region, "intersection_px": [1, 2, 3],
        "union_px": [10, 10, 10], "gt_area_px": 5,
    })  # fmt: skip
    samples = pd.DataFrame({"sample_id": ["a", "b"], "image_id": "i", "gt_area_px": [5, 7]})
    return samples, scores


def test_shuffled_foreign_empty_and_unknown_scores():
    samples, scores = toy()
    assert a_run(samples, scores[::-1]).table.choose().tolist() == [1, -1]
    assert a_run(samples, scores[:0]).table.choose().tolist() == [-1, -1]
    with pytest.raises(TasError, match="read both tables from the same run"):
        a_run(samples, scores.assign(sample_id="z")).table  # noqa: B018
    unknown = a_run(samples.assign(gt_area_px=np.nan), scores).table
    with pytest.raises(TasError, match="2 of 2 sentences have no ground truth"):
        unknown.pixels(unknown.choose())


# --- sentences with no target, with several, and methods that answer otherwise ---


class Drawing:
    """Methods of one's own: draws a mask, chooses several, or says nothing."""

    def __init__(self, name, say):
        self.name, self.say = name, say

    def answer(self, scene, expressions, image):
        return [Answer(e, scene, **{"chosen": ()} | self.say(scene)) for e in expressions]


def half(scene):
    mask = np.zeros(scene.size_hw, bool)
    mask[:, :16] = True
    return {"own_mask": encode_rle(mask[None])[0]}


def test_answers_of_every_kind_against_truths_of_every_kind(dataset, tas, tmp_path):
    """A truth that is empty, one mask, or a union; answers that are empty, several, or drawn."""
    ids = [sample.sample_id for sample in dataset.samples]
    kinds = dict(zip(ids, ["no", "one", "two"] * 10, strict=True))

    def truth(sample):
        mask = dataset.gt_mask(sample)
        if kinds[sample.sample_id] == "no":
            return np.zeros_like(mask)
        return mask | np.roll(mask, 14, axis=1) if kinds[sample.sample_id] == "two" else mask

    data = replace(dataset, gt_mask=truth)
    methods = [
        Drawing("silent", lambda scene: {}),
        Drawing("several", lambda scene: {"chosen": (0, 1)} if len(scene.proposals) else {}),
        Drawing("drawn", half),
    ]
    no_target = {name for name, kind in kinds.items() if kind == "no"}
    samples = [replace(s, ann_ids=()) if s.sample_id in no_target else s for s in data.samples]
    runs = [
        read_run(f)
        for f in evaluate_all(
            [replace(data, samples=tuple(samples))], tas, methods, out=tmp_path / "r",
            progress=False, masks=True,
        )
    ]  # fmt: skip
    for run in runs:
        silent = run.record.method == "silent"
        for row, sample in zip(run.samples.to_dict("records"), samples, strict=True):
            gt, scene = truth(sample), tas.describe(data.image_path(sample.image_id))
            several = scene.proposals.masks()[:2].any(0) if len(scene.proposals) else gt & False
            answer = {"silent": gt & False, "several": several}.get(run.record.method)
            answer = decode_rle([half(scene)["own_mask"]])[0] if answer is None else answer
            (inter,), (union,) = intersection_union(answer[None], gt)
            assert (row["intersection_px"], row["union_px"]) == (inter, union)
            right = float(sample.sample_id in no_target)
            assert row["iou"] == (inter / union if union else right)
            assert sample.sample_id not in no_target or row["oracle_iou"] == 1
        assert (run.samples["no_target"] == [s.sample_id in no_target for s in samples]).all()
        value = run.record.metrics["miou"].value
        assert value == pytest.approx(run.samples["iou"].mean()) and (value == 1 / 3) == silent
        assert (run.folder / "masks").is_dir() != silent


def test_refers_overlap_rule_reaches_the_tables(rng, tmp_path):
    """Two polygons that overlap: the pixels under both are background by REFER's rule."""
    squares = [[2, 2, 12, 2, 12, 12, 2, 12], [6, 6, 16, 6, 16, 16, 6, 16]]
    annotation = {"id": 1, "image_id": 1, "segmentation": squares}
    image = {"id": 1, "file_name": "1.png", "height": 20, "width": 20}
    ref = {"ref_id": 1, "ann_id": 1, "image_id": 1, "category_id": 1, "split": "val",
           "sentences": [{"sent_id": 1, "sent": "dog"}]}  # fmt: skip

    def tables_of(annotation, proposals):
        shapes, place = {"1": annotation}, tmp_path / "x"
        files = RefFiles([ref], {"1": image}, shapes, place, place, "")
        data = split_of(files, "refcoco", "val", tmp_path)
        task, sample = Task(data, Smallest(), tmp_path), data.samples[0]
        scene = SimpleNamespace(proposals=proposals)
        task.add(sample, Answer(None, scene, (0,)), truths_of(proposals, data, sample))
        return data, task.frames()[0].iloc[0]

    proposals = rng.random((5, 20, 20)) < 0.5
    data, row = tables_of(annotation, proposals)
    union, exclusive = data.gt_mask(data.samples[0]), data.refer_truth(data.samples[0])
    assert (union & ~exclusive).sum() == 36 and not (exclusive & ~union).any()
    for prefix, gt in (("", union), ("refer_", exclusive)):
        inter, outer = intersection_union(proposals, gt)
        best = int((inter / outer).argmax())
        assert row[f"{prefix}gt_area_px"] == gt.sum()
        assert (row[f"{prefix}intersection_px"], row[f"{prefix}union_px"]) == (inter[0], outer[0])
        assert row[f"{prefix}oracle_intersection_px"] == inter[best]
        assert row[f"{prefix}oracle_union_px"] == outer[best]
    data, row = tables_of({**annotation, "segmentation": squares[:1]}, proposals)
    assert data.refer_truth is None and not [name for name in row.index if "refer" in name]
