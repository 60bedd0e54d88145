"""Evaluation, runs on disk, and variants recomputed from stored scores."""

import json
import os
import re
from itertools import product

import numpy as np
import pandas as pd
import pytest
from light import SENTENCES, FakeCaptioner, FakeEncoder, FakeProposer, H, W, make_dataset, run_of
from PIL import Image

from tasutils import evaluate as evaluation
from tasutils.config import load_preset
from tasutils.errors import TasError
from tasutils.evaluate import evaluate
from tasutils.metrics import METRIC_NAMES, miou, oiou
from tasutils.run_lines import summary_line
from tasutils.runs import list_runs, read_run
from tasutils.store import SceneStore
from tasutils.study import Part
from tasutils.sweep import sweep
from tasutils.sweep_choice import choose_weights
from tasutils.tas import TAS
from tasutils.variants import ScoreTable, variants


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
    assert record.lam == tas.preset.weights("refscenes")["n"]
    assert record.dtype == "float32" and record.device == "cpu" and record.n_described == 6
    assert set(record.metrics) == {*METRIC_NAMES, *(f"oracle_{name}" for name in METRIC_NAMES)}
    assert record.versions["numpy"] == np.__version__ and record.seeds == {"bootstrap": 0}
    assert record.wall_s > 0 and record.peak_memory_mib["host"] > 10
    assert set(record.models) == {*tas.preset.weight_paths(), "language.spacy_model", "wordnet"}
    assert all(re.fullmatch("[0-9a-f]{64}", model.sha256) for model in record.models.values())
    assert "n = 30 sentences, 6 images" in summary_line(run)


def test_tables_and_metrics_of_a_run(dataset, tas, tmp_path):
    run = run_of(dataset, tas, tmp_path)
    samples, scores = run.samples(), run.scores()
    assert samples["sample_id"].tolist() == [s.sample_id for s in dataset.samples]
    assert samples["text"].tolist() == SENTENCES * 6
    assert not samples.isna().any().any() and not scores.isna().any().any()
    assert len(scores) == 5 * 5 * 7 and list(scores.columns) == [
        "sample_id", "proposal", "v", "p", "n", "region", "yields", "n_three_pairs",
        "region_paper", "region_official", "yields_official", "intersection_px", "union_px",
        "gt_area_px",
    ]  # fmt: skip
    for sample, row in zip(dataset.samples, samples.to_dict("records"), strict=True):
        gt = dataset.gt_mask(sample)
        assert row["gt_area_px"] == gt.sum()
        part = scores[scores["sample_id"] == sample.sample_id].reset_index(drop=True)
        assert row["n_proposals"] == len(part)
        if row["chosen"] >= 0:
            chosen = part.loc[row["chosen"]]
            assert row["intersection_px"] == chosen["intersection_px"]
            assert row["union_px"] == chosen["union_px"]
            ious = part["intersection_px"] / part["union_px"]
            assert row["oracle_iou"] == ious.max() >= row["iou"]
        else:
            assert (row["intersection_px"], row["union_px"]) == (0, gt.sum())
            assert row["oracle_iou"] == row["iou"] == 0 and "no mask" in row["reason"]
    inter, union = samples["intersection_px"], samples["union_px"]
    metrics = run.record.metrics
    assert metrics["oiou"].value == pytest.approx(oiou(inter, union))
    assert metrics["miou"].value == pytest.approx(miou(inter, union))
    assert metrics["miou"].value == pytest.approx(samples["iou"].mean())
    assert metrics["oracle_miou"].value >= metrics["miou"].value
    assert (metrics["miou"].n, metrics["miou"].n_images) == (30, 6)


def test_partial_runs_say_so(dataset, tas, tmp_path):
    run = run_of(dataset, tas, tmp_path, limit_images=2)
    assert run.record.partial and "_partial2_" in run.record.run_id
    assert (run.record.n_used, run.record.n_total, run.record.n_images_total) == (10, 30, 6)
    assert "partial, n = 10 sentences, 2 images of 6" in summary_line(run)
    assert not run_of(dataset, tas, tmp_path, limit_images=6).record.partial
    with pytest.raises(TasError, match="limit_images is 0"):
        evaluate(dataset, tas, out=tmp_path, limit_images=0)


def test_runs_are_never_overwritten(dataset, tas, tmp_path, monkeypatch):
    class Clock(evaluation.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 11, 23, 10, 15, tzinfo=tz)

    monkeypatch.setattr(evaluation, "datetime", Clock)
    out = tmp_path / "r"
    folders = [evaluate(dataset, tas, out=out, progress=False, limit_images=1) for _ in range(3)]
    assert folders[0].name.startswith("20261123-101500_refscenes-val_tiny_partial1_")
    assert [f.name for f in folders[1:]] == [f"{folders[0].name}-{k}" for k in (2, 3)]
    runs = list_runs(out)
    assert [run.record.run_id for run in runs] == [folder.name for folder in folders]
    first, second = (run.samples() for run in runs[:2])
    pd.testing.assert_frame_equal(first, second)


