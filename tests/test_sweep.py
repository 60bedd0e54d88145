"""Sweeps: each setting is held against refer() with the preset so changed."""

import math
import time
import tracemalloc
from itertools import product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from light import CountingTAS, FakeCaptioner, FakeEncoder, FakeProposer, make_dataset

from tasutils import charts, cli, readable
from tasutils.cli_sweep import numbers
from tasutils.config import load_preset
from tasutils.errors import TasError
from tasutils.evaluate import evaluate_all
from tasutils.language import SYNONYM_RULES, Parser
from tasutils.metrics import iou, metric
from tasutils.rectifier import RECTIFIERS, rectify
from tasutils.runs import read_run
from tasutils.score_table import Rules, ScoreTable
from tasutils.study import Part
from tasutils.sweep import sweep
from tasutils.sweep_choice import at_own_weights, best_settings, best_text
from tasutils.terms import combine, min_max_softmax

SENTENCES = [
    "left dog",
    "the banana on top",
    "the car underneath",
    "top left cat",
    "right upper car",
]
ALPHAS, LAMBDAS = (0.0, 0.3, 2.0), (0.0, 0.7, 3.0)
PRESETS = {
    "tiny": {"rectifier.form": "extended"},
    "strict": {
        "rectifier.form": "official", "rectifier.cut": "median", "rectifier.gate": True,
        "rectifier.centers": "floor", "language.synonym_rule": "three_pairs",
        "scores.strict_official": True, "scores.normalise": "min_max_softmax",
        "scores.logit_scale": True, "metrics.epsilon": 0.5,
    },
    "none": {"rectifier.form": "none", "crop.fill": "blur"},
}  # fmt: skip


class Captioner(FakeCaptioner):
    """Of some pictures it names one thing only, so that a rule may leave no negative."""

    def caption_image(self, whole):
        return "a dog" if int(whole.sum()) % 2 else "a dog and a banana"


def tas_of(name, **changes):
    preset = load_preset("tiny").override(PRESETS[name] | changes)
    return CountingTAS(preset, FakeProposer(), FakeEncoder(), Captioner(), Parser(), "cpu")


