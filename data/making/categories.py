"""The things of the embedded world: what they are called and what they are (WordNet 3.0)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from tasutils.paths import PHOTOSCENES, REFSCENES

COLOR_COLUMNS = {"fluent": "color", "noto": "color_noto", "twemoji": "color_twemoji"}
#: words that a reader grants to every thing of a group, though WordNet does not
BROAD_WORDS: dict[str, set[str]] = {
    "person": {"man", "woman", "boy", "girl", "person", "guy", "lady", "child", "kid", "adult"},
    "vehicle": {"vehicle", "car"},
    "food": {"food", "snack"},
    "clothing": {"clothing", "article of clothing", "garment", "shoe"},
    "building": {"building"},
    "plant": {"plant", "flower"},
}
PEOPLE_AND_ANIMALS = frozenset({"person", "animal"})


@dataclass(frozen=True)
class Category:
    """One kind of thing, drawn (the last three fields are empty) or photographed.

    Attributes:
        id: COCO category id; ``slug``: file name of its sprites; ``name``: singular noun phrase.
        synset: WordNet 3.0 noun, such as ``"fire_engine.n.01"``; ``group``: animal, food, ...
        seen: False for the 40 categories that never enter any training.
        hypernyms: everyday words for a wider kind, most specific first.
        colors: by drawing style, the colour a person would name; None where no single one fits.
        recolor: a change of hue looks natural; ``scale``: natural relative size, 1 is typical.
        split: train, valP or testP; ``in_imagenet``: ImageNet-1k has it, or a wider or narrower.
        native_px: by style, the longest side of the photograph, px.
    """

    id: int
    slug: str
    name: str
    plural: str
    synset: str
    group: str
    seen: bool
    synonyms: tuple[str, ...]
    hypernyms: tuple[str, ...]
    colors: dict[str, str | None]
    recolor: bool
    scale: float
    split: str = ""
    in_imagenet: bool = False
    native_px: dict[str, int] = field(default_factory=dict)

    @cached_property
    def words(self) -> frozenset[str]:
        """Every word by which the table says this thing may be called."""
        return frozenset({self.name, *self.synonyms, *self.hypernyms})


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a category table, every cell as text."""
    rows: Any = pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records")
    return list(rows)


def _category(row: dict[str, str]) -> Category:
    colors, native_px = {style: row.get(column, "") for style, column in COLOR_COLUMNS.items()}, {}
    if "file" in row:
        styles = photo_styles(row["file"].count("|") + 1)
        colors = dict(zip(styles, row["color"].split("|"), strict=True))
        native_px = dict(zip(styles, map(int, row["native_px"].split("|")), strict=True))
    given: Any = {name: row[name] for name in ("slug", "name", "plural", "synset", "group")}
    return Category(
        **given,
        id=int(row["id"]),
        seen=row.get("seen") == "1",
        synonyms=tuple(filter(None, row["synonyms"].split("|"))),
        hypernyms=tuple(filter(None, row["hypernyms"].split("|"))),
        colors={style: color or None for style, color in colors.items()},
        recolor=row.get("recolor") == "1",
        scale=float(row["scale"]),
        split=row.get("split", ""),
        in_imagenet=row.get("in_imagenet") == "1",
        native_px=native_px,
    )


@cache
def load_categories() -> tuple[Category, ...]:
    """The drawn things, ``data/refscenes/categories.csv``, ordered by id."""
    return tuple(map(_category, read_table(REFSCENES / "categories.csv")))


@cache
def photographed_categories() -> tuple[Category, ...]:
    """The photographed things, ``data/photoscenes/categories.csv``, ordered by id."""
    return tuple(map(_category, read_table(PHOTOSCENES / "categories.csv")))


def photo_styles(count: int) -> tuple[str, ...]:
    """Style names of the photographs of one category.

    >>> photo_styles(3)
    ('photo', 'photo2', 'photo3')
    """
    return ("photo", *(f"photo{number}" for number in range(2, count + 1)))


@cache
def by_slug() -> dict[str, Category]:
    """All categories, drawn and photographed, by their slug."""
    return {c.slug: c for c in (*load_categories(), *photographed_categories())}


@cache
def closure_words(slug: str) -> frozenset[str]:
    """Every word that WordNet's hypernym closure allows for a category, besides the table's own.

    An expression is unambiguous when no *other* thing matches even by these.
    """
    from tasutils.language.wordnet import wordnet

    category = by_slug()[slug]
    synset = wordnet().synset(category.synset)
    closure = [synset, *synset.closure(lambda s: s.hypernyms() + s.instance_hypernyms())]
    lemmas = {lemma.lower().replace("_", " ") for s in closure for lemma in s.lemma_names()}
    return frozenset(lemmas | category.words | BROAD_WORDS.get(category.group, set()))
