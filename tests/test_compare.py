"""Several methods over the same scenes; runs side by side, what changed, and runs made again."""

import json
import os
import re

import numpy as np
import pandas as pd
import pytest
from light import METHODS, Smallest, edit, make_dataset, rewrite, run_of, runs_of
from PIL import Image

from tasutils import cli
from tasutils.compare import (
    WON,
    asked,
    by_asks,
    by_asks_text,
    compare_runs,
    compare_text,
    conventions_text,
    diff_lines,
    diff_runs,
    pictures_told,
    results_table,
    run_lines,
    sentence_table,
)
from tasutils.config import differences
from tasutils.datasets.coco import load_refcoco
from tasutils.errors import TasError
from tasutils.evaluate import evaluate_all
from tasutils.images import read_image
from tasutils.metrics import iou, metric
from tasutils.rerun import rerun
from tasutils.runs import list_runs, read_run
from tasutils.store import SceneStore


def test_methods_share_scenes_and_data_sets_share_pictures(tmp_path, tas):
    first = make_dataset(tmp_path)
    second = make_dataset(tmp_path, "refscenes+", sentences=["dog", "red thing"])
    folders = evaluate_all(
        [first, second], tas, [*METHODS, Smallest()], out=tmp_path / "out", progress=False
    )
    records = [read_run(folder).record for folder in folders]
    assert tas.n_described == 6  # as many as there are pictures
    assert [r.dataset for r in records] == ["refscenes"] * 4 + ["refscenes+"] * 4
    assert [r.method for r in records] == [*METHODS, "smallest"] * 2
    assert [r.n_used for r in records] == [30] * 4 + [12] * 4
    assert sum(r.n_described for r in records) == 6
    assert all("clip_only" in f.name for f in folders if read_run(f).record.method == "clip_only")
    assert not [name for name in os.listdir(tmp_path / "out") if name.startswith(".")]
    oracles = {r.metrics["oracle_miou"].value for r in records[:4]}
    assert len(oracles) == 1  # the same proposals


def test_no_method_sees_the_ground_truth(dataset, tmp_path, tas):
    wanted = [*METHODS, Smallest()]
    before = runs_of(dataset, tas, tmp_path / "out", wanted)
    path = tmp_path / "refscenes" / "instances.json"
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        annotation["segmentation"] = [[0, 0, 31, 0, 31, 9, 0, 9]]
    path.write_text(json.dumps(content))
    other = load_refcoco(tmp_path, "refscenes", "tas", "val", tmp_path / "images")
    after = runs_of(other, tas, tmp_path / "out2", wanted)
    for one, other in zip(before, after, strict=True):
        assert (one.samples["chosen"] == other.samples["chosen"]).all()
        assert (one.samples["gt_area_px"] != other.samples["gt_area_px"]).any()


def test_a_comparison_by_hand(dataset, tmp_path, tas):
    runs = runs_of(dataset, tas, tmp_path / "out")
    table = compare_runs(runs)
    assert table["label"].tolist() == ["tas (tiny)", "clip_only (tiny)", "text_only (tiny)"]
    assert np.isnan(table["miou_difference"][0]) and np.isnan(table["won"][0])
    for row, run in zip(table.index[1:], runs[1:], strict=True):
        mine, theirs = (r.samples for r in (run, runs[0]))
        gain = [iou(t["intersection_px"], t["union_px"]) for t in (mine, theirs)]
        assert table["miou_difference"][row] == pytest.approx(np.mean(gain[0] - gain[1]))
        assert table["won"][row] == (gain[0] - gain[1] > WON).sum()
        assert table["lost"][row] == (gain[1] - gain[0] > WON).sum()
        ends = table.loc[row, ["miou_difference_low", "miou_difference_high"]]
        assert ends.iloc[0] <= table["miou_difference"][row] <= ends.iloc[1]


