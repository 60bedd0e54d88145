"""The photographic splits: frozen shares, disjoint cut-outs, exact sentences, the same bytes."""

from __future__ import annotations

import filecmp
import json
from functools import cache

import numpy as np
import pandas as pd
import pytest
from test_world import stored_view

from making import build
from making.categories import (
    by_slug,
    closure_words,
    load_categories,
    photographed_categories,
)
from making.expressions import FAMILIES
from making.imports import PHOTO_SIDE, in_imagenet
from making.photographs import cutouts, training_photo_scene
from making.queries import Query, execute
from making.render import render
from making.sprites import TRAIN_STYLES, load_sprite
from making.write import build_photoscenes
from tasutils.datasets import load_dataset
from tasutils.language.wordnet import wordnet
from tasutils.paths import PHOTOSCENES

CUTOUT_SPLITS = ("train", "valP", "testP")


@cache
def things() -> pd.DataFrame:
    return pd.read_parquet(PHOTOSCENES / "scenes.parquet")


@cache
def expressions() -> pd.DataFrame:
    return pd.read_parquet(PHOTOSCENES / "expressions.parquet")


def test_categories_resolve_and_stand_apart_from_the_drawn_ones():
    categories = photographed_categories()
    drawn_ones = load_categories()
    assert len(by_slug()) == len(categories) + len(drawn_ones)
    assert not {c.id for c in categories} & {c.id for c in drawn_ones}
    for category in categories:
        assert wordnet().synset(category.synset).pos() == "n"
        assert category.in_imagenet == in_imagenet(category.synset, category.name)
        assert category.split in CUTOUT_SPLITS and not category.seen and not category.recolor
        assert set(category.native_px) == set(category.colors)


def test_everyday_words_are_wordnets_or_the_common_ones():
    """A wider word is in the closure of WordNet, but for a few that anybody grants."""
    granted = {"sheep", "deer", "dog", "cat", "toy", "bin", "flower", "garlic", "orange", "turkey"}
    granted |= {"vegetable", "box"}
    for category in photographed_categories():
        synset = wordnet().synset(category.synset)
        known = {synset, *synset.closure(lambda s: s.hypernyms() + s.instance_hypernyms())}
        lemmas = {name.lower().replace("_", " ") for s in known for name in s.lemma_names()}
        assert set(category.hypernyms) <= lemmas | granted | {category.group}, category.slug
        assert set(category.hypernyms) <= closure_words(category.slug)


