"""Sweeps: each setting is held against refer() with the preset so changed."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from light import FakeCaptioner, a_run, light_tas, make_dataset, run_of, runs_of
from notebook_tools import written

from tasutils import cli
from tasutils.cli import axis
from tasutils.compare import TOLERANCE, close_calls
from tasutils.errors import TasError
from tasutils.language import SYNONYM_RULES
from tasutils.rectifier import RECTIFIERS, rectify
from tasutils.score_table import ScoreTable
from tasutils.sweep import ALL, best_settings, best_text, sweep
from tasutils.terms import combine, min_max_softmax

SENTENCES = [
    "left dog",
    "the banana on top",
    "the car underneath",
    "top left cat",
    "right upper car",
]
GRID = {"p": (0.0, 0.3, 2.0), "n": (0.0, 0.7, 3.0)}
SMALL = {"p": (0.1,), "n": (0.1,)}
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
    return light_tas(PRESETS[name] | changes, Captioner())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data"), sentences=SENTENCES)


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return {name: run_of(data, tas_of(name), out) for name in PRESETS}


@pytest.mark.parametrize("name", PRESETS)
def test_every_setting_gives_the_answers_of_refer(data, runs, name):
    tas, run = tas_of(name), runs[name]
    scenes = {i: tas.describe(data.image_path(i)) for i in data.image_ids}
    axes = ["synonyms", "rectifier", "weight_p", "weight_n"]
    grid = sweep([run], GRID, ("all",), ("all",)).set_index(axes)
    assert len(grid) == 2 * 4 * 9 and grid.index.is_unique
    own = (tas.preset.language.synonym_rule, tas.preset.rectifier.form)
    assert grid.index[0][:2] == own  # among equal settings the run's own comes first
    seen = set()
    for rule, form in product(SYNONYM_RULES, RECTIFIERS):
        other = tas_of(name, **{"language.synonym_rule": rule, "rectifier.form": form})
        for p, n in product(*GRID.values()):
            asked = ((scenes[sample.image_id], sample.text) for sample in data.samples)
            wanted = [other.refer(*one, weights={"p": p, "n": n}).best for one in asked]
            rows = run.table.choose({"v": 1, "p": p, "n": n}, form, rule)
            got = [int(run.table.proposal[row]) if row >= 0 else None for row in rows]
            assert got == wanted, (rule, form, p, n)
            seen.add(tuple(got))
            inter, union = run.table.pixels(rows)
            found = grid.loc[(rule, form, p, n)]
            assert found["oiou"] == pytest.approx(inter.sum() / union.sum(), rel=1e-12)
            ious = inter / (union + tas.preset.metrics.epsilon)
            assert found["miou"] == pytest.approx(ious.mean(), rel=1e-12)
    assert len(seen) > 9  # rules and forms matter, not only weights


@st.composite
def frames_of_runs(draw):
    """Frames of a run with ties, sentences without negatives, empty regions and no proposals."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    counts = draw(st.lists(st.integers(0, 7), min_size=1, max_size=12))
    strict, levels = draw(st.booleans()), draw(st.integers(1, 4))
    sentence = np.repeat(np.arange(len(counts)), counts)
    rows = len(sentence)
    names = ("term_v", "term_p", "term_n", "alt_n_other")
    grid = {name: rng.integers(0, levels, rows) / 8 for name in names}
    if strict:
        for name in names[2:]:
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
    ids = [f"s{k}" for k in range(len(counts))]
    samples = pd.DataFrame({"sample_id": ids, "image_id": ids, "gt_area_px": area})
    return samples, scores, strict and draw(st.booleans()), draw(st.sampled_from([0.0, 1.0]))


def slow_worth(rows, weights, nan_ties, n="term_n"):
    """What refer() compares, written as it is there."""
    terms = {"v": rows["term_v"], "p": rows["term_p"], "n": rows[n]}
    worth = combine(terms, weights)
    total = min_max_softmax(worth, strict_official=True) if nan_ties else worth
    return np.where(np.isnan(total), total, worth)


