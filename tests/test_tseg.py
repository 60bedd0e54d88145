"""TSEG: the assignment against a slow version, what it may not see, its training, its weights."""

import json
import math
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import slow_peers as slow
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_peers import expression, random_masks, scene_of

from making import loop
from making.pools import ScenePool, draw_shard
from making.scores import stored_pictures
from making.tseg import (
    PairStore,
    frozen_clip,
    kinds,
    pool,
    relation_of,
    sentences_of,
    train_tseg,
    tseg_loss,
    write_pairs,
)
from making.words import seen_words
from tasutils.baselines.tseg import Tseg, TsegNet, tiny_maps
from tasutils.config import load_preset
from tasutils.encoders.openclip import OpenClipEncoder
from tasutils.errors import TasError

CAR, LEFT = expression("the red car"), expression("the dog on the left")


@pytest.fixture(scope="module")
def encoder():
    """The tiny-RN that ships."""
    config = load_preset("tiny").peer_encoder
    return OpenClipEncoder(config)


@pytest.fixture(scope="module")
def method(encoder):
    return Tseg(encoder)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Four training scenes and their pairs."""
    scenes = tmp_path_factory.mktemp("pool")
    draw_shard(scenes, 1_000_000, 4)
    folder = tmp_path_factory.mktemp("pairs")
    write_pairs(folder, list(ScenePool(scenes, at_least=0)), "1000000", frozen_clip())
    return folder


# --- the assignment and the pooling ---


def slow_logits(margins):
    """Image-level logits, one picture, one expression and one patch at a time."""
    n, h, w, k = margins.shape
    logits = np.zeros((n, k))
    for picture, text in np.ndindex(n, k):
        weights, total = 0.0, 0.0
        for y, x in np.ndindex(h, w):
            score = float(margins[picture, y, x, text])
            # a softmax over this expression and none, whose score is 0
            share = math.exp(score) / (math.exp(score) + math.exp(0))
            weights += share
            total += share * score
        logits[picture, text] = total / (weights + 1e-4)
    return logits


@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 4), st.floats(0.1, 8))
@settings(max_examples=25, deadline=None)
def test_pooling_is_the_mean_margin_of_the_assigned_patches(seed, n, k, spread):
    margins = np.random.default_rng(seed).normal(-1, spread, (n, 3, 4, k))
    ours = pool(torch.from_numpy(margins))
    assert np.allclose(ours, slow_logits(margins), rtol=0, atol=1e-9)


def test_where_nothing_fits_the_best_patch_counts():
    margins = torch.full((1, 5, 5, 1), -30.0)
    margins[0, 2, 3] = -2.0
    assert pool(margins, least=0)[0, 0] == pytest.approx(-2.0, abs=1e-6)


def test_untrained_it_is_the_score_map_of_its_towers(encoder, picture):
    net = TsegNet()
    with torch.no_grad():
        coarse, fine = tiny_maps(encoder.model, torch.from_numpy(picture[None]))
        start = torch.nn.functional.normalize(coarse, dim=-1).permute(0, 3, 1, 2)
        start = torch.nn.functional.interpolate(start, fine.shape[1:3], mode="bilinear")
        patches, text = net.patches(coarse, fine), torch.randn(3, 128)
    wanted = torch.nn.functional.normalize(start.permute(0, 2, 3, 1), dim=-1)
    assert torch.allclose(patches, wanted, rtol=0, atol=1e-6)
    assert torch.allclose(net.texts(text), torch.nn.functional.normalize(text, dim=-1), atol=1e-6)


# --- the method ---


def test_scores_are_means_inside_each_mask_whatever_else_the_scene_holds(method, picture, rng):
    masks = random_masks(rng, 6, picture.shape[:2])
    scores, heatmap = method.score(scene_of(masks), CAR, picture), method.heatmap(picture, CAR)
    assert scores.dtype == np.float64
    assert np.allclose(scores, [slow.mean_inside(heatmap, mask) for mask in masks], atol=1e-6)
    assert np.array_equal(method.score(scene_of(masks[:1]), CAR, picture), scores[:1])
    assert method.score(scene_of(masks[:0]), CAR, picture).shape == (0,)
    other = replace(
        scene_of(masks), captions=["a red car"] * 6, image_caption="a red car",
        views={"crop": rng.normal(size=(6, 128)).astype(np.float32)},
    )  # fmt: skip
    assert np.array_equal(method.score(other, CAR, picture), scores)
    assert not np.allclose(method.score(other, CAR, picture // 3), scores)


def test_another_encoder_is_refused_in_one_line():
    with pytest.raises(TasError, match="cannot use encoder tiny-ViT.*tiny-RN") as error:
        Tseg(OpenClipEncoder(load_preset("tiny").encoder))
    assert "\n" not in str(error.value)


def test_it_chooses_better_than_at_random_among_the_things_of_val(method):
    right, chance = [], []
    for shown in stored_pictures("val", 8):
        scene = scene_of(shown.masks)
        for number, thing in enumerate(shown.things):
            alike = [t for t in shown.things if t["category"] == thing["category"]]
            if len(alike) == 1 and thing["seen"]:
                scores = method.score(scene, expression(f"the {thing['category']}"), shown.image)
                right.append(scores.argmax() == number)
                chance.append(1 / len(shown.things))
    assert len(right) >= 10
    assert np.mean(right) > 2.5 * np.mean(chance)


# --- its training ---


def test_a_sentence_of_another_picture_is_absent_only_if_nothing_here_could_be_meant():
    table = seen_words()
    rows = {noun: row for row, noun in enumerate(table.nouns)}
    dog = table.index[next(s for s in table.slugs if table.names[table.index[s]] == "dog")]
    sure, might = kinds()
    assert sure[rows["dog"], dog] and (might | ~sure).all()
    asked = np.array([rows["dog"], rows["dog"], rows["dog"], rows["cat"], rows["animal"]])
    colors = np.array([0, 1, 2, 0, 0])
    assert relation_of([(dog, 1)], asked, colors).tolist() == [-1, -1, 2, 0, -1]
    assert relation_of([(dog, 0)], asked, colors).tolist() == [-1, -1, -1, 0, -1]
    assert relation_of([(dog, 1), (dog, 2)], asked, colors).tolist() == [-1, -1, -1, 0, -1]


def test_the_loss_asks_own_sentences_up_and_absent_ones_down():
    relation = torch.tensor([[1, 0, 2, -1]])
    logits = torch.zeros(1, 4, requires_grad=True)
    loss, _ = tseg_loss(logits, relation)
    loss.backward()
    assert loss.item() == pytest.approx(2.5 * math.log(2))
    assert logits.grad.sign().tolist() == [[-1, 1, 1, 0]]
    only = tseg_loss(torch.zeros(1, 2), torch.tensor([[1, 2]]))[0]
    assert only.item() == pytest.approx(1.5 * math.log(2))


def test_the_sentences_are_written_about_their_picture(tmp_path):
    draw_shard(tmp_path, 1_000_000, 3)
    table = seen_words()
    for scene in ScenePool(tmp_path, at_least=0):
        sentences = sentences_of(np.random.default_rng(0), scene, table)
        assert len(sentences) > 3
        for text, noun, color in sentences:
            admitted = [t for t in scene.things if noun in table.nouns and _named(table, t, noun)]
            assert admitted, text
            assert not color or any(t.color == color for t in admitted), text
            assert table.allowed(text)


def _named(table, thing, noun):
    return bool(kinds()[1][table.nouns.index(noun), table.index[thing.slug]])


def test_no_label_is_stored_with_the_pairs(pairs):
    names = {path.name for path in pairs.iterdir()}
    assert names == {f"1000000.{kind}" for kind in ("coarse.npy", "fine.npy", "texts.npy", "json")}
    assert np.load(pairs / "1000000.coarse.npy").shape == (4, 15, 20, 128)
    assert np.load(pairs / "1000000.fine.npy").shape == (4, 30, 40, 256)
    rows = json.loads((pairs / "1000000.json").read_text())
    assert {key for row in rows for key in row} == {"things", "sentences", "first"}
    assert all(len(thing) == 2 for row in rows for thing in row["things"])
    with pytest.raises(TasError, match="pairs"):
        PairStore(pairs.parent / "nothing")


def test_a_training_learns_and_goes_on_where_it_stopped(pairs, tmp_path, monkeypatch):
    clock = SimpleNamespace(monotonic=count().__next__)  # a second a step
    monkeypatch.setattr(loop, "time", clock)
    first = train_tseg(0.05, tmp_path, pairs=pairs, images=4, score_images=0)
    again = train_tseg(0.2, tmp_path, pairs=pairs, images=4, score_images=0)
    assert (first["images"], again["images"]) == (12, 48)
    losses = [point["own"] + point["absent"] for point in again["curve"]]
    assert losses[-1] < losses[0]