def runs_of(data, tas, out, methods=("tas",)):
    return [read_run(f) for f in evaluate_all([data], tas, methods, out=out, progress=False)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data"), sentences=SENTENCES)


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return {name: runs_of(data, tas_of(name), out)[0] for name in PRESETS}


@pytest.mark.parametrize("name", PRESETS)
def test_every_setting_gives_the_answers_of_refer(data, runs, name):
    tas, part = tas_of(name), Part(runs[name])
    scenes = {i: tas.describe(data.image_path(i)) for i in data.image_ids}
    asked = (ALPHAS, LAMBDAS, ("all",), ("all",))
    grid = sweep([part], *asked).set_index(["synonyms", "rectifier", "alpha", "lam"])
    assert len(grid) == 2 * 4 * 9 and grid.index.is_unique
    own = (tas.preset.language.synonym_rule, tas.preset.rectifier.form)
    assert grid.index[0][:2] == own  # among equal settings the run's own comes first
    seen = set()
    for rule, form in product(SYNONYM_RULES, RECTIFIERS):
        other = tas_of(name, **{"language.synonym_rule": rule, "rectifier.form": form})
        keys = ["own" if x == y else x for x, y in zip((form, rule), own[::-1], strict=True)]
        for alpha, lam in product(ALPHAS, LAMBDAS):
            wanted = [
                other.refer(
                    scenes[sample.image_id], sample.text, weights={"p": alpha, "n": lam}
                ).best
                for sample in data.samples
            ]
            rows = part.scores.choose(alpha, lam, *keys)
            got = [int(part.scores.proposal[row]) if row >= 0 else None for row in rows]
            assert got == wanted, (rule, form, alpha, lam)
            seen.add(tuple(got))
            inter, union = part.scores.pixels(rows)
            found = grid.loc[(rule, form, alpha, lam)]
            assert found["oiou"] == pytest.approx(inter.sum() / union.sum(), rel=1e-12)
            ious = inter / (union + tas.preset.metrics.epsilon)
            assert found["miou"] == pytest.approx(ious.mean(), rel=1e-12)
    assert len(seen) > 9  # rules and forms matter, not only weights
    scores = runs[name].scores()
    others = [column for column in scores if column.startswith(("n_", "region_"))]
    assert any((scores[c] != scores[c.split("_")[0]]).any() for c in others)


@st.composite
def tables(draw):
    """Frames of a run with ties, sentences without negatives, empty regions and no proposals."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    counts = draw(st.lists(st.integers(0, 7), min_size=1, max_size=12))
    strict, levels = draw(st.booleans()), draw(st.integers(1, 4))
    sentence = np.repeat(np.arange(len(counts)), counts)
    rows = len(sentence)
    grid = {name: rng.integers(0, levels, rows) / 8 for name in ("v", "p", "n", "n_other")}
    if strict:
        for name in ("n", "n_other"):
            grid[name][(rng.random(len(counts)) < 0.3)[sentence]] = np.nan
    for form in ("", "_other"):
        grid[f"region{form}"] = rng.random(rows) < draw(st.sampled_from([0.0, 0.5, 1.0]))
        grid[f"yields{form}"] = grid[f"region{form}"] & (rng.random(rows) < 0.6)
    area = rng.integers(1, 50, len(counts))
    inter = (rng.random(rows) * area[sentence]).astype(int)
    scores = pd.DataFrame({
        "sample_id": [f"s{k}" for k in sentence],
        "proposal": np.arange(rows) - np.searchsorted(sentence, sentence), **grid,
        "intersection_px": inter, "union_px": area[sentence] + rng.integers(0, 9, rows),
    })  # fmt: skip
    samples = pd.DataFrame({
        "sample_id": [f"s{k}" for k in range(len(counts))], "gt_area_px": area,
    })  # fmt: skip
    return scores, samples, Rules(strict and draw(st.booleans()), draw(st.sampled_from([0.0, 1.0])))


def slow_choice(rows, rules, alpha, lam, rule, form):
    """What refer() does with one sentence, written as it is there."""
    worth = combine(
        {"v": rows["v"], "p": rows["p"], "n": rows[f"n{rule}"]}, {"v": 1, "p": alpha, "n": lam}
    )
    if rules.nan_ties:
        total = min_max_softmax(worth, strict_official=True)
        worth = np.where(np.isnan(total), total, worth)
    if form is None:
        return rectify(worth, np.ones(len(worth), bool))
    return rectify(worth, rows[f"region{form}"], rows[f"yields{form}"])


@settings(max_examples=60, deadline=None)
@given(tables(), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0]))
def test_blocks_choose_as_the_plain_loop_does(frames, alpha, lam):
    scores, samples, rules = frames
    table = ScoreTable(scores.sample(frac=1, random_state=0), samples, rules)
    by_name = dict(iter(scores.groupby("sample_id")))
    for rule, form in product(("", "_other"), ("", "_other", None)):
        keys = ("none" if form is None else "other" if form else "own", "other" if rule else "own")
        chosen = table.choose(alpha, lam, *keys)
        for k, name in enumerate(samples["sample_id"]):
            rows = by_name.get(name, scores[:0])
            wanted = slow_choice(rows, rules, alpha, lam, rule, form)
            if wanted is None:
                assert chosen[k] == -1
            else:
                assert (table.segment[chosen[k]], table.proposal[chosen[k]]) == (k, wanted)


@settings(max_examples=30, deadline=None)
@given(tables())
def test_the_grid_s_sums_are_the_metrics_of_its_answers(frames):
    scores, samples, rules = frames
    part = part_of(scores, samples, rules)
    for row in sweep([part], (0.0, 0.5), (0.0, 1.0), rectifiers=("own", "none")).itertuples():
        key = "own" if row.rectifier == "extended" else "none"
        pixels = part.scores.pixels(part.scores.choose(row.alpha, row.lam, key))
        assert row.oiou == pytest.approx(metric(*pixels, "oiou"), abs=1e-12)
        assert row.miou == pytest.approx(iou(*pixels, rules.epsilon).mean(), abs=1e-12)


def part_of(scores, samples, rules):
    """A part of frames made by hand."""
    record = SimpleNamespace(
        run_id="hand", dataset="refscenes", split="val", split_by="", partial=True,
        preset="tiny", method="tas",
        alpha=0.1, lam=0.1, index_digest="", config={
            "scores": {"strict_official": rules.nan_ties, "normalise": "min_max_softmax"},
            "metrics": {"epsilon": rules.epsilon},
        },
    )  # fmt: skip
    run = SimpleNamespace(record=record, samples=lambda: samples, scores=lambda: scores)
    return Part(run)


def test_runs_of_other_fills_and_methods_join_the_grid(data, runs, tmp_path):
    peers = runs_of(data, tas_of("tiny"), tmp_path, ("clip_only",))
    parts = [Part(run) for run in (runs["tiny"], runs["none"], *peers)]
    grid = sweep(parts, ALPHAS, LAMBDAS, ("all",), ("all",))
    assert len(grid) == 72 + 72 + 1
    assert grid.groupby("run_id", sort=False)["fill"].first().tolist() == ["black", "blur", "black"]
    peer = grid.iloc[-1]
    assert peer["method"] == "clip_only" and np.isnan(peer["alpha"]) and peer["synonyms"] == ""
    assert peer["miou"] == pytest.approx(peers[0].record.metrics["miou"].value)
    best = best_settings(parts, grid, n_boot=50)
    assert len(best) == 8 + 8 + 1 and best["choice"].tolist() == [True] + [False] * 16
    assert best["miou"].is_monotonic_decreasing and best["miou"].iloc[0] == grid["miou"].max()
    own = runs["tiny"].samples()["iou"]
    np.testing.assert_allclose(best["difference"], best["miou"] - own.mean(), atol=1e-12)
    inside = (best["difference_low"] <= best["difference"]) & (best["miou_low"] <= best["miou"])
    assert inside.all() and (best["n_images"] == 6).all() and (best["n_settings"] == 145).all()
    text = best_text(best)
    assert "refscenes val: 145 settings, n = 30 sentences, 6 images" in text
    assert "choice: " in text and "best of 145" in text and "nan" not in text


def test_the_run_s_own_setting_differs_from_itself_by_nothing(runs):
    part = Part(runs["tiny"])
    record = part.run.record
    grid = sweep([part], [record.alpha], [record.lam])
    (row,) = best_settings([part], grid, n_boot=50).to_dict("records")
    assert (row["synonyms"], row["rectifier"]) == ("nearest", "extended")
    assert row["difference"] == row["difference_low"] == row["difference_high"] == 0
    assert row["miou"] == pytest.approx(record.metrics["miou"].value, rel=1e-12)
    assert row["oiou"] == pytest.approx(record.metrics["oiou"].value, rel=1e-12)


def test_what_is_worse_than_the_run_is_no_choice(runs):
    run = runs["tiny"]
    perfect = run.samples().assign(intersection_px=lambda s: s["gt_area_px"])
    part = part_of(run.scores(), perfect.assign(union_px=perfect["gt_area_px"]), Rules())
    best = best_settings([part], sweep([part], (0.0,), (0.0,)), n_boot=10)
    assert not best["choice"].any() and best["difference"].iloc[0] < 0
    assert "no choice: none of these is better" in best_text(best)


def test_rules_and_forms_at_the_run_s_own_weights(runs):
    parts = [Part(runs[name]) for name in ("tiny", "strict")]
    for part, own in zip(parts, [(0, 1), (1, 2)], strict=True):
        table = at_own_weights([part], n_boot=50)
        names = list(product(SYNONYM_RULES, RECTIFIERS))
        assert list(zip(table["synonyms"], table["rectifier"], strict=True)) == names
        place = names.index((list(SYNONYM_RULES)[own[0]], list(RECTIFIERS)[own[1]]))
        assert table["own"].tolist() == [k == place for k in range(8)]
        assert (table.loc[place, ["mean", "low", "high"]] == 0).all() and table["mean"].any()
        html = readable.settings_table(table, "n = 30").to_html()
        assert html.count("+0.0 [+0.0, +0.0]") >= 1 and "three_pairs" in html and "n = 30" in html
        (axes,) = charts.settings_plot(table, note="hollow: own").axes
        points = [line for line in axes.lines if line.get_marker() in "os"]
        np.testing.assert_allclose([line.get_xdata()[0] for line in points], 100 * table["mean"])
        hollow = [line for line in points if line.get_markerfacecolor() == "white"]
        assert len(hollow) == 1 and hollow[0].get_xdata()[0] == 0


def test_among_equal_settings_the_first_is_the_best(runs):
    scores = runs["tiny"].scores().assign(p=0.0, n=0.0, n_three_pairs=0.0)
    part = part_of(scores, runs["tiny"].samples(), Rules())
    grid = sweep([part], (2.0, 1.0), (0.3, 0.2), ("three_pairs", "nearest"), ("own",))
    best = best_settings([part], grid, n_boot=10)
    assert best.loc[0, ["synonyms", "alpha", "lam"]].tolist() == ["three_pairs", 2.0, 0.3]
    assert "nearest" in best_text(best) and best_text(best).count("three_pairs = nearest") == 1


def test_old_runs_hold_their_own_rule_and_form_and_none(runs):
    scores = runs["tiny"].scores()
    old = scores[[c for c in scores if not c.startswith(("n_", "region_", "yields"))]]
    part = part_of(old, runs["tiny"].samples(), Rules())
    grid = sweep([part], (0.1,), (0.1,), ("all",), ("all",))
    assert list(zip(grid["synonyms"], grid["rectifier"], strict=True)) == [
        ("nearest", "extended"), ("nearest", "none"),
    ]  # fmt: skip
    with pytest.raises(TasError, match="hand holds no scores by the synonym rule 'three_pairs'"):
        sweep([part], synonyms=("three_pairs",))
    with pytest.raises(TasError, match="'official', only by extended, none; evaluate again"):
        sweep([part], rectifiers=("none", "official"))


def test_on_the_command_line(runs, tmp_path, capsys):
    out = tmp_path / "new" / "grid.parquet"
    given = ["--alpha", "0:0.4:0.2", "--lam", "0,1", "--synonyms", "all", "--rectifier", "all"]
    assert cli.main(["sweep", str(runs["tiny"].folder), *given, "--out", str(out)]) == 0
    page = capsys.readouterr().out
    assert "choice: tas, alpha" in page and f"48 settings: {out}" in page
    expected = sweep([Part(runs["tiny"])], (0.0, 0.2, 0.4), (0.0, 1.0), ("all",), ("all",))
    pd.testing.assert_frame_equal(pd.read_parquet(out), expected, check_dtype=False)
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_settings_are_never_chosen_on_a_test_split(tmp_path, capsys):
    data = make_dataset(tmp_path, split="testA")
    (run,) = runs_of(data, tas_of("tiny"), tmp_path / "r")
    out = str(tmp_path / "grid.parquet")
    assert cli.main(["sweep", str(run.folder), "--out", out]) == 0
    page = capsys.readouterr().out
    assert "no choice: settings are chosen on val or valP only" in page
    assert "choice: tas" not in page


@pytest.mark.parametrize("arguments, words", [
    (["--alpha", "a"], "--alpha 'a' is neither"),
    (["--alpha", "0:1"], "neither 0,0.1,1 nor first:last:step"),
    (["--alpha", ""], "neither"),
    (["--lam", "0,nan"], "--lam '0,nan' is neither"),
    (["--lam", "0:1:0"], "goes upwards"),
    (["--lam", "1:0:0.1"], "goes upwards"),
    (["--lam", "0:1:1e-9"], "more than 1000 numbers"),
    (["--synonyms", "cousins"], "no synonym rule 'cousins'; there are nearest, three_pairs"),
    (["--rectifier", "paper,"], "no rectifier form ''; there are paper, extended, official, none"),
    (["--out", "."], "is a folder"),
])  # fmt: skip
def test_bad_input_is_one_line(runs, capsys, arguments, words):
    assert cli.main(["sweep", str(runs["tiny"].folder), *arguments]) == 2
    shown = capsys.readouterr()
    assert words in shown.err and shown.err.count("\n") == 1 and shown.out == ""


def test_bad_runs_are_one_line(runs, data, tmp_path, capsys):
    folder = str(runs["tiny"].folder)
    out = ["--out", str(tmp_path / "grid.parquet")]
    fewer = evaluate_all([data], tas_of("tiny"), out=tmp_path / "r", progress=False, limit_images=2)
    for named, words in [
        ([folder, folder], "is named twice"),
        ([folder, str(tmp_path)], "no run there"),
        ([folder, str(fewer[0])], "answer different sentences"),
        ([], "Missing argument"),
    ]:
        assert cli.main(["sweep", *named, *out]) == 2
        shown = capsys.readouterr().err
        assert words in shown and shown.count("\n") == 1
    assert not (tmp_path / "grid.parquet").exists()
    samples = runs["tiny"].samples().assign(gt_area_px=np.nan)
    with pytest.raises(TasError, match="30 of 30 sentences have no ground truth"):
        sweep([part_of(runs["tiny"].scores(), samples, Rules())])


@given(st.integers(-50, 50), st.integers(0, 200), st.sampled_from([0.01, 0.05, 0.1, 0.25, 1.0]))
def test_a_span_reaches_from_its_first_to_its_last_number(first, count, step):
    begin, end = first * step, (first + count) * step
    found = numbers(f"{begin}:{end}:{step}", "--alpha")
    assert len(found) == count + 1
    assert found == [round(x, 2) for x in found]
    np.testing.assert_allclose(found, (first + np.arange(count + 1)) * step, atol=1e-9)


def test_a_thousand_settings_over_a_whole_split(tmp_path):
    """10,834 sentences of 30 masks, as in RefCOCO val, read from parquet."""
    rng, n, m = np.random.default_rng(0), 10_834, 30
    area = rng.integers(500, 20_000, n)
    gt = np.repeat(area, m)
    has = np.repeat(rng.random(n) < 0.5, m)
    scores = pd.DataFrame({
        "sample_id": np.repeat([f"s{k}" for k in range(n)], m), "proposal": np.tile(range(m), n),
        **{name: rng.random(n * m) for name in ("v", "p", "n", "n_three_pairs")},
        **{name: ~has | (rng.random(n * m) < 0.5) for name in ("region", "region_paper")},
        "yields": False, "region_official": True, "yields_official": False,
        "intersection_px": (rng.random(n * m) * gt).astype(int),
        "union_px": gt + rng.integers(0, 20_000, n * m), "gt_area_px": gt,
    })  # fmt: skip
    scores.to_parquet(tmp_path / "scores.parquet")
    samples = pd.DataFrame({
        "sample_id": [f"s{k}" for k in range(n)], "image_id": np.arange(n) // 7,
        "gt_area_px": area, "intersection_px": 0, "union_px": area, "n_proposals": m,
        "oracle_intersection_px": area, "oracle_union_px": area,
    })  # fmt: skip
    del scores
    tracemalloc.start()
    part = part_of(pd.read_parquet(tmp_path / "scores.parquet"), samples, Rules())
    sweep([part], (0.1,), (0.1,), ("all",), ("all",))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 400e6  # the arrays; the interpreter and pandas take 150 MB more
    start = time.process_time()
    grid = sweep([part], np.arange(5) / 10, np.arange(25) / 10, ("all",), ("all",))
    assert len(grid) == 1000 and time.process_time() - start < 10
    assert math.isclose(grid["miou"].max(), best_settings([part], grid, 10)["miou"].iloc[0])
