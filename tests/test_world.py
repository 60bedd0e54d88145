"""The embedded world, drawn and photographic: frozen shares, exact sentences, the same bytes."""

import filecmp
import json
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from making.build import PHOTO_SPLITS, SPLITS
from making.categories import (
    by_slug,
    closure_words,
    load_categories,
    photographed_categories,
    read_table,
)
from making.expressions import FAMILIES
from making.imports import PHOTO_SIDE, in_imagenet
from making.layout import (
    UP_TO_THE_PICTURE,
    random_scene,
    training_photo_scene,
    training_scene,
)
from making.queries import Query, View, execute
from making.render import render
from making.sprites import (
    COLORS,
    TRAIN_STYLES,
    color_name,
    load_sprite,
    paints_for,
    shares,
)
from making.write import build_world, differences
from tasutils.datasets import load_dataset
from tasutils.datasets.shipped import Family
from tasutils.language.wordnet import wordnet
from tasutils.masks import decode_rle
from tasutils.paths import PHOTOSCENES, REFSCENES

WORLDS = {REFSCENES: SPLITS, PHOTOSCENES: PHOTO_SPLITS}
ALL_SPLITS = [(root, split) for root, splits in WORLDS.items() for split in splits]
DIRECTION_WORDS = {
    *("left", "right", "leftmost", "rightmost", "top", "topmost", "upper", "up", "above"),
    *("bottom", "lower", "lowest", "below", "under", "underneath", "higher", "down"),
}  # fmt: skip
both_worlds = pytest.mark.parametrize("root", WORLDS, ids=lambda root: root.name)
each_split = pytest.mark.parametrize(
    ("root", "split"), ALL_SPLITS, ids=[split for _, split in ALL_SPLITS]
)


@cache
def table(root, name):
    return pd.read_parquet(root / f"{name}.parquet")


def query_of(values):
    relation, ordinal = values["relation"], values["ordinal"]
    related = (relation[0], query_of(relation[1])) if relation else None
    place = tuple(values["place"])
    return Query(**values | {"place": place, "ordinal": ordinal and tuple(ordinal),
                             "relation": related})  # fmt: skip


def stored_view(rows):
    """A reader's view from the stored table alone."""
    covers = np.zeros((len(rows), len(rows)), dtype=bool)
    for index, others in enumerate(rows["covered_by"]):
        covers[index, list(others)] = True
    paints, colors = (
        [value if isinstance(value, str) else None for value in rows[column]]
        for column in ("paint", "color")
    )
    return View(
        slugs=tuple(rows["slug"]),
        colors=tuple(colors),
        shares=tuple(shares(*key) for key in zip(rows["style"], rows["slug"], paints, strict=True)),
        centers_xy=rows[["center_x", "center_y"]].to_numpy(float),
        boxes_xyxy=rows[["x0", "y0", "x1", "y1"]].to_numpy(float),
        areas_px=rows["area_px"].to_numpy(),
        hidden_fraction=rows["hidden_fraction"].to_numpy(),
        covers=covers,
    )


# --- categories and sprites ---


def test_categories_resolve_and_are_named_truly():
    drawn, photographed = load_categories(), photographed_categories()
    assert len(drawn) >= 250 and sum(not category.seen for category in drawn) == 40
    assert len({c.id for c in (*drawn, *photographed)}) == len(by_slug())
    assert len(by_slug()) == len(drawn) + len(photographed)
    granted = {"sheep", "deer", "dog", "cat", "toy", "bin", "flower", "garlic", "orange", "turkey"}
    granted |= {"vegetable", "box"}  # what anybody grants, though WordNet does not
    for category in by_slug().values():
        synset = wordnet().synset(category.synset)
        assert synset.pos() == "n" and set(category.hypernyms) <= closure_words(category.slug)
    for category in photographed:
        synset = wordnet().synset(category.synset)
        known = {synset, *synset.closure(lambda s: s.hypernyms() + s.instance_hypernyms())}
        lemmas = {name.lower().replace("_", " ") for s in known for name in s.lemma_names()}
        assert set(category.hypernyms) <= lemmas | granted | {category.group}, category.slug
        assert category.in_imagenet == in_imagenet(category.synset, category.name)
        assert category.split in ("train", *PHOTO_SPLITS) and not category.seen
        assert not category.recolor and set(category.native_px) == set(category.colors)


