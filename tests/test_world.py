"""The embedded world: frozen assertions, exact expressions, the same bytes from the same seeds."""

from __future__ import annotations

import filecmp
import json
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from making.build import PHOTO_SPLITS, SPLITS
from making.categories import closure_words, load_categories
from making.expressions import FAMILIES
from making.layout import UP_TO_THE_PICTURE, random_scene, training_scene
from making.queries import Query, View, execute
from making.render import render
from making.sprites import (
    COLORS,
    TRAIN_STYLES,
    color_name,
    hsv_to_rgb,
    load_sprite,
    paints_for,
    rgb_to_hsv,
    shares,
)
from making.write import build_world, differences
from tasutils.datasets.shipped import Family
from tasutils.language.wordnet import wordnet
from tasutils.masks import decode_rle
from tasutils.paths import REFSCENES

DIRECTION_WORDS = {
    *("left", "right", "leftmost", "rightmost", "top", "topmost", "upper", "up", "above"),
    *("bottom", "lower", "lowest", "below", "under", "underneath", "higher", "down"),
}  # fmt: skip


@cache
def things() -> pd.DataFrame:
    return pd.read_parquet(REFSCENES / "scenes.parquet")


@cache
def expressions() -> pd.DataFrame:
    return pd.read_parquet(REFSCENES / "expressions.parquet")


def stored_view(rows: pd.DataFrame) -> View:
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


def test_categories_resolve_and_are_named_truly() -> None:
    categories = load_categories()
    assert len(categories) >= 250
    assert sum(not category.seen for category in categories) == 40
    assert len({category.id for category in categories}) == len(categories)
    for category in categories:
        assert wordnet().synset(category.synset).pos() == "n"
        assert set(category.hypernyms) <= closure_words(category.slug)
        for style in (*TRAIN_STYLES, "twemoji"):
            assert load_sprite(style, category.slug).shape[2] == 4


def test_sizes_of_the_world() -> None:
    assert (things().groupby("split")["image_id"].nunique() == 200).all()
    counts = things().groupby("image_id").size()
    assert counts.between(3, 10).all()
    per_target = expressions().query("family == 'refscenes'").groupby("ref_id").size()
    assert 2.5 < per_target.mean() <= 3
    assert 2.5 < things().groupby("image_id")["target"].sum().mean() <= 3
    size = sum(path.stat().st_size for path in REFSCENES.rglob("*") if path.is_file())
    assert size <= 22e6


@pytest.mark.parametrize("split", SPLITS)
def test_frozen_shares(split: str) -> None:
    """Set before any training; the world may not become easier to please a number."""
    targets = things().query("split == @split and target")
    assert targets.groupby("image_id")["distractor"].any().mean() >= 0.6
    hidden = targets["hidden_fraction"].between(0.1, 0.6).mean()
    assert 0.25 <= hidden <= 0.35
    sentences = expressions().query("split == @split")
    short = sentences.query("family == 'refscenes'")
    assert 0.45 <= short["has_direction"].mean() <= 0.55
    hard = short.query("has_direction")["kind"].isin(["side relation", "ordinal"]).mean()
    assert 0.2 <= hard <= 0.3
    assert 0.08 <= sentences.query("family == 'refscenesg'")["pronoun"].mean() <= 0.12
    assert not sentences.query("family == 'refscenes+'")["has_direction"].any()


def test_direction_flag_agrees_with_the_words() -> None:
    short = expressions().query("family in ['refscenes', 'refscenes+']")
    spoken = short["text"].map(lambda text: bool(set(text.split()) & DIRECTION_WORDS))
    assert (spoken == short["has_direction"]).all()


def test_test_splits_ask_for_their_own_groups() -> None:
    lively = {"person", "animal"}
    targets = things().query("target")
    assert set(targets.query("split == 'testA'")["group"]) <= lively
    assert not set(targets.query("split == 'testB'")["group"]) & lively
    assert set(things().query("split == 'testS'")["style"]) == {"twemoji"}
    assert set(things().query("split != 'testS'")["style"]) <= set(TRAIN_STYLES)


def test_every_expression_means_exactly_its_targets() -> None:
    views = {image_id: stored_view(rows) for image_id, rows in things().groupby("image_id")}
    columns = ["image_id", "query", "targets"]
    for image_id, query, targets in expressions()[columns].itertuples(index=False):
        found, clear = execute(Query.from_dict(json.loads(query)), views[image_id])
        assert clear and sorted(found) == list(targets), (image_id, query)


