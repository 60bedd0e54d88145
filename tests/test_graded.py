"""Graded terms: what a sentence asks for, and the scores that answer it."""

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from light import MASKS, PARSER, PRESET, SIZE_HW, TAS, HashEncoder, discs, scene_of

from tasutils import gallery
from tasutils.datasets import load_dataset
from tasutils.graded import Order, Relation, Wholeness, d_score, o_score, r_score, w_score, z_score
from tasutils.language.asks import RELATIONS, Asks
from tasutils.refer import parse_expression, refer
from tasutils.scene import Proposals
from tasutils.terms import combine

with (Path(__file__).parent / "golden" / "asks.csv").open(encoding="utf-8") as file:
    ROWS = list(csv.DictReader(file))
GRADED = ("d", "z", "r", "o", "h")
CHANGES = {f"terms.{name}": 1 for name in GRADED} | {"rectifier.form": "none"}
GRADED_PRESET = PRESET.override(CHANGES)
POINTS = arrays(np.float64, (4, 2), elements=st.floats(0, 50))


def read(sentence):
    return PARSER.parse(sentence).asks


def columns(asks):
    k, where = asks.order or ("", "")
    return {
        "direction": " ".join(sorted(asks.directions)),
        "size": asks.size,
        "relation": asks.relation,
        "landmark": "; ".join(asks.landmarks),
        "order": f"{k} {where}" if k else where,
        "negation": asks.negation,
        "number": str(asks.number or ""),
    }


def test_sentences_ask_for_what_they_are_meant_to():
    """Written before the rules; a direction word that belongs to an order is the order's."""
    wrong = []
    for row in ROWS:
        wanted = {name: row[name] for name in columns(Asks())}
        wanted["direction"] = " ".join(sorted(row["direction"].split()))
        wrong += [row["sentence"]] * (columns(read(row["sentence"])) != wanted)
    assert len(ROWS) == 200 and len(wrong) <= 5, wrong


def test_what_is_found_is_said():
    asks = read("the second small cup from the left next to the big bowl")
    assert asks.findings() == {
        "relation": "next to big bowl",
        "order": "2 from left",
        "size": "small",
    }
    assert asks.thing == "cup" and read("the brown dog").findings() == {}


@given(POINTS, st.sampled_from(["left", "right", "up", "bottom"]))
def test_direction_is_a_place_between_the_edges(points, name):
    score = d_score(points, (51, 51), (name,))
    turned = {"left": "right", "right": "left", "up": "bottom", "bottom": "up"}[name]
    assert (np.abs(score) <= 1).all()
    np.testing.assert_allclose(d_score(50 - points, (51, 51), (turned,)), score, atol=1e-12)
    both = d_score(points, (51, 51), ("left", "up"))
    np.testing.assert_allclose(
        both, d_score(points, (51, 51), ("left",)) + d_score(points, (51, 51), ("up",))
    )


@given(arrays(np.int64, 5, elements=st.integers(1, 10**6)))
def test_size_is_the_log_of_the_area_against_the_mean(areas):
    big = z_score(areas, "biggest", np.inf)
    assert abs(big.sum()) < 1e-9 and (z_score(areas, "") == 0).all()
    np.testing.assert_array_equal(z_score(areas, "small", np.inf), -big)
    np.testing.assert_array_equal(z_score(areas, "big"), np.clip(big, -1.5, 1.5))
    assert (np.argsort(big, kind="stable") == np.argsort(areas, kind="stable")).all()


def at(*centers_xy, radius=5):
    return Proposals.from_masks(discs(SIZE_HW, centers_xy, radius))


@pytest.mark.parametrize(
    ("relation", "mask"),
    [("left of", 1), ("right of", 2), ("above", 3), ("below", 4), ("under", 4), ("on", 3)],
)
def test_relations_hold_against_a_landmark(relation, mask):
    proposals = at((40, 30), (20, 30), (60, 30), (40, 15), (40, 45))
    score = r_score(proposals, relation, [[1, 0, 0, 0, 0]], Relation())
    assert score.argmax() == mask and (score >= 0).all() and (score <= 1).all()


@pytest.mark.parametrize("relation", RELATIONS)
def test_relations_against_a_loop(relation):
    proposals, settings = Proposals.from_masks(MASKS), Relation()
    fits = np.random.default_rng(1).normal(size=(2, len(MASKS))) * 0.1
    found = r_score(proposals, relation, fits, settings)
    for i in range(len(MASKS)):
        # a landmark that is certain says how one mask stands to another
        stands = [
            r_score(proposals, relation, [np.eye(len(MASKS))[j]], Relation(softness=1e-3))[i]
            for j in range(len(MASKS))
        ]
        value = 0.0
        for one in fits:
            shares = [np.exp(one[j] / settings.softness) for j in range(len(MASKS))]
            others = [j for j in range(len(MASKS)) if proposals.overlaps[i, j] <= 0.5]
            total = sum(shares[j] for j in others)
            value += sum(shares[j] * stands[j] for j in others) / total / 2
        assert found[i] == pytest.approx(value, abs=1e-6)


