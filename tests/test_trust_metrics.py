"""Numbers against pycocotools and a slow reference, 10,000 cases; conventions; close calls."""

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from pycocotools import mask as coco

from tasutils import masks as m
from tasutils import metrics
from tasutils.answering import overlaps_of
from tasutils.datasets.coco import RefFiles, split_of
from tasutils.errors import TasError
from tasutils.margins import TOLERANCE, close_calls, margins
from tasutils.metric_variants import CONVENTIONS, metric_variants, variants_text
from tasutils.run_tables import Choice, RunTables

N_PICTURES, N_MASKS = 100, 100


def random_masks(rng, n, height, width):
    """Empty, full, thin, dense, boxes, single pixels: bool (n, H, W)."""
    found = rng.random((n, height, width)) < rng.choice([0.02, 0.3, 0.7, 0.98], (n, 1, 1))
    found[0::10], found[1::10] = False, True
    for mask in found[2::10]:
        (y, x), (h, w) = rng.integers(0, (height, width)), rng.integers(1, (height + 1, width + 1))
        mask[:] = False
        mask[y : y + h, x : x + w] = True
    for mask in found[3::10]:
        mask[:] = False
        mask[rng.integers(height), rng.integers(width)] = True
    return rng.permutation(found)


@pytest.fixture(scope="module")
def cases():
    """10,000 masks against 100 ground truths, and what pycocotools says of them."""
    rng, rows = np.random.default_rng(8), []
    for _ in range(N_PICTURES):
        size_hw = tuple(rng.integers(1, 40, 2).tolist())
        stack = random_masks(rng, N_MASKS, *size_hw)
        gt = random_masks(rng, 10, *size_hw)[0]
        codes = coco.encode(np.asfortranarray(stack.transpose(1, 2, 0), np.uint8))
        code = coco.encode(np.asfortranarray(gt, np.uint8))
        rows.append((stack, gt, codes, code))
    return rows


def test_masks_agree_with_pycocotools(cases):
    seen = {"empty": 0, "full": 0, "no truth": 0}
    for stack, gt, codes, code in cases:
        inter, union = m.intersection_union(stack, gt)
        theirs = [coco.merge([one, code], intersect=True) for one in codes]
        assert inter.tolist() == coco.area(theirs).tolist()
        assert union.tolist() == coco.area([coco.merge([one, code]) for one in codes]).tolist()
        assert m.areas_px(stack).tolist() == coco.area(codes).tolist()
        assert [rle["counts"] for rle in m.encode_rle(stack)] == [
            one["counts"].decode() for one in codes
        ]
        assert np.array_equal(m.decode_rle(codes), stack)
        # two empty masks are 0 / 0: pycocotools says 0 as well
        wanted = coco.iou(codes, [code], [0])[:, 0]
        np.testing.assert_allclose(metrics.iou(inter, union), wanted, rtol=0, atol=1e-15)
        assert [m.iou(mask, gt) for mask in stack[:20]] == metrics.iou(inter, union)[:20].tolist()
        seen["empty"] += int((~stack.any((1, 2))).sum())
        seen["full"] += int(stack.all((1, 2)).sum())
        seen["no truth"] += N_MASKS * (not gt.any())
    assert min(seen.values()) >= 300, seen


def slow_metrics(pairs, strict):
    """Every metric with exact fractions over (intersection, union) pairs, as its name says."""
    ious = [Fraction(int(i), int(u)) if u else Fraction(0) for i, u in pairs]
    total = sum(int(u) for _, u in pairs)
    found = {"oiou": Fraction(sum(int(i) for i, _ in pairs), total) if total else Fraction(0)}
    found["miou"] = sum(ious) / len(ious) if ious else Fraction(0)
    for k in range(5, 10):
        hits = sum(x > Fraction(k, 10) or (not strict and x == Fraction(k, 10)) for x in ious)
        found[f"p@0.{k}"] = Fraction(hits, len(ious)) if ious else Fraction(0)
    return found


