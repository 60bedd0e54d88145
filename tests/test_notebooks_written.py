"""The steps that notebooks write out, from their tagged cells, held against package and loops."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from light import PARSER, part_of
from notebook_tools import written
from PIL import Image
from small_peers import random_masks, small_clip
from torchvision.ops import nms as torchs_nms

from tasutils import rectifier, study, terms
from tasutils.baselines.global_local import RegionToken
from tasutils.config import CropConfig, load_preset
from tasutils.crops import masked_crops, whole_image
from tasutils.datasets.sample import ImageEntry, RefDataset, Sample
from tasutils.language.wordnet import path_similarity
from tasutils.masks import boxes_xyxy
from tasutils.metrics import bootstrap, iou

BOOKS = ("01_proposals", "02_v_score", "03_p_score", "04_n_score", "05_rectifier", "06_study")
of = {name: written(name) for name in (*BOOKS, "07_peers")}.__getitem__
FLOATS = st.floats(-1, 1, width=32).map(lambda x: round(x, 3))
ROWS = arrays(np.float64, st.tuples(st.integers(1, 6), st.just(5)), elements=FLOATS)
ROWS = ROWS.filter(lambda rows: (np.abs(rows).sum(axis=1) > 0.01).all())
TEXT = arrays(np.float64, 5, elements=FLOATS).filter(lambda row: np.abs(row).sum() > 0.01)

# --- 01 and 07 ---


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 12), st.floats(0.1, 0.9))
@example(1447, 12, 1 / 3)  # more than a third in float32, as torch counts it
def test_suppression_is_torchs(seed, n, thresh):
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 20, (n, 2)).astype("f4")
    boxes = np.concatenate([corners, corners + rng.integers(1, 12, (n, 2))], axis=1).astype("f4")
    scores = rng.permutation(n).astype("f4")
    wanted = torchs_nms(torch.from_numpy(boxes), torch.from_numpy(scores), thresh).tolist()
    assert of("01_proposals")["nms"](boxes, scores, thresh) == wanted


def test_makers_are_compared_as_by_hand(tmp_path):
    """Two pictures of 10 x 20 px; targets of 4, 10 and 50 px, the last with two sentences."""
    truths = {name: np.zeros((10, 20), bool) for name in "abc"}
    truths["a"][0, :2] = truths["b"][2:4, :4] = truths["c"][:5, :10] = True
    where = [("one", "a"), ("one", "b"), ("two", "c"), ("two", "c")]
    samples = tuple(
        Sample(f"{ref}{k}", image, ref, str(k), "x", "x", "thing", "val")
        for k, (image, ref) in enumerate(where)
    )
    for name in ("one", "two"):
        Image.fromarray(np.zeros((10, 20, 3), np.uint8)).save(tmp_path / f"{name}.png")
    images = {name: ImageEntry(tmp_path / f"{name}.png", (10, 20)) for name in ("one", "two")}
    data = RefDataset("hand", "val", samples, images, "", lambda sample: truths[sample.ref_id])
    half = np.zeros((2, 10, 20), bool)
    half[0, 0, :4] = half[1, 2:4, :5] = True  # 2 of 4 px of a, 8 of 10 of b, 4 and 10 of 50 of c
    makers = {"half": lambda _: half, "none": lambda _: half[:0]}
    makers = {
        name: lambda image, make=make: SimpleNamespace(masks=lambda: make(image))
        for name, make in makers.items()
    }
    table = pd.DataFrame(of("01_proposals")["oracle_rows"](makers, data, data.image_ids))
    assert table["oracle_iou"].tolist() == pytest.approx([0.5, 0.8, 0, 0, 0.2, 0])
    assert table["share"].tolist() == pytest.approx([0.01, 0.04, 0.01, 0.04, 0.25, 0.25])
    assert table["crowding"].tolist() == [0] * 6 and table["hidden"].isna().all()
    found = of("01_proposals")["summary"](table)
    row = found.loc["half"]
    assert (row["oracle_miou"], row["oracle_oiou"]) == pytest.approx((0.5, 20 / 64))
    assert (row["recall@0.5"], row["recall@0.75"]) == pytest.approx((1 / 3, 1 / 3))
    assert (row["masks"], row["n_targets"], row["n_images"]) == (2, 3, 2)
    assert list(found.index) == ["half", "none"]
    assert (found.loc["none", ["oracle_miou", "recall@0.5", "masks"]] == 0).all()


def slow_crowding(masks):
    """The same by pixels, one at a time."""
    shares = []
    for k, mask in enumerate(masks):
        places = [(y, x) for y, x in np.ndindex(mask.shape) if mask[y, x]]
        rows, columns = zip(*places, strict=True) if places else ([0], [0])
        box = np.ndindex(max(rows) - min(rows) + 1, max(columns) - min(columns) + 1)
        cells = [(min(rows) + y, min(columns) + x) for y, x in box]
        covered = [any(m[c] for j, m in enumerate(masks) if j != k) and not mask[c] for c in cells]
        shares.append(np.mean(covered) if places else 0.0)
    return shares


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_crowding_equals_a_plain_loop(n, seed):
    masks = np.random.default_rng(seed).random((n, 5, 6)) < 0.3
    assert of("01_proposals")["crowding"](masks) == pytest.approx(slow_crowding(masks))


def test_region_tokens_are_the_packages(picture, rng):
    clip, masks = small_clip("vit"), random_masks(rng, 5, (60, 80))
    pixels = clip.pixel_values(whole_image(picture, clip.image_size))
    with torch.inference_mode():
        found = of("07_peers")["region_tokens"](clip, pixels, masks)
    ours = RegionToken(clip).embed_masks(picture, masks)
    ours /= np.linalg.norm(ours, axis=1, keepdims=True)
    np.testing.assert_allclose(found.numpy(), ours, rtol=0, atol=1e-5)


# --- 02 to 05 ---


@settings(deadline=None)
@given(ROWS, TEXT, ROWS)
def test_the_terms_are_the_packages(rows, text, negatives):
    v, p, n = of("02_v_score"), of("03_p_score"), of("04_n_score")
    np.testing.assert_allclose(v["v_score"](rows, text), terms.v_score(rows, text), atol=1e-12)
    empty = np.concatenate([rows, np.zeros((1, 5))])
    np.testing.assert_allclose(p["p_score"](empty, text), terms.p_score(empty, text), atol=1e-12)
    wanted = terms.n_score(rows, negatives)
    np.testing.assert_allclose(n["n_score"](rows, negatives), wanted, atol=1e-12)
    assert (n["n_score"](rows, negatives[:0]) == 0).all()


def test_the_crop_is_the_packages(picture, masks):
    boxes = boxes_xyxy(masks)
    ours = masked_crops(picture, masks, boxes, 32, CropConfig()).numpy()
    for mask, box, wanted in zip(masks, boxes, ours, strict=True):
        found = of("02_v_score")["crop"](picture, mask, box, 32).numpy()
        assert np.abs(found - wanted).mean() < 0.03  # a square from an odd box: half a pixel


def test_the_first_of_equals_is_the_best_row():
    scores = pd.DataFrame({"sample_id": list("bbaa"), "proposal": [0, 1, 0, 1]})
    rows = of("02_v_score")["best_rows"](scores, pd.Series([2.0, 2.0, 1.0, 3.0]))
    assert rows[["sample_id", "proposal"]].to_numpy().tolist() == [["b", 0], ["a", 1]]


@pytest.mark.parametrize(
    "pair",
    [("dog", "wolf"), ("couch", "sofa"), ("teddy_bear", "bear"), ("dog", "qzx"), ("car", "cat")],
)
def test_similarity_is_the_packages(pair):
    n = of("04_n_score")
    assert np.isclose(n["similarity"](*pair), path_similarity(*pair))
    if path_similarity(*pair):
        assert np.isclose(1 / len(n["way"](*pair)), path_similarity(*pair))


def test_mining():
    found = [("a dog", "dog"), ("two sofas", "sofa"), ("a puppy", "puppy")]
    assert of("04_n_score")["mine"](found, "couch", 0.9) == ["a dog", "a puppy"]
    assert of("04_n_score")["mine"](found, "dog", 0.0) == []


CENTERS = arrays(np.float64, st.tuples(st.integers(1, 6), st.just(2)), elements=st.floats(0, 30))
WORDS = st.lists(st.sampled_from(["left", "right", "up", "bottom"]), max_size=2)


@settings(max_examples=200, deadline=None)
@given(CENTERS, WORDS, st.randoms(use_true_random=False))
def test_the_region_is_the_packages(centers, words, random):
    inside = of("05_rectifier")["in_region"](centers, (21, 31), words)
    assert (inside == rectifier.in_region(centers, (21, 31), words)).all()
    total = np.array([random.choice([0.0, 0.5, 1.0]) for _ in centers])
    assert of("05_rectifier")["rectify"](total, inside) == rectifier.rectify(total, inside)


# --- 06 ---

numbers = st.integers(-3, 3).map(lambda x: x / 2)
pixels = st.tuples(st.integers(0, 100), st.integers(100, 130))
scored = st.lists(st.tuples(numbers, numbers, numbers, st.booleans(), pixels), max_size=4)
one = st.fixed_dictionaries({"masks": scored, "pronoun": st.booleans(), "n_targets": st.just(1)})


@given(st.lists(one, min_size=1, max_size=8).filter(lambda some: any(s["masks"] for s in some)))
@settings(max_examples=40, deadline=None)
def test_the_ablation_is_the_packages(sentences):
    run, found = part_of(sentences), of("06_study")
    ids, weights = run.samples["sample_id"], run.record.weights
    assert found["variants"](weights) == study.variants(weights)
    for name, some in study.variants(weights).items():
        for rectifies in (False, True):
            wanted = study.variant_pixels(run, name, rectifies)
            rows = found["best_rows"](run.scores, some, rectifies)
            ious = found["sentence_ious"](run.scores, rows, ids)
            np.testing.assert_allclose(ious, iou(*wanted), atol=1e-15)
            fast = found["ious"](run, some, "own" if rectifies else "none")
            np.testing.assert_allclose(ious, fast, atol=1e-15)
            ends = found["bootstrap_pictures"](ious, run.images, 150)
            interval = bootstrap(*wanted, run.images, ("miou",), n_resamples=150)["miou"]
            np.testing.assert_allclose(ends, interval[1:3], atol=1e-12)


def test_the_switches_are_all_that_the_two_presets_differ_in():
    switches, changes = of("06_study")["switches"], {}
    paper, official, tiny = map(load_preset, ("paper", "official", "tiny"))
    for some in switches(paper).values():
        assert not set(some) & set(changes)
        changes |= some
    assert paper.override(changes).digest() == official.digest()
    changed = tiny.override(switches(tiny)["terms.n.weight"])  # chosen for a data set or not
    assert {changed.weights(name)["n"] for name in (None, "refscenes", "refscenesg")} == {0.7}


# --- 09 ---

ALPHA, LAM = 0.5, 0.8
GOOD, BAD = (90, 100), (10, 150)  # intersection and union px of a good mask and of a bad one


def sentence(good, bad, good_inside=True, bad_inside=True, **columns):
    """A sentence with a good mask and a bad one, of given V, P and N."""
    both = [(*good, good_inside, GOOD), (*bad, bad_inside, BAD)]
    return {"masks": both, "pronoun": False, **columns}


def anatomy(run):
    return written("09_error_anatomy", run=run, tas=SimpleNamespace(language=PARSER))


def table_of(sentences, **options):
    run = part_of(sentences, **options)
    return anatomy(run)["sort_out"](run)


def causes(*sentences, **options):
    return list(table_of(sentences, **options)["cause"])


WRONG = sentence((0, 0, 0), (1, 0, 0))
ONE_OF_TWO = WRONG | {"masks": [(0, 0, 0, True, GOOD), (1, 0, 0, True, (40, 105))]}
OUT = sentence((1, 0, 0), (0, 0, 0), good_inside=False)
BOTH_OUT = OUT | {"masks": [(0, 0, 0, False, GOOD), (1, 0, 0, True, BAD)]}


@pytest.mark.parametrize("given_, cause", [
    (sentence((1, 0, 0), (0, 0, 0)), ""), (WRONG, "V"),
    (sentence((0.1, 0, 0), (0, 1, 0)), "P"), (sentence((0.1, 0, -1), (0, 0, 0)), "N"),
    (WRONG | {"masks": [(1, 0, 0, True, BAD)]}, "proposals"), (WRONG | {"masks": []}, "proposals"),
    (OUT, "rectifier"), (BOTH_OUT, "rectifier"),
    (WRONG | {"pronoun": True}, "pronoun"), (WRONG | {"unread": True}, "pronoun"),
    (ONE_OF_TWO | {"n_targets": 2, "pronoun": True}, "ambiguous"),
    (ONE_OF_TWO | {"multi": True}, "ambiguous"), (ONE_OF_TWO | {"multi": False}, "V"),
    (WRONG | {"n_targets": 2}, "V"),  # none of the targets
    (sentence((0, 0, 0), (1, 0, 0), False, False), "V"),  # an empty region shuts nobody out
])  # fmt: skip
def test_each_cause_is_told_from_the_others(given_, cause):
    assert causes(given_) == [cause]


def test_the_terms_are_weighed_before_they_are_compared():
    both = sentence((0, 0, 0), (0.5, 0.6, 0))
    assert causes(both) == ["V"] and causes(both, alpha=1.0) == ["P"]
    both = sentence((0, 0, 0), (0.5, 0, 0.6))
    assert causes(both) == ["V"] and causes(both, lam=1.0) == ["N"]
    assert causes(sentence((0, 0, np.nan), (0, 0.1, np.nan)), lam=0.0) == ["P"]


def test_the_same_sentence_for_two_targets_of_a_picture_is_ambiguous():
    right = sentence((1, 0, 0), (0, 0, 0))
    twins = [each | {"text": "a dog"} for each in (WRONG, right)]
    assert causes(*twins) == ["ambiguous", ""]
    assert causes(twins[0], twins[1] | {"text": "a cat"}) == ["V", ""]
    assert causes(twins[0], right, twins[1]) == ["V", "", ""]  # in another picture
    assert causes(twins[0], twins[0]) == ["V", "V"]  # right for neither


def test_without_a_flag_the_parser_tells_what_names_no_thing():
    texts = ["the one on the left", "it stands behind the car", "left dog", " ", "second from left"]
    unflagged = [{"masks": WRONG["masks"], "text": text} for text in texts]
    assert causes(*unflagged) == ["pronoun", "pronoun", "V", "pronoun", "pronoun"]
    raw = {"language": {"spacy_model": "en_core_web_sm", "field": "raw"}}
    assert causes(*unflagged, config=raw) == ["V"] * 5


def test_what_is_cured_is_right_without_the_piece():
    rows = [
        sentence((0.1, 0, 0), (0, 1, 0)),  # P out: right
        sentence((0, 0, 0), (0.1, 1, 0)),  # P out: V still against it
        sentence((0.1, 0, -1), (0, 0, 0)), OUT, BOTH_OUT, WRONG,
    ]  # fmt: skip
    table = table_of(rows)
    assert list(table["cause"]) == ["P", "P", "N", "rectifier", "rectifier", "V"]
    assert list(table["cured"]) == [True, False, True, True, False, False]


def slow_cause(sentence):
    """The cause of one sentence, by plain loops."""
    rows = [
        (v + ALPHA * p + LAM * n, (v, ALPHA * p, LAM * n), inside, inter / union)
        for v, p, n, inside, (inter, union) in sentence["masks"]
    ]
    allowed = [row for row in rows if row[2]] or rows
    answer = max(allowed, key=lambda row: row[0]) if rows else None
    if answer and answer[3] > 0.5:
        return ""
    if not any(row[3] > 0.5 for row in rows):
        return "proposals"
    if sentence["pronoun"]:
        return "pronoun"
    good = [row for row in allowed if row[3] > 0.5]
    if not good or max(rows, key=lambda row: row[0])[3] > 0.5:
        return "rectifier"
    rival = max(good, key=lambda row: row[0])
    behind = [a - b for a, b in zip(answer[1], rival[1], strict=True)]
    return "VPN"[behind.index(max(behind))]


@given(st.lists(one, min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_causes_and_steps_account_for_everything(sentences):
    run = part_of(sentences)
    found = anatomy(run)
    table = found["sort_out"](run)
    assert list(table["cause"]) == [slow_cause(s) for s in sentences]
    steps = found["waterfall"](table, 20).set_index("step")
    assert list(steps.index) == ["oracle", *found["MEANING"], found["RIGHT"], "result"]
    assert steps.loc[list(found["MEANING"]), "n"].sum() == (table["iou"] <= 0.5).sum()
    assert (table["lost"] >= 0).all() and (steps["mean"].iloc[1:-1] <= 0).all()
    assert steps["mean"].iloc[:-1].sum() == pytest.approx(steps["mean"].iloc[-1], abs=1e-12)
    whole = iou(*study.variant_pixels(run)).mean()
    assert steps.loc["result", "mean"] == pytest.approx(whole)
    valued = table.loc[table["cause"].isin(["V", "P", "N"]), ["v", "p", "n"]]
    assert (valued.sum(axis=1) >= -1e-12).all() and (valued.max(axis=1) >= 0).all()