def test_a_landmark_between_two_and_near_one():
    proposals = at((10, 30), (25, 30), (40, 30), (72, 30))
    assert r_score(proposals, "near", [[1, 0, 0, 0]], Relation()).argmax() == 1
    assert r_score(proposals, "between", [[1, 0, 0, 0], [0, 0, 1, 0]], Relation()).argmax() == 1


@pytest.mark.parametrize(
    ("order", "mask"),
    [((1, "left"), 0), ((2, "left"), 1), ((3, "right"), 0), ((2, "right"), 1), ((0, "middle"), 1)],
)
def test_orders_count_what_fits(order, mask):
    proposals = at((10, 30), (30, 30), (50, 30), (70, 30))
    fits = [0.9, 0.9, 0.9, 0.0]  # the last is no such thing
    assert (o_score(proposals, order, fits, Order()) + fits).argmax() == mask


def test_a_thing_counts_once_however_many_masks_it_has():
    double = np.concatenate([discs(SIZE_HW, [(10, 30)], 5), discs(SIZE_HW, [(10, 30)], 6)])
    proposals = Proposals.from_masks(
        np.concatenate([double, discs(SIZE_HW, [(40, 30), (60, 30)], 5)])
    )
    assert o_score(proposals, (2, "left"), [0.9, 0.8, 0.9, 0.9], Order()).argmax() == 2


def test_a_part_is_worth_less_than_its_whole():
    whole, part = discs(SIZE_HW, [(30, 30)], 12), discs(SIZE_HW, [(30, 30)], 6)
    score = w_score(Proposals.from_masks(np.concatenate([part, whole])), Wholeness())
    assert score[1] > score[0]


@pytest.mark.parametrize("row", [row for row in ROWS if row["kind"] == "plain"], ids=str)
def test_sentences_that_do_not_ask_are_answered_as_before(row):
    scene = scene_of(MASKS)
    answer = refer(scene, row["sentence"], HashEncoder(), PARSER, GRADED_PRESET)
    plain = refer(scene, row["sentence"], HashEncoder(), PARSER, PRESET)
    for name in GRADED:
        assert answer.terms[name].tolist() == [0.0] * len(MASKS)
    np.testing.assert_array_equal(answer.total, plain.total)


@given(st.sampled_from(ROWS))
def test_terms_are_finite_and_as_many_as_masks(row):
    for masks in (MASKS, MASKS[:1], MASKS[:0]):
        answer = refer(scene_of(masks), row["sentence"], HashEncoder(), PARSER, GRADED_PRESET)
        for term in answer.terms.values():
            assert term.shape == (len(masks),) and np.isfinite(term).all()
        np.testing.assert_array_equal(answer.total, combine(answer.terms, answer.weights))


def test_the_thing_alone_stands_for_the_sentence():
    """With h the answer looks for "cat", whatever else "the biggest cat on the left" says."""
    scene = scene_of(MASKS)
    long, bare = (
        refer(scene, text, HashEncoder(), PARSER, GRADED_PRESET).terms
        for text in ("the biggest cat on the left", "cat")
    )
    np.testing.assert_allclose(long["v"] + long["h"], bare["v"], atol=1e-12)
    answer = refer(scene, "the biggest cat on the left", HashEncoder(), PARSER, GRADED_PRESET)
    assert answer.reason.endswith("asked: left, biggest")
    assert parse_expression("it is left of the tree", PARSER).asks.thing == "it"


def test_a_perfect_captioner_calls_each_mask_by_its_thing(monkeypatch):
    monkeypatch.setattr(gallery, "_method", lambda config: TAS)
    run, data = SimpleNamespace(preset=lambda: PRESET), load_dataset("refscenes", "val")
    book, sample = gallery.Gallery(run, data), data.samples[0]
    said, masks = book.things(sample.image_id)
    truth = data.gt_mask(sample)
    (name,) = [a for a, mask in zip(said, masks, strict=True) if (mask == truth).all()]
    assert sample.category in name and not any("nan " in one for one in said)
    told = book.told(sample.image_id, scene_of(np.stack([~truth, truth])))
    assert told.captions == ["", name] and not told.caption_embeddings[0].any()
    assert set(told.phrases) == set(said)
    photos = load_dataset("refscenes", "valP")
    said, masks = gallery.Gallery(run, photos).things(photos.samples[0].image_id)
    assert said == [] and len(masks) == 0
