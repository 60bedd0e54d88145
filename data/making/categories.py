"""The things of the embedded world: what they are called and what they are (WordNet 3.0)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

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
    """One kind of thing.

    Attributes:
        id: stable positive number, the COCO category id.
        slug: file name of its sprites.
        name: canonical singular noun phrase; ``plural`` its plural.
        synset: WordNet 3.0 noun synset, for example ``"fire_engine.n.01"``.
        group: coarse kind (animal, person, food, vehicle, ...).
        seen: False for the 40 categories that never enter any training.
        synonyms: other names that mean the same.
        hypernyms: everyday words for a wider kind, most specific first.
        colors: by drawing style, the colour a person would name, None where no single one fits.
        recolor: True where a change of hue looks natural.
        scale: natural relative size, 1 is typical.
        split: of a photographed category the split it belongs to (train, valP, testP), else empty.
        in_imagenet: of a photographed category, whether ImageNet-1k has it, or a wider or narrower
            kind.
        native_px: by style, the longest side of the photograph, px; empty where sprites are drawn.
        captions: by style, the photograph's own description; empty where sprites are drawn.
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
    captions: dict[str, str] = field(default_factory=dict)

    @property
    def words(self) -> frozenset[str]:
        """Every word by which the table says this thing may be called."""
        return frozenset({self.name, *self.synonyms, *self.hypernyms})


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a category table, every cell as text."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _category(row: dict[str, str]) -> Category:
    if "split" in row:  # photographed
        styles = photo_styles(row["file"].count("|") + 1)
        by_style = {
            column: dict(zip(styles, row[column].split("|"), strict=True))
            for column in ("color", "native_px", "caption")
        }
    else:
        by_style = {"color": {style: row[column] for style, column in COLOR_COLUMNS.items()}}
    return Category(
        id=int(row["id"]),
        slug=row["slug"],
        name=row["name"],
        plural=row["plural"],
        synset=row["synset"],
        group=row["group"],
        seen=row.get("seen") == "1",
        synonyms=tuple(filter(None, row["synonyms"].split("|"))),
        hypernyms=tuple(filter(None, row["hypernyms"].split("|"))),
        colors={style: color or None for style, color in by_style["color"].items()},
        recolor=row.get("recolor") == "1",
        scale=float(row["scale"]),
        split=row.get("split", ""),
        in_imagenet=row.get("in_imagenet") == "1",
        native_px={style: int(px) for style, px in by_style.get("native_px", {}).items()},
        captions=by_style.get("caption", {}),
    )


def _read(folder: Path) -> tuple[Category, ...]:
    rows = read_table(folder / "categories.csv")
    return tuple(sorted(map(_category, rows), key=lambda category: category.id))


@cache
def load_categories() -> tuple[Category, ...]:
    """The drawn things, ``data/refscenes/categories.csv``, ordered by id."""
    return _read(REFSCENES)


@cache
def photographed_categories() -> tuple[Category, ...]:
    """The photographed things, ``data/photoscenes/categories.csv``, ordered by id."""
    return _read(PHOTOSCENES)


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

    Wider than `Category.words`: an expression is only unambiguous when no *other* thing
    matches even by these.
    """
    from tasutils.language.wordnet import wordnet

    category = by_slug()[slug]
    synset = wordnet().synset(category.synset)
    closure = [synset, *synset.closure(lambda s: s.hypernyms() + s.instance_hypernyms())]
    lemmas = {lemma.lower().replace("_", " ") for s in closure for lemma in s.lemma_names()}
    return frozenset(lemmas | category.words | BROAD_WORDS.get(category.group, set()))