@pytest.mark.parametrize("strict", [True, False])
def test_metrics_agree_with_a_slow_reference(cases, strict):
    pairs = np.concatenate([np.stack(m.intersection_union(s, g), 1) for s, g, _, _ in cases])
    assert len(pairs) == 10_000 and (pairs[:, 1] == 0).any()
    # of few pixels many fall on a threshold exactly
    on_it = sum(10 * i == k * u for i, u in pairs.tolist() for k in range(5, 10) if u)
    assert on_it > 20
    for part in [pairs, *np.array_split(pairs, 50), pairs[:0], pairs[pairs[:, 1] == 0]]:
        found = metrics.summary(part[:, 0], part[:, 1], strict)
        for name, wanted in slow_metrics(part.tolist(), strict).items():
            assert found[name] == pytest.approx(float(wanted), abs=1e-12), name


# --- conventions ---


def handmade_run(refer=False, seed=0, n=60):
    """A run of random pixels: references of several sentences, some without a proposal."""
    rng = np.random.default_rng(seed)
    gt = rng.integers(1, 500, n)
    union = gt + rng.integers(0, 300, n)
    inter = (rng.choice([0, 0.3, 0.5, 0.5, 0.7, 1.0], n) * gt).astype(int)
    inter[:6], union[:6] = [5, 6, 7, 8, 9, 10], 10  # on the thresholds
    missing = rng.random(n) < 0.15
    missing[:6] = False
    samples = pd.DataFrame({
        "sample_id": [f"s{k}" for k in range(n)], "image_id": [f"i{k // 6}" for k in range(n)],
        "ref_id": [f"r{k // 6}-{k % 6 // 4}" for k in range(n)],
        "chosen": np.where(missing, -1, 0), "n_proposals": np.where(missing, 0, 4),
        "intersection_px": np.where(missing, 0, inter), "union_px": np.where(missing, gt, union),
        "gt_area_px": gt.astype(float),
        "oracle_intersection_px": np.where(missing, 0, gt), "oracle_union_px": gt,
    })  # fmt: skip
    if refer:
        for name in ("intersection_px", "oracle_intersection_px"):
            samples[f"refer_{name}"] = (samples[name] - 1).clip(lower=0)
        for name in ("union_px", "oracle_union_px"):
            samples[f"refer_{name}"] = samples[name]
    samples.loc[n - 1, ["gt_area_px", "intersection_px", "union_px"]] = np.nan  # no ground truth
    record = SimpleNamespace(
        dataset="refcoco", split_by="unc", split="val", preset="tiny", method="tas", partial=True,
        n_used=n, n_images=n // 6, n_images_total=500, n_without_mask=1,
        n_without_proposals=int(missing.sum()), config={"metrics": {"epsilon": 0.0}},
        run_id="hand",
    )  # fmt: skip
    return SimpleNamespace(record=record, samples=lambda: samples)


def slow_variant(rows, convention, metric, who=""):
    """A metric by a convention, sentence by sentence in exact fractions."""
    prefix = ("refer_" if convention == "REFER overlap" else "") + who
    pixels = [(int(r[f"{prefix}intersection_px"]), int(r[f"{prefix}union_px"])) for r in rows]
    epsilon = Fraction(1, 10**6) if convention == "epsilon" else 0
    values = [Fraction(i) / (u + epsilon) if u else Fraction(0) for i, u in pixels]
    weights = [Fraction(1)] * len(rows)
    if convention == "answered":
        weights = [Fraction(r["chosen"] >= 0) for r in rows]
    if convention == "size-weighted":
        weights = [Fraction(r["gt_area_px"]) for r in rows]
    if convention in ("reference", "best sentence"):
        by_ref = {}
        for k, row in enumerate(rows):
            by_ref.setdefault(row["ref_id"], []).append(k)
        weights = [Fraction(0)] * len(rows)
        for mine in by_ref.values():
            if convention == "reference":
                for k in mine:
                    weights[k] = Fraction(1, len(mine))
            else:
                weights[max(mine, key=lambda k: (values[k], -k))] = Fraction(1)
    if metric == "oiou":
        inter, union = (sum(w * p[k] for w, p in zip(weights, pixels, strict=True)) for k in (0, 1))
        return inter / union
    if metric.startswith("p@"):
        bar = Fraction(metric[2:])
        values = [Fraction(x > bar or (convention == "not strict" and x == bar)) for x in values]
    return sum(w * x for w, x in zip(weights, values, strict=True)) / sum(weights)