@settings(max_examples=60, deadline=None)
@given(frames_of_runs(), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0]))
def test_blocks_choose_as_the_plain_loop_does(frames, p, n):
    samples, scores, nan_ties, epsilon = frames
    weights = {"v": 1.0, "p": p, "n": n}
    mixed = scores.sample(frac=1, random_state=0)
    table = ScoreTable(mixed, samples, weights, nan_ties, epsilon)
    by_name = dict(iter(scores.groupby("sample_id")))
    for rule, form in product(("own", "other"), ("own", "other", "none")):
        chosen = table.choose(weights, form, rule)
        for k, name in enumerate(samples["sample_id"]):
            rows = by_name.get(name, scores[:0])
            column = "term_n" if rule == "own" else "alt_n_other"
            worth = slow_worth(rows, weights, nan_ties, column)
            end = "_other" if form == "other" else ""
            shape = np.ones(len(rows), bool), np.zeros(len(rows), bool)
            if form != "none":
                shape = rows[f"region{end}"], rows[f"yields{end}"]
            wanted = rectify(worth, *shape)
            if wanted is None:
                assert chosen[k] == -1
            else:
                assert (table.segment[chosen[k]], table.proposal[chosen[k]]) == (k, wanted)
    for name, margin in zip(samples["sample_id"], table.margins(), strict=True):
        rows = by_name.get(name, scores[:0])
        assert margin == pytest.approx(slow_margin(rows, weights, nan_ties), nan_ok=True)


def slow_margin(rows, weights, nan_ties):
    """The best total minus the next of those that compete with it."""
    worth = slow_worth(rows, weights, nan_ties)
    if not len(worth):
        return np.nan
    inside = rows["region"].to_numpy()
    pool = np.sort(worth if not inside.any() else worth[inside])[::-1]
    if np.isnan(worth).any() or len(pool) < 2:
        return np.inf
    return pool[0] - pool[1]


def test_close_calls_are_counted_in_the_scale_of_the_totals():
    totals = [[0.5, 0.5 - TOLERANCE / 2], [0.5, 0.5 - 50 * TOLERANCE], [0.5, 0.1]]
    scores = pd.DataFrame({
        "sample_id": np.repeat(["a", "b", "c"], 2), "proposal": [0, 1] * 3,
        "v": np.concatenate(totals), "p": 0.0, "n": 0.0, "region": True,
        "intersection_px": 0, "union_px": 1,
    })  # fmt: skip
    samples = pd.DataFrame({"sample_id": ["a", "b", "c"], "image_id": "i", "gt_area_px": np.nan})
    assert close_calls(a_run(samples, scores)) == (1, 3, TOLERANCE)
    scaled = {"scores": {"logit_scale": True}}
    assert close_calls(a_run(samples, scores, config=scaled))[:2] == (2, 3)
    peer = scores.rename(columns={"v": "score"})[["sample_id", "proposal", "score"]]
    peer = peer.assign(intersection_px=0, union_px=1)
    assert close_calls(a_run(samples, peer, method="mine")) == (1, 3, TOLERANCE)


def test_runs_of_other_fills_and_methods_join_the_grid(data, runs, tmp_path):
    peers = runs_of(data, tas_of("tiny"), tmp_path, ("clip_only",))
    three = [runs["tiny"], runs["none"], *peers]
    grid = sweep(three, GRID, ("all",), ("all",))
    assert len(grid) == 72 + 72 + 1
    assert grid.groupby("run_id", sort=False)["fill"].first().tolist() == ["black", "blur", "black"]
    peer = grid.iloc[-1]
    assert peer["method"] == "clip_only" and np.isnan(peer["weight_p"]) and peer["synonyms"] == ""
    assert peer["miou"] == pytest.approx(peers[0].record.metrics["miou"].value)
    best = best_settings(three, grid, n_boot=50)
    assert len(best) == 8 + 8 + 1 and best["choice"].tolist() == [True] + [False] * 16
    assert best["miou"].is_monotonic_decreasing and best["miou"].iloc[0] == grid["miou"].max()
    own = runs["tiny"].samples["iou"]
    np.testing.assert_allclose(best["difference"], best["miou"] - own.mean(), atol=1e-12)
    inside = (best["difference_low"] <= best["difference"]) & (best["miou_low"] <= best["miou"])
    assert inside.all() and (best["n_images"] == 6).all() and (best["n_settings"] == 145).all()
    text = best_text(best)
    assert "refscenes val: 145 settings, n = 30 sentences, 6 images" in text
    assert "choice: " in text and "best of 145" in text and "nan" not in text