def test_stored_scenes_are_read_back_and_give_the_same_answers(dataset, tas, tmp_path):
    store = SceneStore(tmp_path / "scenes")
    first = run_of(dataset, tas, tmp_path / "r", store=store)
    assert tas.n_described == 6 and first.record.times_s
    again = run_of(dataset, tas, tmp_path / "r", store=store)
    assert tas.n_described == 6 and again.record.n_described == 0
    pd.testing.assert_frame_equal(first.samples(), again.samples())
    pd.testing.assert_frame_equal(first.scores(), again.scores())


def test_an_interruption_loses_no_described_scene(dataset, tas, tmp_path):
    store, out = SceneStore(tmp_path / "scenes"), tmp_path / "r"
    tas.stop_after = 4
    with pytest.raises(KeyboardInterrupt):
        evaluate(dataset, tas, store=store, out=out, progress=False)
    assert os.listdir(out) == [] and len(store.keys()) == 4
    tas.stop_after = 10**9
    assert run_of(dataset, tas, out, store=store).record.n_described == 2
    assert tas.n_described == 6


def test_sentences_that_cannot_be_read_count_as_wrong(tas, tmp_path):
    data = make_dataset(tmp_path, sentences=["the dog", "  ", "\u200b", "x" * 3000, "\U0001f415"])
    run = run_of(data, tas, tmp_path / "r")
    samples = run.samples()
    assert len(samples) == 30 and (samples["chosen"] >= 0).sum() == 10
    blank = samples[samples["text"] == "  "]
    assert (blank["union_px"] == blank["gt_area_px"]).all() and (blank["iou"] == 0).all()
    assert set(blank["reason"]) == {"the sentence is empty"}
    assert blank["oracle_iou"].max() > 0
    everything = variants(run.scores(), samples, 0.1, 0.1).query("variant == 'V' and not rectifier")
    assert everything["iou"][everything["chosen"] < 0].eq(0).all()


def test_wrong_or_missing_pictures(dataset, tas, tmp_path):
    Image.new("RGB", (W + 1, H)).save(tmp_path / "images" / "3.png")
    with pytest.raises(TasError, match=r"24 x 33 px \(H x W\), its annotations say \(24, 32\)"):
        evaluate(dataset, tas, out=tmp_path / "r", progress=False)
    (tmp_path / "images" / "1.png").unlink()
    with pytest.raises(TasError, match=r"1\.png"):
        evaluate(dataset, tas, out=tmp_path / "r", progress=False)
    assert os.listdir(tmp_path / "r") == []


def test_unwritable_results(dataset, tas, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TasError, match="cannot be written"):
        evaluate(dataset, tas, out=tmp_path / "file" / "results", progress=False)
    assert tas.n_described == 0


def test_progress_is_a_plain_bar(dataset, tas, tmp_path, capsys):
    evaluate(dataset, tas, out=tmp_path / "r")
    shown = capsys.readouterr()
    assert "refscenes val" in shown.err and "6/6" in shown.err and shown.out == ""


def test_damaged_runs(dataset, tas, tmp_path):
    folder = evaluate(dataset, tas, out=tmp_path, progress=False, limit_images=1)
    assert read_run(folder / "run.json") == read_run(folder)
    (folder / "scores.parquet").write_bytes(b"PAR1")
    with pytest.raises(TasError, match=r"scores\.parquet: cannot be read"):
        read_run(folder).scores()
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(content | {"surprise": 1}))
    with pytest.raises(TasError, match="surprise"):
        read_run(folder)
    (folder / "run.json").write_text("{")
    with pytest.raises(TasError, match="evaluate again and move"):
        read_run(folder)
    with pytest.raises(TasError, match="no run there"):
        read_run(tmp_path / "none")


@pytest.mark.parametrize("alpha, lam", [(0.1, 0.1), (0.5, 1.0), (0.0, 0.0)])
def test_variants_equal_what_refer_answers(dataset, parser, tmp_path, alpha, lam):
    """From scores.parquet alone, each variant is what a run with its weights and form says."""
    base = load_preset("tiny").override({"rectifier.form": "extended"})
    store = SceneStore(tmp_path / "scenes")

    def run(a, b, form):
        preset = base.override({
            "terms.p.weight": a, "terms.n.weight": b,
            "rectifier.form": form,
        })  # fmt: skip
        tas = TAS(preset, FakeProposer(), FakeEncoder(), FakeCaptioner(), parser, "cpu")
        return run_of(dataset, tas, tmp_path / "r", store=store)

    stored = run(alpha, lam, "extended")
    table = variants(stored.scores(), stored.samples(), alpha, lam)
    assert len(table) == 8 * 30 and not table.isna().any().any()
    weights = {"V": (0, 0), "V+P": (alpha, 0), "V+N": (0, lam), "V+P+N": (alpha, lam)}
    for name, rectifier in product(weights, (False, True)):
        expected = run(*weights[name], "extended" if rectifier else "none").samples()
        part = table[(table["variant"] == name) & (table["rectifier"] == rectifier)]
        for column in ("sample_id", "image_id", "chosen", "intersection_px", "union_px", "iou"):
            assert part[column].tolist() == expected[column].tolist(), (name, rectifier, column)