def test_every_convention_against_a_slow_one():
    run = handmade_run(refer=True)
    table = metric_variants(run)
    rows = run.samples().dropna(subset="gt_area_px").to_dict("records")
    assert list(dict.fromkeys(table["convention"])) == [c.name for c in CONVENTIONS]
    for row in table.to_dict("records"):
        for column, who in (("value", ""), ("oracle", "oracle_")):
            wanted = slow_variant(rows, row["convention"], row["metric"], who)
            assert row[column] == pytest.approx(float(wanted), abs=1e-9), row
        assert row["low"] <= row["value"] <= row["high"] and row["says"]
    per = table.drop_duplicates("convention").set_index("convention")
    refs = {row["ref_id"] for row in rows}
    without = [row for row in rows if row["n_proposals"] == 0]
    assert per.loc["sentence", ["n", "n_without_proposals"]].tolist() == [59, len(without)]
    assert per.loc["answered", ["n", "n_without_proposals"]].tolist() == [59 - len(without), 0]
    assert per.loc["reference", "n"] == len(refs) == 20
    assert per.loc["reference", "n_without_proposals"] == len({r["ref_id"] for r in without})
    # no rule is without effect here
    value = table.set_index(["convention", "metric"])["value"]
    assert value["not strict", "p@0.5"] > value["sentence", "p@0.5"]
    assert value["answered", "miou"] > value["sentence", "miou"] > value["epsilon", "miou"]
    others = [value[name, "miou"] for name in ("size-weighted", "reference", "REFER overlap")]
    assert len({round(v, 9) for v in [*others, value["sentence", "miou"]]}) == 4


def test_conventions_as_text_say_what_is_partial_and_what_is_not_told():
    run = handmade_run()
    text = variants_text(run, metric_variants(run))
    assert "partial, n = 60 sentences, 10 images of 500; metrics on the 59 with a mask" in text
    assert "REFER overlap: not told apart in this run" in text and "LAVT" in text
    assert "REFER overlap: as sentence" in variants_text(
        handmade_run(refer=True), metric_variants(handmade_run(refer=True))
    )
    bare = run.samples().assign(gt_area_px=np.nan)
    with pytest.raises(TasError, match="no ground truth"):
        metric_variants(SimpleNamespace(folder=SimpleNamespace(name="x"), samples=lambda: bare))


def test_refers_overlap_rule_reaches_the_tables(rng):
    """Two polygons that overlap: the pixels under both are background by REFER's rule."""
    squares = [[2, 2, 12, 2, 12, 12, 2, 12], [6, 6, 16, 6, 16, 16, 6, 16]]
    annotation = {"id": 1, "image_id": 1, "segmentation": squares}
    instances = {
        "images": [{"id": 1, "file_name": "1.png", "height": 20, "width": 20}],
        "annotations": [annotation], "categories": [{"id": 1, "name": "dog"}],
    }  # fmt: skip
    sentences = [{"sent_id": 1, "sent": "dog"}]
    ref = {"ref_id": 1, "ann_id": 1, "image_id": 1, "category_id": 1, "sentences": sentences}

    def tables_of(content, proposals):
        images, shapes = ({"1": content[key][0]} for key in ("images", "annotations"))
        files = RefFiles([ref | {"split": "val"}], images, shapes, {}, Path("i"), Path("r"), "")
        data = split_of(files, "refcoco", "val", Path())
        tables = RunTables()
        tables.add(data.samples[0], overlaps_of(proposals, data, data.samples[0]), Choice(0, "why"))
        return data, tables.frames()[0].iloc[0]

    proposals = rng.random((5, 20, 20)) < 0.5
    data, row = tables_of(instances, proposals)
    union, exclusive = data.gt_mask(data.samples[0]), data.refer_truth(data.samples[0])
    assert (union & ~exclusive).sum() == 36 and not (exclusive & ~union).any()
    for prefix, gt in (("", union), ("refer_", exclusive)):
        inter, outer = m.intersection_union(proposals, gt)
        best = int((inter / outer).argmax())
        assert row[f"{prefix}gt_area_px"] == gt.sum()
        assert (row[f"{prefix}intersection_px"], row[f"{prefix}union_px"]) == (inter[0], outer[0])
        assert row[f"{prefix}oracle_intersection_px"] == inter[best]
        assert row[f"{prefix}oracle_union_px"] == outer[best]
    single = {**instances, "annotations": [{**annotation, "segmentation": squares[:1]}]}
    data, row = tables_of(single, proposals)
    assert data.refer_truth is None and not [name for name in row.index if "refer" in name]