def test_the_run_s_own_setting_differs_from_itself_by_nothing(runs):
    record = runs["tiny"].record
    (row,) = best_settings([runs["tiny"]], sweep([runs["tiny"]], {}), n_boot=50).to_dict("records")
    assert (row["synonyms"], row["rectifier"]) == ("nearest", "extended")
    assert (row["weight_p"], row["weight_n"]) == (record.weights["p"], record.weights["n"])
    assert row["difference"] == row["difference_low"] == row["difference_high"] == 0
    assert row["miou"] == pytest.approx(record.metrics["miou"].value, rel=1e-12)
    assert row["oiou"] == pytest.approx(record.metrics["oiou"].value, rel=1e-12)
    assert len(sweep([runs["tiny"]])) == 100  # a grid of ten by ten where no weights are named


def test_what_is_worse_than_the_run_is_no_choice(runs):
    run = runs["tiny"]
    perfect = run.samples.assign(intersection_px=lambda s: s["gt_area_px"])
    run = a_run(perfect.assign(union_px=perfect["gt_area_px"]), run.scores)
    best = best_settings([run], sweep([run], {"p": (0.0,), "n": (0.0,)}), n_boot=10)
    assert not best["choice"].any() and best["difference"].iloc[0] < 0
    assert "no choice: none of these is better" in best_text(best)


def test_notebook_06_holds_the_numbers_of_the_sweep(runs):
    book = written("06_study")
    for name, own in (("tiny", ("nearest", "extended")), ("strict", ("three_pairs", "official"))):
        table = pd.DataFrame(book["rules_and_forms"](runs[name], 50))
        names = list(zip(table["synonyms"], table["rectifier"], strict=True))
        assert set(names) == set(product(SYNONYM_RULES, RECTIFIERS)) and names[0] == own
        assert table["own"].tolist() == [pair == own for pair in names]
        place = names.index(own)
        assert (table.loc[place, ["mean", "low", "high"]] == 0).all() and table["mean"].any()
        if not runs[name].epsilon:
            best = best_settings([runs[name]], sweep([runs[name]], {}, (ALL,), (ALL,)), n_boot=50)
            wanted = best.set_index(["synonyms", "rectifier"]).loc[names]
            for column, end in (("mean", ""), ("low", "_low"), ("high", "_high")):
                np.testing.assert_allclose(table[column], wanted[f"difference{end}"], atol=1e-12)
        axes = {"p": (0.0, 0.5), "n": (0.0, 0.2, 1.0)}
        reached = book["over_weights"](runs[name], axes).mean(axis=-1)
        np.testing.assert_allclose(reached.ravel(), sweep([runs[name]], axes)["miou"])


def test_among_equal_settings_the_first_is_the_best(runs):
    scores = runs["tiny"].scores.assign(term_p=0.0, term_n=0.0, alt_n_three_pairs=0.0)
    run = a_run(runs["tiny"].samples, scores)
    weights = {"p": (2.0, 1.0), "n": (0.3, 0.2)}
    grid = sweep([run], weights, ("three_pairs", "nearest"), ("own",))
    best = best_settings([run], grid, n_boot=10)
    first = best.loc[0, ["synonyms", "weight_p", "weight_n"]].tolist()
    assert first == ["three_pairs", 2.0, 0.3]
    assert best_text(best).count("three_pairs = nearest") == 1


def test_a_run_without_alternatives_holds_its_own_rule_and_form_and_none(runs):
    scores = runs["tiny"].scores
    kept = [c for c in scores if not c.startswith(("alt_", "region_", "yields"))]
    run = a_run(runs["tiny"].samples, scores[kept])
    grid = sweep([run], SMALL, ("all",), ("all",))
    assert list(zip(grid["synonyms"], grid["rectifier"], strict=True)) == [
        ("nearest", "extended"), ("nearest", "none"),
    ]  # fmt: skip
    with pytest.raises(TasError, match="hand holds no scores by the synonym rule 'three_pairs'"):
        sweep([run], synonyms=("three_pairs",))
    with pytest.raises(TasError, match="'official', only by extended, none"):
        sweep([run], rectifiers=("none", "official"))
    with pytest.raises(TasError, match="run hand has no term 'd'; it has v, p, n"):
        sweep([run], {"d": (1.0,)})