def test_the_whole_method_equals_samples_exactly(dataset, tas, tmp_path):
    run = run_of(dataset, tas, tmp_path)
    samples = run.samples()
    table = variants(run.scores(), samples, run.record.alpha, run.record.lam)
    whole = table.query("variant == 'V+P+N' and rectifier").reset_index(drop=True)
    for column in ("chosen", "intersection_px", "union_px", "iou"):
        assert (whole[column] == samples[column]).all()
    assert samples["rectified"].any() and not samples["rectified"].all()
    plain = table.query("variant == 'V+P+N' and not rectifier").reset_index(drop=True)
    calm = ~samples["rectified"]
    assert (plain["chosen"][calm] == whole["chosen"][calm]).all()


def toy(region=(True, True, True)):
    scores = pd.DataFrame({
        "sample_id": "a", "proposal": [0, 1, 2], "v": [0.5, 0.9, 0.9], "p": [0.0, 0.0, 0.0],
        "n": [0.0, 0.0, 0.0], "region": region, "intersection_px": [1, 2, 3],
        "union_px": [10, 10, 10], "gt_area_px": 5,
    })  # fmt: skip
    samples = pd.DataFrame({"sample_id": ["a", "b"], "image_id": "i", "gt_area_px": [5, 7]})
    return scores, samples


def test_ties_empty_regions_and_no_proposals():
    def chosen(region, rectifier):
        table = ScoreTable(*toy(region))
        return table.choose(0.1, 0.1, "own" if rectifier else "none").tolist()

    assert chosen((True, True, True), True) == [1, -1]  # the first of equal ones
    assert chosen((True, False, True), True) == [2, -1]
    assert chosen((True, False, False), True) == [0, -1]
    assert chosen((False, False, False), True) == [1, -1]  # an empty region keeps the best of all
    assert chosen((True, False, False), False) == [1, -1]
    table = variants(*toy(), 0.1, 0.1)
    missing = table[table["sample_id"] == "b"]
    assert set(missing["union_px"]) == {7} and set(missing["iou"]) == {0.0}


def test_shuffled_scores_and_foreign_samples():
    scores, samples = toy()
    expected = variants(scores, samples, 0.1, 0.1)
    pd.testing.assert_frame_equal(variants(scores[::-1], samples, 0.1, 0.1), expected)
    with pytest.raises(TasError, match="read both tables from the same run"):
        variants(scores.assign(sample_id="z"), samples, 0.1, 0.1)
    empty = variants(scores[:0], samples, 0.1, 0.1)
    assert set(empty["chosen"]) == {-1}


def test_weights_are_chosen_on_val(dataset, tas, tmp_path):
    other = make_dataset(tmp_path, "refscenes+")
    runs = [run_of(data, tas, tmp_path / "r") for data in (dataset, other)]
    alphas, lambdas = (0.0, 0.1, 1.0, 3.0), (0.0, 0.5, 2.0)
    choice = choose_weights(runs, alphas, lambdas)
    assert set(choice.lambda_by_dataset) == {"refscenes", "refscenes+"}
    grid = sweep([Part(runs[0])], alphas, lambdas)
    assert len(grid) == 12 and len(choice.grid) == 24
    best = {}
    for alpha in alphas:  # slow search
        best[alpha] = np.mean([
            max(
                variants(run.scores(), run.samples(), alpha, lam)
                .query("variant == 'V+P+N' and rectifier")["iou"].mean()
                for lam in lambdas
            )
            for run in runs
        ])  # fmt: skip
    assert choice.miou == pytest.approx(max(best.values()))
    assert choice.alpha == max(best, key=lambda alpha: round(best[alpha], 12))
    text = str(choice)
    assert "refscenes+: mIoU, n = 30" in text and f"alpha {choice.alpha}" in text


def test_weights_are_never_chosen_on_a_test_split(tas, tmp_path):
    run = run_of(make_dataset(tmp_path, split="testA"), tas, tmp_path / "r")
    with pytest.raises(TasError, match="on split testA; weights are chosen on val or valP only"):
        choose_weights([run])
    with pytest.raises(TasError, match="one run for each data set"):
        choose_weights([])