# --- margins ---


def scores_of(totals, region=None, **columns):
    """scores.parquet of sentences given by their totals, as V."""
    counts = [len(t) for t in totals]
    flat = np.concatenate([np.array(t, float) for t in totals])
    inside = np.ones(len(flat), bool) if region is None else np.concatenate(region)
    return pd.DataFrame({
        "sample_id": np.repeat([f"s{k}" for k in range(len(totals))], counts),
        "proposal": np.concatenate([np.arange(n) for n in counts]), "v": flat, "p": 0.0, "n": 0.0,
        "region": inside, "yields": False, **columns,
    })  # fmt: skip


RECORD = SimpleNamespace(alpha=0.1, lam=0.5, method="tas", config={})


def test_margins_by_hand():
    totals = [[0.1, 0.4, 0.35], [0.2], [0.5, 0.5], [0.1, 0.2, 0.9], [0.3, 0.1], [0.2, 0.1]]
    region = [[1, 1, 1], [1], [1, 1], [1, 1, 0], [0, 0], [0, 1]]
    found = margins(scores_of(totals, [np.array(r, bool) for r in region]), RECORD)
    assert found["chosen"].tolist() == [1, 0, 0, 1, 0, 1]
    assert found["margin"].to_numpy() == pytest.approx([0.05, np.inf, 0, 0.1, 0.2, np.inf])
    assert margins(scores_of([[1.0]])[:0], RECORD).empty
    nan = margins(scores_of([[0.1, 0.2]]).assign(n=np.nan), RECORD)
    assert nan["margin"].tolist() == [np.inf] and nan["chosen"].tolist() == [0]  # NaN by rule
    peer = scores_of([[0.1, 0.3]]).rename(columns={"v": "score"})[
        ["sample_id", "proposal", "score"]
    ]
    assert margins(peer, RECORD)["margin"].tolist() == pytest.approx([0.2])


def test_close_calls_are_counted_in_the_scale_of_the_totals():
    scores = scores_of([[0.5, 0.5 - TOLERANCE / 2], [0.5, 0.5 - 50 * TOLERANCE], [0.5, 0.1]])
    run = SimpleNamespace(record=RECORD, scores=lambda: scores)
    assert close_calls(run)[:2] == (1, 3) and "1 of 3 choices (33.3 %)" in str(close_calls(run))
    scaled = SimpleNamespace(**{**vars(RECORD), "config": {"scores": {"logit_scale": True}}})
    assert close_calls(SimpleNamespace(record=scaled, scores=lambda: scores))[:2] == (2, 3)


def test_margins_choose_what_the_rectifier_chooses(rng):
    from tasutils.rectifier import rectify

    totals = [rng.integers(0, 4, n) / 4 for n in rng.integers(1, 7, 300)]
    region = [rng.random(len(t)) < 0.4 for t in totals]
    found = margins(scores_of(totals, region), RECORD)
    assert found["chosen"].tolist() == [
        rectify(t, r, np.zeros(len(t), bool)) for t, r in zip(totals, region, strict=True)
    ]
    for t, r, margin in zip(totals, region, found["margin"], strict=True):
        pool = sorted(t[r] if r.any() else t, reverse=True)
        assert margin == (pool[0] - pool[1] if len(pool) > 1 else np.inf)