def test_every_sprite_is_there_and_no_larger_than_its_photograph():
    for category in load_categories():
        assert all(load_sprite(s, category.slug).shape[2] == 4 for s in (*TRAIN_STYLES, "twemoji"))
    photographs = photographed_categories()
    stored = {path.name for path in (PHOTOSCENES / "sprites/photo").iterdir()}
    stamps = [name for row in read_table(PHOTOSCENES / "categories.csv")
              for name in row["file"].split("|")]  # fmt: skip
    count = sum(len(c.native_px) for c in photographs)
    assert len(stored) == len(set(stamps)) == len(stamps) == count
    for category in photographs:
        for style, native_px in category.native_px.items():
            sprite = load_sprite(style, category.slug)
            assert max(sprite.shape[:2]) == min(native_px, PHOTO_SIDE)
            assert (sprite[..., 3] > 127).mean() > 0.02


def test_paints_show_their_colour():
    painted = [category for category in load_categories() if category.recolor]
    assert len(painted) >= 60
    for category in painted[::7]:
        for paint in paints_for("fluent", category.slug):
            assert color_name("fluent", category.slug, paint) == paint
    assert set(COLORS) >= {"red", "orange", "yellow", "green", "blue", "purple", "pink", "brown"}


# --- what is stored ---


@each_split
def test_frozen_shares(root, split):
    """Set before any training; the world may not become easier to please a number."""
    things = table(root, "scenes").query("split == @split")
    assert things["image_id"].nunique() == WORLDS[root][split].images
    assert things.groupby("image_id").size().between(3, 10).all()
    targets = things.query("target")
    assert targets.groupby("image_id")["distractor"].any().mean() >= 0.6
    assert 2.5 < targets.groupby("image_id").size().mean() <= 3
    assert 0.25 <= targets["hidden_fraction"].between(0.1, 0.6).mean() <= 0.35
    sentences = table(root, "expressions").query("split == @split")
    counts = sentences.groupby("family").size()
    assert set(counts.index) == set(FAMILIES) and counts.min() > 250
    short = sentences.query("family == 'refscenes'")
    assert 2.5 < short.groupby("ref_id").size().mean() <= 3
    assert 0.45 <= short["has_direction"].mean() <= 0.55
    hard = short.query("has_direction")["kind"].isin(["side relation", "ordinal"]).mean()
    assert 0.2 <= hard <= 0.3
    assert 0.08 <= sentences.query("family == 'refscenesg'")["pronoun"].mean() <= 0.12
    placeless = sentences.query("family == 'refscenes+'")
    assert not placeless["has_direction"].any()
    for row in pd.concat([short, placeless]).itertuples() if root == REFSCENES else ():
        assert bool(set(row.text.split()) & DIRECTION_WORDS) == row.has_direction, row.text


def test_splits_ask_for_their_own_groups_and_hold_their_own_things():
    lively, things = {"person", "animal"}, table(REFSCENES, "scenes")
    targets = things.query("target")
    assert set(targets.query("split == 'testA'")["group"]) <= lively
    assert not set(targets.query("split == 'testB'")["group"]) & lively
    assert set(things.query("split == 'testS'")["style"]) == {"twemoji"}
    assert set(things.query("split != 'testS'")["style"]) <= set(TRAIN_STYLES)
    things = table(PHOTOSCENES, "scenes")
    assert (
        things["slug"].map({c.slug: c.split for c in by_slug().values()}) == things["split"]
    ).all()
    for split, inside in (("valP", 0.66), ("testP", 0.47)):
        targets = things[(things["split"] == split) & things["target"]]
        assert targets["in_imagenet"].mean() == pytest.approx(inside, abs=0.02)
        truth = targets["slug"].map(lambda slug: by_slug()[slug].in_imagenet)
        assert (truth == targets["in_imagenet"]).all()
    pairs = zip(things["slug"], things["style"], strict=True)
    native = np.array([by_slug()[slug].native_px[style] for slug, style in pairs])
    assert (things["size_px"] <= 1.3 * native).all() and things["paint"].isna().all()
    assert (things[things["size_px"] > 130].groupby("split").size() >= 20).all()
    size = sum(path.stat().st_size for path in REFSCENES.rglob("*") if path.is_file())
    assert size <= 25e6


@both_worlds
def test_every_expression_means_exactly_its_targets(root):
    things, expressions = table(root, "scenes"), table(root, "expressions")
    assert not expressions.duplicated(["family", "image_id", "ref_id", "text"]).any()
    views = {image_id: stored_view(rows) for image_id, rows in things.groupby("image_id")}
    columns = ["image_id", "query", "targets"]
    for image_id, query, targets in expressions[columns][::3].itertuples(index=False):
        found = execute(query_of(json.loads(query)), views[image_id])
        assert found == set(targets), (image_id, query)