def test_a_comparison_by_what_sentences_ask_for(tmp_path, tas, capsys):
    said = ["dog on the left", "biggest dog on the left", "dog", "dog next to the cat"]
    runs = runs_of(make_dataset(tmp_path, sentences=said), tas, tmp_path / "out")[:2]
    who, table = asked(runs[0]), by_asks(runs)
    kinds = {"direction": [0, 1], "size": [1], "relation": [3], "plain": [2]}
    assert [(a, n) for a, n in table[["asks", "n"]].to_numpy()] == [
        (kind, 6 * len(texts)) for kind, texts in kinds.items() for _ in runs
    ]
    for kind, texts in kinds.items():
        some = runs[0].samples["text"].isin([said[k] for k in texts])
        assert (who[kind] == some).all()
        one, other = (run.samples["iou"][some] for run in runs)
        first, second = table[table["asks"] == kind].to_dict("records")
        assert first["miou"] == pytest.approx(one.mean()) and np.isnan(first["miou_difference"])
        assert second["miou_difference"] == pytest.approx((other - one).mean())
        assert second["oracle_miou"] == runs[1].samples["oracle_iou"][some].mean()
    assert cli.main(["compare", "--asks", *(str(run.folder) for run in runs)]) == 0
    assert capsys.readouterr().out.strip() == by_asks_text(table).strip()


def test_what_cannot_be_compared(dataset, tmp_path, tas):
    whole, part = (run_of(dataset, tas, tmp_path, limit_images=n) for n in (6, 3))
    with pytest.raises(TasError, match="two or more"):
        compare_runs([whole])
    with pytest.raises(TasError, match="different sentences"):
        compare_runs([whole, part])