def test_sentences_of_one_target_differ() -> None:
    assert not expressions().duplicated(["family", "image_id", "ref_id", "text"]).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_all_families_are_there(family: str) -> None:
    counts = expressions().query("family == @family").groupby("split").size()
    assert set(counts.index) == set(SPLITS) and counts.min() > 300


def test_stored_masks_are_the_visible_parts() -> None:
    stored = json.loads((REFSCENES / "refscenes" / "instances.json").read_text(encoding="utf-8"))
    by_image: dict[int, list[dict]] = {}
    for annotation in stored["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    table = things().set_index("ann_id")
    for listed in list(by_image.values())[::20]:
        masks = decode_rle([annotation["segmentation"] for annotation in listed])
        assert masks.sum(0).max() == 1, "visible parts never overlap"
        for annotation, mask in zip(listed, masks, strict=True):
            assert mask.sum() == table.loc[annotation["id"], "area_px"] == annotation["area"]


def test_same_seeds_same_bytes(tmp_path) -> None:
    """The first pictures of every split, drawn again, are the stored files."""
    build_world(tmp_path, limit=4, progress=False)
    pictures = sorted((tmp_path / "images").iterdir())
    assert len(pictures) == 4 * len(SPLITS)
    for picture in pictures:
        assert filecmp.cmp(picture, REFSCENES / "images" / picture.name, shallow=False)
    drawn = pd.read_parquet(tmp_path / "scenes.parquet")
    kept = things()[things()["image_id"].isin(drawn["image_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(drawn, kept)
    again = pd.read_parquet(tmp_path / "expressions.parquet").drop(columns="sent_id")
    stored = expressions()[expressions()["image_id"].isin(drawn["image_id"])]
    pd.testing.assert_frame_equal(again, stored.drop(columns="sent_id").reset_index(drop=True))


def test_differences_name_changed_missing_and_extra_files(tmp_path) -> None:
    for name in ("fresh", "stored"):
        (tmp_path / name / "images").mkdir(parents=True)
        for number in ("1", "2"):
            (tmp_path / name / "images" / number).write_text(number)
    fresh, stored = tmp_path / "fresh", tmp_path / "stored"
    (stored / "LICENSES.md").touch()  # not built: none of its business
    assert differences(fresh, stored) == []
    (stored / "images/1").write_text("changed")
    (stored / "images/2").unlink()
    (stored / "images/3").touch()
    assert differences(fresh, stored) == ["images/1", "images/2", "images/3"]


def test_splits_are_those_of_the_reader() -> None:
    assert tuple(SPLITS) == Family.drawn and (*SPLITS, *PHOTO_SPLITS) == Family.splits


def test_training_never_meets_what_is_held_out() -> None:
    unseen = {category.slug for category in load_categories() if not category.seen}
    for seed in range(1_000_000, 1_000_040):
        graph = training_scene(seed)
        assert not unseen & {thing.slug for thing in graph.things}
        assert {thing.style for thing in graph.things} <= set(TRAIN_STYLES)
    with pytest.raises(ValueError, match="kept for stored"):
        training_scene(100_000)


@given(st.integers(0, 2**31))
@settings(max_examples=12, deadline=None)
def test_rendered_masks_are_consistent(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rendered = render(random_scene(rng, TRAIN_STYLES, load_categories(), sizes=UP_TO_THE_PICTURE))
    assert (rendered.visible <= rendered.full).all()
    assert (rendered.visible.sum(0) == rendered.full.any(0)).all()
    assert rendered.image.shape == (240, 320, 3) and rendered.image.dtype == np.uint8


def test_paints_show_their_colour() -> None:
    painted = [category for category in load_categories() if category.recolor]
    assert len(painted) >= 60
    for category in painted[::7]:
        for paint in paints_for("fluent", category.slug):
            assert color_name("fluent", category.slug, paint) == paint
    assert set(COLORS) >= {"red", "orange", "yellow", "green", "blue", "purple", "pink", "brown"}


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_hsv_round_trip(color: tuple[int, int, int]) -> None:
    rgb = np.array([color]) / 255
    np.testing.assert_allclose(hsv_to_rgb(rgb_to_hsv(rgb)), rgb, atol=1e-9)