def test_stored_masks_are_the_visible_parts():
    stored = json.loads((REFSCENES / "refscenes" / "instances.json").read_text(encoding="utf-8"))
    annotations = pd.DataFrame(stored["annotations"])
    things = table(REFSCENES, "scenes").set_index("ann_id")
    for _, listed in list(annotations.groupby("image_id"))[::20]:
        masks = decode_rle(list(listed["segmentation"]))
        assert masks.sum(0).max() == 1, "visible parts never overlap"
        areas = things.loc[listed["id"], "area_px"]
        assert masks.sum((1, 2)).tolist() == list(areas) == list(listed["area"])


@both_worlds
def test_same_seeds_same_bytes(root, tmp_path):
    """The first pictures of every split, drawn again, are the stored files."""
    build_world(tmp_path, WORLDS[root], limit=2, progress=False)
    pictures = sorted((tmp_path / "images").iterdir())
    assert len(pictures) == 2 * len(WORLDS[root])
    for picture in pictures:
        assert filecmp.cmp(picture, root / "images" / picture.name, shallow=False)
    ids = [int(picture.stem) for picture in pictures]
    for name in ("scenes", "expressions"):
        drawn, stored = pd.read_parquet(tmp_path / f"{name}.parquet"), table(root, name)
        kept = stored[stored["image_id"].isin(ids)].reset_index(drop=True)
        skipped = ["sent_id"] if name == "expressions" else []  # counted over the whole world
        pd.testing.assert_frame_equal(drawn.drop(columns=skipped), kept.drop(columns=skipped))


def test_differences_name_changed_missing_and_extra_files(tmp_path):
    fresh, stored = tmp_path / "fresh", tmp_path / "stored"
    for folder in (fresh, stored):
        (folder / "images").mkdir(parents=True)
        for number in ("1", "2"):
            (folder / "images" / number).write_text(number)
    (stored / "LICENSES.md").touch()  # not built: none of its business
    assert differences(fresh, stored) == []
    (stored / "images/1").write_text("changed")
    (stored / "images/2").unlink()
    (stored / "images/3").touch()
    assert differences(fresh, stored) == ["images/1", "images/2", "images/3"]


def test_the_reader_finds_the_photographic_splits():
    assert tuple(SPLITS) == Family.drawn and (*SPLITS, *PHOTO_SPLITS) == Family.splits
    for family in FAMILIES:
        for split in PHOTO_SPLITS:
            data = load_dataset(family, split)
            assert len(data) > 250 and len(data.image_ids) >= 95
            for sample in data.samples[::80]:
                mask = data.gt_mask(sample)
                assert mask.shape == (240, 320) and mask.any()
                assert {"kind", "has_direction", "in_imagenet", "seen"} <= set(sample.flags)
                assert "raw" not in sample.flags and sample.flags["seen"] is False


# --- training scenes ---


def test_training_never_meets_what_is_held_out():
    unseen = {category.slug for category in load_categories() if not category.seen}
    for seed in range(1_000_000, 1_000_030):
        things = training_scene(seed).things
        assert not unseen & {thing.slug for thing in things}
        assert {thing.style for thing in things} <= set(TRAIN_STYLES)
    largest, slugs = 0.0, set()
    for seed in range(2_000_000, 2_000_020):
        graph = training_photo_scene(seed)
        for thing in graph.things:
            slugs.add(thing.slug)
            assert thing.category.seen or thing.category.split == "train"
            assert thing.style in TRAIN_STYLES or thing.style in thing.category.native_px
        largest = max(largest, float(render(graph).visible.mean((1, 2)).max()))
    assert largest > 0.3
    assert any(by_slug()[s].seen for s in slugs) and any(s.startswith("photo_") for s in slugs)
    with pytest.raises(ValueError, match="kept for stored"):
        training_scene(999_999)
    with pytest.raises(ValueError, match="kept for other scenes"):
        training_photo_scene(1_000_000)


@given(st.integers(0, 2**31))
@settings(max_examples=8, deadline=None)
def test_rendered_masks_are_consistent(seed):
    rng = np.random.default_rng(seed)
    rendered = render(random_scene(rng, TRAIN_STYLES, load_categories(), sizes=UP_TO_THE_PICTURE))
    assert (rendered.visible <= rendered.full).all()
    assert (rendered.visible.sum(0) == rendered.full.any(0)).all()
    assert rendered.image.shape == (240, 320, 3) and rendered.image.dtype == np.uint8