def test_on_the_command_line(dataset, tmp_path, tas, capsys):
    runs = runs_of(dataset, tas, tmp_path / "out")
    folders = [str(run.folder) for run in runs]
    assert cli.main(["compare", *folders]) == 0
    page = capsys.readouterr().out
    assert page.strip() == compare_text(compare_runs(runs)).strip()
    assert "n = 30 sentences, 6 images" in page and page.count("(tiny)") >= 3
    assert cli.main(["compare", folders[0]]) == 0
    assert capsys.readouterr().out.strip() == conventions_text(runs[0]).strip()
    out = ["--out", str(tmp_path / "out")]
    assert cli.main(["compare", *out]) == 0
    page = capsys.readouterr().out
    assert page.count(" mIoU ") == 3 and "3 runs: " in page
    told = pd.read_csv(tmp_path / "out" / "results.csv")
    pd.testing.assert_frame_equal(told, results_table(list_runs(tmp_path / "out")))
    assert set(told["method"]) == set(METHODS) and (told["oracle_miou"] >= told["miou"]).all()
    assert cli.main(["compare", "--out", str(tmp_path)]) == 2
    assert cli.main(["compare", folders[0], str(tmp_path)]) == 2
    assert cli.main(["evaluate", "refscenes", "val", "--method", "nonsense"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 3 and "nonsense" in lines[-1] and "clip_only" in lines[-1]


# --- again ---


@pytest.mark.parametrize("limit", [None, 3])
def test_a_run_is_made_again_from_its_record(world, make_tas, tmp_path, limit):
    data, made = world
    first = run_of(data, make_tas(), tmp_path / "a", limit_images=limit, masks=True)
    done = rerun(first, out=tmp_path / "b", progress=False)
    assert (done.n, done.n_changed, done.same_bytes) == (first.record.n_used, 0, True)
    assert str(done) == f"reproduced: samples of all {done.n} sentences are equal byte for byte"
    assert made[-1].n_described == (limit or 6), "all is described anew"
    assert done.again.record.partial == (limit is not None)
    assert ("_partial3_" in done.again.folder.name) == (limit == 3)
    masks = [sorted((run.folder / "masks").iterdir()) for run in (first, done.again)]
    assert len(masks[0]) == len(masks[1]) > 0
    again = rerun(first, out=tmp_path / "b", store=SceneStore(tmp_path / "s"), progress=False)
    assert again.n_changed == 0
    rerun(first, out=tmp_path / "b", store=SceneStore(tmp_path / "s"), progress=False)
    assert made[-1].n_described == 0, "scenes are read where they may be"


def test_changed_settings_and_peers_are_made_again(world, make_tas, tmp_path):
    data, _ = world
    tas = make_tas({"terms.p.weight": 0.7, "rectifier.form": "paper"})
    methods = ["tas", "clip_only", "text_only"]
    for folder in evaluate_all([data], tas, methods, out=tmp_path / "a", progress=False):
        first = read_run(folder)
        done = rerun(first, out=tmp_path / "b", progress=False)
        assert done.same_bytes and done.again.record.method == first.record.method
        assert done.again.record.preset == "tiny*"
        assert done.again.record.config == first.record.config


DIGEST = "0" * 64
UNLIKE = {
    "settings came after it, such as scores.normalise": {"config__scores__normalise": ...},
    "its settings were edited": {"config__terms__p__weight": 0.3},
    r"index files of refscenes are others \(digest 000000000000": {"index_digest": DIGEST},
    "val had 99 sentences and has 30": {"n_total": 99},
    r"wordnet is another \(sha256 000000000000": {"models__wordnet__sha256": DIGEST},
    "encoder.checkpoint is another": {"models__encoder.checkpoint__sha256": DIGEST},
    "it ran on cuda:7, not on": {"device": "cuda:7"},
    "seeds were": {"seeds__bootstrap": 4},
    "metrics were 0 and are 1": {"metric_version": "0"},
}


@pytest.mark.parametrize("words", UNLIKE)
def test_what_is_not_as_it_was_is_refused_in_one_line(world, make_tas, tmp_path, words):
    data, _ = world
    first = edit(run_of(data, make_tas(), tmp_path / "a", limit_images=1), **UNLIKE[words])
    with pytest.raises(TasError, match=words) as told:
        rerun(first, out=tmp_path / "b", progress=False)
    assert "\n" not in str(told.value) and str(told.value).endswith("go on with --anyway")
    assert not (tmp_path / "b").exists()
    done = rerun(first, out=tmp_path / "b", anyway=True, progress=False)
    assert any(re.search(words, note) for note in done.notes)


def test_a_record_with_settings_unknown_here_is_refused(world, make_tas, tmp_path, capsys):
    data, _ = world
    first = run_of(data, make_tas(), tmp_path / "a")
    edit(first, config__scores__gamma=1.0)
    assert cli.main(["rerun", str(first.folder), "--anyway"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "does not know: scores.gamma" in said
    edit(first, gamma=1.0)
    for command in ("rerun", "compare"):
        assert cli.main([command, str(first.folder)]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "gamma" in said


def test_other_code_is_noted_and_other_answers_are_counted(world, make_tas, tmp_path, capsys):
    data, _ = world
    first = run_of(data, make_tas(), tmp_path / "a")
    samples = first.samples.copy()
    samples.loc[[3, 7], "chosen"] += 1
    edit(rewrite(first, samples), versions__numpy="1.0")
    assert cli.main(["rerun", str(first.folder), "--out", str(tmp_path / "b")]) == 1
    said = capsys.readouterr()
    assert "numpy 1.0 then" in said.err
    assert "not reproduced: 2 of 30 sentences came out otherwise; tas compare" in said.out
    shorter = rewrite(first, samples[:-1])  # a sentence less
    assert rerun(shorter, out=tmp_path / "b", progress=False).n_changed == 3


def test_equal_samples_in_other_bytes(world, make_tas, tmp_path):
    data, _ = world
    first = run_of(data, make_tas(), tmp_path / "a")
    first = rewrite(first, first.samples, compression="gzip")
    done = rerun(first, out=tmp_path / "b", progress=False)
    assert done.n_changed == 0 and not done.same_bytes and "not in all bytes" in str(done)


def test_own_data_is_named_again_and_a_method_of_one_s_own_is_refused(world, make_tas, tmp_path):
    data, _ = world
    first = run_of(data, make_tas(), tmp_path / "a")
    with pytest.raises(TasError, match="leave out --file"):
        rerun(first, file=tmp_path / "my.csv")
    with pytest.raises(TasError, match=r"name its \.csv or \.jsonl with --file"):
        rerun(edit(first, dataset="own"))
    with pytest.raises(TasError, match="method mine is none of this package's"):
        rerun(edit(first, dataset="refscenes", method="mine"), anyway=True, progress=False)


# --- differences ---


@pytest.fixture
def pair(world, make_tas, tmp_path):
    changes = {"terms.p.weight": 3.0, "terms.n.weight.default": 0.0}
    return tuple(
        run_of(world[0], make_tas(some), tmp_path / name)
        for name, some in (("a", {}), ("b", changes))
    )


def test_a_difference_against_plain_loops(pair):
    diff = diff_runs(*pair)
    assert [(row.name, row.second) for row in diff.settings][:1] == [("terms.p.weight", 3.0)]
    assert not any(diff.facts.values())
    one, other = (run.samples.to_dict("records") for run in pair)
    changed, gains = [], []
    for a, b in zip(one, other, strict=True):
        gains.append(b["iou"] - a["iou"])
        if a["chosen"] != b["chosen"]:
            changed.append((a["sample_id"], a["chosen"], b["chosen"], b["iou"] - a["iou"]))
    assert len(changed) > 3
    found = diff.changed
    assert len(found) == len(changed) and found["change"].abs().is_monotonic_decreasing
    columns = ["sample_id", "chosen_first", "chosen_second", "change"]
    assert sorted(map(tuple, found[columns].to_numpy().tolist())) == sorted(changed)
    numbers = diff.numbers.set_index("metric")
    assert numbers.loc["miou", "difference"] == pytest.approx(np.mean(gains))
    for name in ("miou", "oiou"):
        for column, rows in (("first", one), ("second", other)):
            pixels = ([row[f"{what}_px"] for row in rows] for what in ("intersection", "union"))
            assert numbers.loc[name, column] == pytest.approx(metric(*pixels, name))
    assert (numbers.loc["oracle_miou", ["difference", "low", "high"]] == 0).all()
    assert (numbers["low"] <= numbers["difference"]).all() and set(numbers["n"]) == {30}
    assert set(numbers["n_without_proposals_first"]) == {5}


def test_a_difference_as_text_and_json(pair, capsys):
    folders = [str(run.folder) for run in pair]
    assert cli.main(["compare", *folders]) == 0
    text = capsys.readouterr().out
    diff = diff_runs(*pair)
    n = len(diff.changed)
    both = [compare_text(compare_runs(pair)), "", *diff_lines(diff)]
    assert text.strip() == "\n".join(both).strip()
    assert "terms.p.weight" in text and "tiny*: override" in text and "models: the same" in text
    assert f"sentences: {n} of 30 changed: {n} with another mask" in text
    assert text.count(" -> ") >= min(n, 10) and "second minus first, paired" in text
    assert cli.main(["compare", *folders, "--all"]) == 0
    assert capsys.readouterr().out.count(", IoU ") == 30
    assert cli.main(["compare", *folders, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads(diff.to_json()) and len(told["sentences"]) == n == told["n_changed"]
    assert told["settings"][0]["name"] == "terms.p.weight" and told["settings"][0]["why"]
    assert told["numbers"][0]["difference"] == diff.numbers["difference"][0]
    assert len(json.loads(diff.to_json(every=True))["sentences"]) == 30


def test_a_run_does_not_differ_from_itself(pair):
    diff = diff_runs(pair[0], pair[0])
    text = "\n".join(diff_lines(diff))
    assert len(diff.changed) == 0 and (diff.numbers["difference"] == 0).all()
    assert text.count(": the same") == 6 and "sentences: 0 of 30 changed" in text


def test_a_part_is_paired_over_what_both_answered(world, make_tas, pair, tmp_path):
    part = run_of(world[0], make_tas({"terms.p.weight": 3.0}), tmp_path / "c", limit_images=2)
    diff = diff_runs(pair[0], part)
    assert diff.facts["data"]["n_used"] == (30, 10) and diff.alone == (20, 0)
    assert set(diff.numbers["n"]) == {10} and len(diff.sentences) == 10
    values = pair[0].samples["iou"][:10]
    assert diff.numbers["first"][1] == pytest.approx(values.mean())
    text = "\n".join(diff_lines(diff))
    assert "partial, n = 10 sentences, 2 images of 6" in text
    assert "numbers (partial, n = 10 common sentences, 2 images;" in text
    assert "only in the first 20, in the second 0" in text


def test_other_data_are_not_paired(pair, tmp_path):
    other = edit(pair[1], index_digest=DIGEST, versions__numpy="1.0", git_commit="abc")
    edit(other, models__wordnet=...)
    diff = diff_runs(pair[0], read_run(other.folder))
    assert diff.numbers is None and diff.changed is None
    assert list(diff.facts["data"]) == ["index_digest"]
    assert list(diff.facts["models"]) == ["wordnet"]
    assert set(diff.facts["code"]) >= {"git_commit", "numpy"}
    text = "\n".join(diff_lines(diff))
    assert "not paired: the two runs are over other data" in text
    assert json.loads(diff.to_json())["sentences"] is None


def test_a_picture_changed_on_the_disk_is_named(world, make_tas, tmp_path, capsys):
    data, _ = world
    first = run_of(data, make_tas(), tmp_path / "a")
    assert first.samples.groupby("image_id")["image_digest"].nunique().eq(1).all()
    assert first.samples["image_digest"].nunique() == 6
    for name in ("1", "4"):
        path = data.image_path(name)
        pixels = read_image(path).copy()
        pixels[0, 0, 0] ^= 1  # one bit
        Image.fromarray(pixels).save(path)
    image = Image.open(data.image_path("5"))
    image.load()
    image.save(data.image_path("5"), compress_level=0)  # other bytes, the same pixels
    assert cli.main(["rerun", str(first.folder), "--out", str(tmp_path / "b")]) in (0, 1)
    assert "of the pictures 2 differ in their pixels: 1, 4" in capsys.readouterr().out
    (second,) = list_runs(tmp_path / "b")
    assert second.record.index_digest == first.record.index_digest
    assert second.record.pictures_digest != first.record.pictures_digest
    diff = diff_runs(first, second)
    assert diff.pictures == ["1", "4"] == json.loads(diff.to_json())["pictures"]
    assert "pictures: 2 differ in their pixels: 1, 4" in diff_lines(diff)
    part = run_of(data, make_tas(), tmp_path / "c", limit_images=1)
    assert diff_runs(first, part).pictures == []  # of those that both used
    assert len(pictures_told(list("abcdefg")).split(", ")) == 6


def test_settings_of_any_version_compare():
    old = {"name": "old", "scores": {"p": 0.1, "gone": 1}, "sources": {"scores.p": "§ 4"}}
    new = {"name": "new", "scores": {"p": 0.2, "came": 2}, "assumed": ["scores.p"]}
    rows = {row.name: row for row in differences(old, new)}
    assert rows["scores.p"][1:] == (0.1, 0.2, ["old: § 4", "new: assumed"])
    assert rows["scores.gone"][1:3] == (1, "-") and rows["scores.came"][1:3] == ("-", 2)
    assert "name" not in rows


def test_without_ground_truth_masks_are_compared_alone():
    first = pd.DataFrame({
        "sample_id": ["a", "b"], "image_id": "i", "text": "t", "n_proposals": 2,
        "chosen": [0, 1], "iou": np.nan, "intersection_px": np.nan, "union_px": np.nan,
        "oracle_iou": np.nan,
    })  # fmt: skip
    table = sentence_table(first, first.assign(chosen=[0, 0]))
    assert table["changed"].tolist() == [False, True] and not table["other_masks"].any()


# --- parts of a split ---


def test_a_part_of_a_split_says_so_wherever_it_is_told(world, make_tas, tmp_path, capsys):
    data, _ = world
    store = SceneStore(tmp_path / "scenes")
    runs = [
        run_of(data, make_tas({"terms.p.weight": a}), tmp_path / "a", limit_images=4, store=store)
        for a in (0.1, 0.2)
    ]
    assert all(run.record.partial and "_partial4_" in run.folder.name for run in runs)
    folders = [str(run.folder) for run in runs]
    told = {"evaluate": "\n".join(run_lines(runs[0]))}
    grid = tmp_path / "grid.parquet"
    for command, args in (
        ("compare", folders),
        ("sweep", [folders[0], "--weight", "p=0,1", "--out", str(grid)]),
    ):
        assert cli.main([command, *args]) == 0
        told[command] = capsys.readouterr().out
    told["conventions"] = conventions_text(runs[0])
    for command, text in told.items():
        assert "partial, n = 20 sentences, 4 images" in text, command
        assert "5 without a proposal" in text.replace("\n", " "), command
    assert all("4 images of 6" in told[name] for name in ("evaluate", "compare", "conventions"))
    assert pd.read_parquet(grid)["partial"].all()


def test_every_figure_comes_with_interval_oracle_and_convention(world, make_tas, tmp_path):
    run = run_of(world[0], make_tas(), tmp_path / "a")
    first, second, *_ = run_lines(run)
    found = re.findall(r"(\S+) ([\d.]+) \[([\d.]+), ([\d.]+)\] of ([\d.]+)", first)
    assert [name for name, *_ in found] == ["oIoU", "mIoU", "P@0.5"]
    for (_, *numbers), name in zip(found, ("oiou", "miou", "p@0.5"), strict=True):
        own, best = run.record.metrics[name], run.record.metrics[f"oracle_{name}"]
        wanted = (own.value, own.low, own.high, best.value)
        assert numbers == [f"{100 * value:.1f}" for value in wanted]
    assert "every sentence counts once" in second and "tas compare" in second
    assert "n = 30 sentences, 6 images; 5 without a proposal" in first