def test_on_the_command_line(runs, tmp_path, capsys):
    out = tmp_path / "new" / "grid.parquet"
    given = ["--weight", "p=0:0.4:0.2", "--weight", "n=0,1", "--rectifier", "all"]
    assert cli.main(["sweep", str(runs["tiny"].folder), *given, "--out", str(out)]) == 0
    page = capsys.readouterr().out
    assert "choice: tas, weights p=" in page and f"48 settings: {out}" in page
    weights = {"p": (0.0, 0.2, 0.4), "n": (0.0, 1.0)}
    expected = sweep([runs["tiny"]], weights, ("all",), ("all",))
    pd.testing.assert_frame_equal(pd.read_parquet(out), expected, check_dtype=False)
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_settings_are_never_chosen_on_a_test_split(tmp_path, capsys):
    data = make_dataset(tmp_path, split="testA")
    run = run_of(data, tas_of("tiny"), tmp_path / "r")
    out = str(tmp_path / "grid.parquet")
    assert cli.main(["sweep", str(run.folder), "--out", out]) == 0
    page = capsys.readouterr().out
    assert "no choice: settings are chosen on val or valP only" in page
    assert "choice: tas" not in page


@pytest.mark.parametrize("arguments, words", [
    (["--weight", "p=a"], "--weight p=a is neither"),
    (["--weight", "p=0:1"], "--weight p=0:1 is neither term="),
    (["--weight", "p="], "neither"),
    (["--weight", "0:1:0.1"], "is neither term="),
    (["--weight", "n=0,nan"], "--weight n=0,nan is neither"),
    (["--weight", "n=0:1:0"], "upwards, as"),
    (["--weight", "n=1:0:0.1"], "upwards, as"),
    (["--weight", "n=0:1:1e-9"], "more than 1000 numbers"),
    (["--weight", "d=1"], "has no term 'd'; it has v, p, n"),
    (["--synonyms", "cousins"], "the synonym rule 'cousins', only by nearest, three_pairs"),
    (["--rectifier", "paper,"], "the rectifier form '', only by extended, none, paper, official"),
    (["--out", "."], "is a folder"),
])  # fmt: skip
def test_bad_input_is_one_line(runs, capsys, arguments, words):
    assert cli.main(["sweep", str(runs["tiny"].folder), *arguments]) == 2
    shown = capsys.readouterr()
    assert words in shown.err and shown.err.count("\n") == 1 and shown.out == ""


def test_bad_runs_are_one_line(runs, data, tmp_path, capsys):
    folder = str(runs["tiny"].folder)
    out = ["--out", str(tmp_path / "grid.parquet")]
    fewer = run_of(data, tas_of("tiny"), tmp_path / "r", limit_images=2)
    for named, words in [
        ([folder, folder], "is named twice"),
        ([folder, str(tmp_path)], "no run there"),
        ([folder, str(fewer.folder)], "answer different sentences"),
        ([], "required: runs"),
    ]:
        assert cli.main(["sweep", *named, *out]) == 2
        shown = capsys.readouterr().err
        assert words in shown and shown.count("\n") == 1
    assert not (tmp_path / "grid.parquet").exists()
    unknown = a_run(runs["tiny"].samples.assign(gt_area_px=np.nan), runs["tiny"].scores)
    with pytest.raises(TasError, match="30 of 30 sentences have no ground truth"):
        sweep([unknown])


@given(st.integers(-50, 50), st.integers(0, 200), st.sampled_from([0.01, 0.05, 0.1, 0.25, 1.0]))
def test_a_span_reaches_from_its_first_to_its_last_number(first, count, step):
    begin, end = first * step, (first + count) * step
    _, found = axis(f"p={begin}:{end}:{step}")
    assert len(found) == count + 1
    assert found == [round(x, 2) for x in found]
    np.testing.assert_allclose(found, (first + np.arange(count + 1)) * step, atol=1e-9)
