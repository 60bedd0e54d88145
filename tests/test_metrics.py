"""Metrics against pycocotools and slow references; conventions; the bootstrap."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from tasutils import masks as m
from tasutils import metrics
from tasutils.metrics import (
    CONVENTIONS,
    METRIC_NAMES,
    bootstrap,
    metric,
    metric_variants,
    paired_difference,
)

N_PICTURES, N_MASKS = 100, 100
PAIRS = st.lists(
    st.integers(0, 60).flatmap(lambda union: st.tuples(st.integers(0, union), st.just(union))),
    max_size=30,
)


def slow(pairs, name, strict=True, no_target=()):
    """A metric with exact fractions, straight from its definition."""
    if name == "oiou":
        inter, union = sum(int(i) for i, _ in pairs), sum(int(u) for _, u in pairs)
        return Fraction(inter, union) if union else Fraction(0)
    nothing = [k in no_target for k in range(len(pairs))]
    ious = [
        Fraction(int(i), int(u)) if u else Fraction(int(right))
        for (i, u), right in zip(pairs, nothing, strict=True)
    ]
    if name != "miou":
        bar = Fraction(name[2:])
        ious = [Fraction(x > bar or (not strict and x == bar)) for x in ious]
    return sum(ious) / len(ious) if ious else Fraction(0)


@settings(deadline=None)
@given(PAIRS, st.booleans(), st.sets(st.integers(0, 29)))
def test_against_slow_reference(pairs, strict, no_target):
    inter, union = ([p[k] for p in pairs] for k in (0, 1))
    empty = [k in no_target for k in range(len(pairs))]
    for name in METRIC_NAMES:
        found = metric(inter, union, name, strict, 0.0, empty)
        assert found == pytest.approx(float(slow(pairs, name, strict, no_target)), abs=1e-12), name


def test_zero_cases():
    assert metrics.iou([0, 5], [0, 5]).tolist() == [0, 1]
    assert metrics.iou([0, 0], [0, 9], 0.0, [True, True]).tolist() == [1, 0]
    for pair in (([], []), ([0], [0])):
        assert {metric(*pair, name) for name in METRIC_NAMES} == {0.0}
    # a sample without proposals: its ground truth of 10 px stays in the union
    assert metric([10, 0], [10, 10], "oiou") == metric([10, 0], [10, 10], "miou") == 0.5
    assert metric([100, 0], [100, 10], "oiou") == pytest.approx(100 / 110)
    big = np.full(3000, 2_000_000, np.int32)  # sums beyond 32 bits
    assert metric(big, big, "oiou") == 1.0


@given(st.lists(st.lists(st.integers(0, 3), max_size=5), max_size=6))
def test_the_first_best_of_each_segment(groups):
    rows = [(k, float(x)) for k, values in enumerate(groups) for x in values]
    segment, values = (np.array([row[c] for row in rows]) for c in (0, 1))
    wanted, start = [], 0
    for group in groups:
        wanted.append(start + group.index(max(group)) if group else -1)
        start += len(group)
    found = metrics.segment_argmax(segment.astype(int), values, len(groups))
    assert found.tolist() == wanted and found.dtype == np.int64


# --- against pycocotools ---


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
    """10,000 masks against 100 ground truths, and their run lengths by pycocotools."""
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
        rles = [one | {"counts": one["counts"].decode()} for one in codes]
        assert m.encode_rle(stack) == rles
        assert m.decode_rle(rles).dtype == bool and np.array_equal(m.decode_rle(rles), stack)
        # two empty masks are 0 / 0: pycocotools says 0 as well
        wanted = coco.iou(codes, [code], [0])[:, 0]
        np.testing.assert_allclose(metrics.iou(inter, union), wanted, rtol=0, atol=1e-15)
        seen["empty"] += int((~stack.any((1, 2))).sum())
        seen["full"] += int(stack.all((1, 2)).sum())
        seen["no truth"] += N_MASKS * (not gt.any())
    assert min(seen.values()) >= 300, seen


# --- conventions ---


def handmade_samples(refer=False, seed=0, n=60):
    """Random pixels: references of several sentences, some without a proposal, one without mask."""
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
    samples.loc[n - 1, ["gt_area_px", "intersection_px", "union_px"]] = np.nan
    return samples


def slow_variant(rows, convention, name, who=""):
    """A metric by a convention, sentence by sentence in exact fractions."""
    prefix = ("refer_" if convention == "REFER overlap" else "") + who
    pixels = [(int(r[f"{prefix}intersection_px"]), int(r[f"{prefix}union_px"])) for r in rows]
    epsilon = Fraction(1, 10**6) if convention == "epsilon" else 0
    values = [Fraction(i) / (u + epsilon) if u else Fraction(0) for i, u in pixels]
    by_ref = {}
    for k, row in enumerate(rows):
        by_ref.setdefault(row["ref_id"], []).append(k)
    weights = [Fraction(1)] * len(rows)
    if convention == "answered":
        weights = [Fraction(r["chosen"] >= 0) for r in rows]
    elif convention == "size-weighted":
        weights = [Fraction(r["gt_area_px"]) for r in rows]
    elif convention == "reference":
        weights = [Fraction(1, len(by_ref[r["ref_id"]])) for r in rows]
    elif convention in ("best sentence", "worst sentence"):
        sign = 1 if convention == "best sentence" else -1
        best = {max(mine, key=lambda k: (sign * values[k], -k)) for mine in by_ref.values()}
        weights = [Fraction(k in best) for k in range(len(rows))]
    if name == "oiou":
        inter, union = (sum(w * p[k] for w, p in zip(weights, pixels, strict=True)) for k in (0, 1))
        return inter / union
    if name.startswith("p@"):
        bar = Fraction(name[2:])
        reached = convention in ("not strict", "worst sentence")
        values = [Fraction(x > bar or (reached and x == bar)) for x in values]
    return sum(w * x for w, x in zip(weights, values, strict=True)) / sum(weights)


def test_every_convention_against_a_slow_one():
    samples = handmade_samples(refer=True)
    table = metric_variants(samples)
    rows = samples.dropna(subset="gt_area_px").to_dict("records")
    assert list(dict.fromkeys(table["convention"])) == [
        c.name for c in CONVENTIONS if c.name != "GRES"  # see test_several
    ]  # fmt: skip
    for row in table.to_dict("records"):
        for column, who in (("value", ""), ("oracle", "oracle_")):
            wanted = slow_variant(rows, row["convention"], row["metric"], who)
            assert row[column] == pytest.approx(float(wanted), abs=1e-9), row
        assert row["low"] <= row["value"] <= row["high"] and row["says"]
    per = table.drop_duplicates("convention").set_index("convention")
    without = [row for row in rows if row["n_proposals"] == 0]
    assert per.loc["sentence", ["n", "n_without_proposals"]].tolist() == [59, len(without)]
    assert per.loc["answered", ["n", "n_without_proposals"]].tolist() == [59 - len(without), 0]
    assert per.loc["reference", "n"] == len({row["ref_id"] for row in rows}) == 20
    assert per.loc["reference", "n_without_proposals"] == len({r["ref_id"] for r in without})
    # no rule is without effect here
    value = table.set_index(["convention", "metric"])["value"]
    assert value["not strict", "p@0.5"] > value["sentence", "p@0.5"]
    assert value["answered", "miou"] > value["sentence", "miou"] > value["epsilon", "miou"]
    others = [value[name, "miou"] for name in ("size-weighted", "reference", "REFER overlap")]
    assert len({round(v, 9) for v in [*others, value["sentence", "miou"]]}) == 4
    assert "REFER overlap" not in set(metric_variants(handmade_samples())["convention"])


# --- the bootstrap ---


def table(seed=0, n=400, n_images=60):
    rng = np.random.default_rng(seed)
    image = np.sort(rng.integers(0, n_images, n))
    union = rng.integers(1, 1000, n)
    skill = rng.random(n_images)[image]  # sentences of one image succeed together
    inter = np.minimum(union, (union * np.clip(skill + rng.normal(0, 0.1, n), 0, 1)).astype(int))
    return inter, union, image


def slow_interval(inter, union, image, name, seed, n=1000):
    """Lists of drawn images, sentences gathered one image after the other."""
    rng = np.random.default_rng(seed)
    names = sorted(set(image.tolist()))
    values = []
    for _ in range(n):
        counts = rng.multinomial(len(names), [1 / len(names)] * len(names))
        rows = [
            row
            for chosen, count in zip(names, counts, strict=True)
            for _ in range(count)
            for row in np.flatnonzero(image == chosen)
        ]
        values.append(metric(inter[rows], union[rows], name))
    return np.quantile(values, 0.025), np.quantile(values, 0.975)


@pytest.mark.parametrize("name", ["oiou", "miou", "p@0.5"])
def test_intervals_against_a_slow_reference(name):
    inter, union, image = table(n=80, n_images=15)
    found = bootstrap(inter, union, image, (name,), seed=3)[name]
    wanted = slow_interval(inter, union, image, name, seed=3)
    assert found[1:3] == pytest.approx(wanted, abs=1e-12)


def test_value_n_seed_and_order_of_rows():
    inter, union, image = table()
    found = bootstrap(inter, union, image, seed=5)
    assert tuple(found) == METRIC_NAMES
    for name, interval in found.items():
        assert interval.value == pytest.approx(metric(inter, union, name), abs=1e-12)
        assert interval.low <= interval.value <= interval.high
        assert (interval.n, interval.n_images) == (400, len(set(image.tolist())))
    assert found == bootstrap(inter, union, image, seed=5) != bootstrap(inter, union, image, seed=6)
    mixed = np.random.default_rng(1).permutation(len(inter))
    shuffled = bootstrap(inter[mixed], union[mixed], image[mixed], seed=5)
    assert all(shuffled[n] == pytest.approx(found[n], abs=1e-12) for n in METRIC_NAMES)


def test_paired_difference_is_exact_and_narrower_than_unpaired():
    inter, union, image = table()
    better = np.minimum(union, inter + union // 20)
    found = paired_difference((better, union), (inter, union), image)
    for name, interval in found.items():
        difference = metric(better, union, name) - metric(inter, union, name)
        assert interval.value == pytest.approx(difference, abs=1e-12)
    alone = bootstrap(inter, union, image)["miou"]
    assert found["miou"].low > 0
    assert found["miou"].high - found["miou"].low < (alone.high - alone.low) / 3
    with pytest.raises(ValueError, match="same samples"):
        paired_difference(([1], [1]), ([1, 1], [1, 1]), ["a"])


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 30))
def test_a_method_differs_from_itself_by_exactly_nothing(seed, n):
    inter, union, image = table(seed, n, 5)
    found = paired_difference((inter, union), (inter, union), image, n_resamples=50)
    assert all(interval[:3] == (0, 0, 0) for interval in found.values())
    one = paired_difference((union, union), (inter, union), image, ("miou",), n_resamples=50)
    other = paired_difference((inter, union), (union, union), image, ("miou",), n_resamples=50)
    ends = (-other["miou"].high, -other["miou"].low)
    assert (one["miou"].low, one["miou"].high) == pytest.approx(ends, abs=1e-12)


def test_degenerate_tables_have_no_nan():
    assert all(interval == (0, 0, 0, 0, 0) for interval in bootstrap([], [], []).values())
    assert all(i[:3] == (0, 0, 0) for i in bootstrap([0, 0], [0, 0], ["a", "b"]).values())
    assert bootstrap([3], [4], ["only"])["miou"][:3] == (0.75, 0.75, 0.75)
    mixed = bootstrap([0, 5], [0, 10], ["a", "b"])  # a resample may hold the empty union alone
    assert all(np.isfinite(interval).all() for interval in mixed.values())