def test_splits_share_no_category_and_no_stamp():
    with (PHOTOSCENES / "categories.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file)
    stamps = [name for cell in table["file"] for name in cell.split("|")]
    assert len(stamps) == len(set(stamps)) == sum(len(cutouts(s)) for s in CUTOUT_SPLITS)
    assert not table.duplicated("slug").any() and not table.duplicated("name").any()
    owner = {c.slug: c.split for c in photographed_categories()}
    assert (things()["slug"].map(owner) == things()["split"]).all()


def test_every_sprite_is_used_and_never_larger_than_its_photograph():
    stored = {path.name for path in (PHOTOSCENES / "sprites/photo").iterdir()}
    assert len(stored) == sum(len(c.native_px) for c in photographed_categories())
    for category in photographed_categories():
        for style, native_px in category.native_px.items():
            sprite = load_sprite(style, category.slug)
            assert max(sprite.shape[:2]) == min(native_px, PHOTO_SIDE)
            assert (sprite[..., 3] > 127).mean() > 0.02


@pytest.mark.parametrize("split", ["valP", "testP"])
def test_frozen_shares(split):
    """Set before any model saw the splits; they may not become easier to please a number."""
    rows = things().query("split == @split")
    assert rows["image_id"].nunique() == {"valP": 100, "testP": 200}[split]
    assert rows.groupby("image_id").size().between(3, 10).all()
    targets = rows.query("target")
    assert targets.groupby("image_id")["distractor"].any().mean() >= 0.6
    assert 0.25 <= targets["hidden_fraction"].between(0.1, 0.6).mean() <= 0.35
    sentences = expressions().query("split == @split")
    assert set(sentences["family"]) == set(FAMILIES)
    short = sentences.query("family == 'refscenes'")
    assert 0.45 <= short["has_direction"].mean() <= 0.55
    hard = short.query("has_direction")["kind"].isin(["side relation", "ordinal"]).mean()
    assert 0.2 <= hard <= 0.3
    assert 0.08 <= sentences.query("family == 'refscenesg'")["pronoun"].mean() <= 0.12
    assert not sentences.query("family == 'refscenes+'")["has_direction"].any()


@pytest.mark.parametrize(("split", "inside"), [("valP", 0.66), ("testP", 0.47)])
def test_share_of_targets_that_imagenet_knows(split, inside):
    targets = things().query("split == @split and target")
    assert targets["in_imagenet"].mean() == pytest.approx(inside, abs=0.02)
    truth = targets["slug"].map(lambda slug: by_slug()[slug].in_imagenet)
    assert (truth == targets["in_imagenet"]).all()


def test_sizes_are_natural_and_some_things_are_large():
    rows = things()
    pairs = zip(rows["slug"], rows["style"], strict=True)
    native = np.array([by_slug()[slug].native_px[style] for slug, style in pairs])
    assert (rows["size_px"] <= 1.3 * native).all()
    assert rows["paint"].isna().all()
    large = rows[rows["size_px"] > 130].groupby("split").size()
    assert (large >= 20).all() and rows["size_px"].max() > 190


def test_every_expression_means_exactly_its_targets():
    views = {image_id: stored_view(rows) for image_id, rows in things().groupby("image_id")}
    columns = ["image_id", "query", "targets"]
    for image_id, query, targets in expressions()[columns].itertuples(index=False):
        found, clear = execute(Query.from_dict(json.loads(query)), views[image_id])
        assert clear and sorted(found) == list(targets), (image_id, query)
    assert not expressions().duplicated(["family", "image_id", "ref_id", "text"]).any()


@pytest.mark.slow
def test_shipped_pictures_are_what_the_maker_draws(tmp_path):
    """Byte for byte under the versions of constraints.txt; the first four of each split."""
    build_photoscenes(tmp_path, limit=4, progress=False)
    pictures = sorted((tmp_path / "images").iterdir())
    assert len(pictures) == 4 * len(build.PHOTO_SPLITS)
    for picture in pictures:
        assert filecmp.cmp(picture, PHOTOSCENES / "images" / picture.name, shallow=False)
    fresh = pd.read_parquet(tmp_path / "scenes.parquet")
    kept = things()[things()["image_id"].isin(fresh["image_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(fresh, kept)
    again = pd.read_parquet(tmp_path / "expressions.parquet").drop(columns="sent_id")
    stored = expressions()[expressions()["image_id"].isin(fresh["image_id"])]
    pd.testing.assert_frame_equal(again, stored.drop(columns="sent_id").reset_index(drop=True))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("split", ["valP", "testP"])
def test_the_reader_finds_them(family, split):
    data = load_dataset(family, split)
    assert len(data) > 250 and len(data.image_ids) >= 95
    for sample in data.samples[::40]:
        assert data.image_path(sample.image_id).is_file()
        mask = data.gt_mask(sample)
        assert mask.shape == (240, 320) and mask.any()
        assert {"kind", "has_direction", "in_imagenet", "seen"} <= set(sample.flags)
        assert "raw" not in sample.flags and sample.flags["seen"] is False


def test_cutouts_for_retrieval():
    counts = {split: len(cutouts(split)) for split in CUTOUT_SPLITS}
    assert counts == {"train": 102, "valP": 64, "testP": 137}
    for slug, rgba, caption in cutouts("valP"):
        assert by_slug()[slug].split == "valP"
        assert rgba.dtype == np.uint8 and rgba.shape[2] == 4
        assert caption[0].isupper() and caption[-1] in ".!?" and "\n" not in caption
    assert ("photo_wrench", "A plumber's wrench.") in [(s, c) for s, _, c in cutouts("testP")]


def test_training_scenes_hold_only_train_cutouts_and_seen_things():
    largest, slugs = 0.0, set()
    for seed in range(2_000_000, 2_000_030):
        graph = training_photo_scene(seed)
        assert graph == training_photo_scene(seed)
        for thing in graph.things:
            slugs.add(thing.slug)
            assert thing.category.seen or thing.category.split == "train"
            assert thing.style in TRAIN_STYLES or thing.style in thing.category.native_px
        largest = max(largest, float(render(graph).visible.mean((1, 2)).max()))
    assert largest > 0.3
    assert any(by_slug()[s].seen for s in slugs) and any(s.startswith("photo_") for s in slugs)
    with pytest.raises(ValueError, match="kept for other scenes"):
        training_photo_scene(1_000_000)
