"""The study's tables over a run made by hand, held against plain numpy."""

import numpy as np
import pandas as pd
import pytest
from light import a_run

from tasutils import study
from tasutils.runs import Run
from tasutils.sweep import sweep

ALPHA, LAM, N = 0.3, 0.6, 60


def part_of(
    seed: int = 0, family: str = "refscenes", partial: bool = True, kind: str = "image_to_text"
) -> Run:
    """A run of 60 sentences over 20 images; every tenth sentence has no proposal."""
    rng = np.random.default_rng(seed)
    samples, scores = [], []
    for i in range(N):
        count, area = (0 if i % 10 == 9 else int(rng.integers(1, 7))), int(rng.integers(50, 90))
        has = bool(rng.integers(2))
        inter = rng.integers(0, area, count)
        union = area + rng.integers(0, 60, count)
        region = rng.random(count) < 0.4 if has else np.ones(count, bool)
        best = int(np.argmax(inter / union)) if count else -1
        samples.append({
            "sample_id": f"s{i}", "image_id": f"image {i // 3}", "gt_area_px": area,
            "oracle_intersection_px": inter[best] if count else 0,
            "oracle_union_px": union[best] if count else area,
            "has_direction": has, "seen": bool(rng.integers(2)),
            "distractor": bool(rng.integers(2)),
            "hidden_fraction": rng.random() * 0.6,
        })  # fmt: skip
        for k in range(count):
            scores.append({
                "sample_id": f"s{i}", "proposal": k, "region": bool(region[k]),
                "intersection_px": inter[k], "union_px": union[k], "gt_area_px": area,
                **dict(zip("vpn", rng.normal(size=3), strict=True)),
            })  # fmt: skip
    return a_run(
        pd.DataFrame(samples), pd.DataFrame(scores), ALPHA, LAM, {"captioner": {"kind": kind}},
        run_id=f"{family}-{seed}", dataset=family, partial=partial, n_total=200,
    )  # fmt: skip


def ious(part: Run, variant: str, rectifier: bool) -> np.ndarray:
    """IoU of each sentence; test_notebooks_written holds `variant_pixels` against 06's loops."""
    return np.divide(*study.variant_pixels(part, variant, rectifier))


@pytest.fixture(scope="module")
def part() -> Run:
    return part_of()


def test_the_ablation_is_whole_and_agrees_with_the_loop_and_the_sweep(part):
    ablation = study.ablation([part], n_boot=200)
    assert len(ablation) == 11 and ablation.notna().all().all()
    rows = ablation.set_index(["variant", "rectifier"])
    means = rows["mean"]
    for variant in ("V", "V+P", "V+N", "V+P+N"):
        for rectifier in (False, True):
            row = rows.loc[variant, rectifier]
            expected = ious(part, variant, rectifier)
            assert row["mean"] == pytest.approx(np.mean(expected))
            assert row["p50"] == pytest.approx(np.mean(expected > 0.5))
            assert (row["n"], row["n_images"]) == (N, 20)
            assert row["low"] <= row["mean"] <= row["high"]
    assert (means <= means["oracle", False] + 1e-12).all()
    grid = sweep([part], {"p": [0.0, ALPHA], "n": [0.0, LAM]})
    table = grid.pivot(index="weight_n", columns="weight_p", values="miou")
    assert table.loc[LAM, ALPHA] == pytest.approx(means["V+P+N", True])
    assert table.loc[0.0, 0.0] == pytest.approx(means["V", True])


def test_contributions_are_differences_on_the_same_sentences(part):
    table = study.contributions([part], n_boot=200).set_index("piece")
    plain, full = ious(part, "V", False), ious(part, "V+P+N", False)
    with_p, rectified = ious(part, "V+P", False), ious(part, "", True)
    has = part.samples["has_direction"].to_numpy()
    change = np.subtract(rectified, full)
    wanted = {
        "P": np.mean(with_p) - np.mean(plain), "rectifier": change.mean(),
        "whole method, against V alone": np.mean(rectified) - np.mean(plain),
        "rectifier, direction word": change[has].mean(),
    }  # fmt: skip
    assert table.loc[list(wanted), "mean"].to_dict() == pytest.approx(wanted)
    assert table.loc["rectifier, direction word", "n"] == has.sum()
    assert (table.loc["rectifier, no direction word", ["mean", "low", "high"]] == 0).all()


def test_a_random_mask_is_one_of_the_sentences_own_and_of_the_region_with_the_rectifier(part):
    table = part.table
    free, inside = table.draw(False), table.draw(True)
    assert (table.draw(False) == free).all() and (table.draw(False, seed=1) != free).any()
    some = np.bincount(table.segment, minlength=N) > 0
    for rows in (free, inside):
        assert ((rows >= 0) == some).all()
        assert (table.segment[rows[some]] == np.flatnonzero(some)).all()
    region = table.regions["own"][0]
    has_inside = np.bincount(table.segment[region], minlength=N) > 0
    assert (region[inside[some]] == has_inside[some]).all()
    many = [np.mean(np.divide(*table.pixels(table.draw(False, seed)))) for seed in range(200)]
    iou = table.ious
    expected = np.mean([iou[table.segment == i].mean() if some[i] else 0 for i in range(N)])
    assert np.mean(many) == pytest.approx(expected, abs=4 * np.std(many) / np.sqrt(200))


def test_groups_are_whole_and_questions_without_data_are_left_out(part):
    parts = [part, part_of(1, "refscenes+")]
    table = study.breakdown(parts, n_boot=50)
    assert set(table["question"]) == set(study.QUESTIONS) - {"ImageNet"}
    assert (table.groupby("question")["n"].sum() == 2 * N).all()
    bare = part_of(2)
    bare.__dict__["samples"] = bare.samples.drop(columns=["seen", "has_direction"])
    assert set(study.breakdown([bare], n_boot=50)["question"]) == {"distractor", "hidden"}


def test_with_many_terms_each_is_left_out_and_v_stands_alone():
    weights = {"v": 1.0, "p": 0.1, "n": 0.2, "d": 0.3}
    names = list(study.variants(weights))
    assert names == ["V", "V+P+N", "V+P+D", "V+N+D", "V+P+N+D"]
    assert study.variants(weights)["V+P+D"] == {"v": 1.0, "p": 0.1, "d": 0.3}
