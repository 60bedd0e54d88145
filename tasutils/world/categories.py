"""The things of the embedded world: what they are called and what they are (WordNet 3.0)."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tasutils.errors import TasError
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

    @property
    def words(self) -> frozenset[str]:
        """Every word by which the table says this thing may be called."""
        return frozenset({self.name, *self.synonyms, *self.hypernyms})


def _split(cell: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in cell.split("|") if word.strip())


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a category table.

    Raises:
        TasError: when the table is missing.
    """
    if not path.is_file():
        raise TasError(
            f"{path}: the category table is missing; restore the folder {path.parent} "
            "from the repository"
        )
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def load_categories() -> tuple[Category, ...]:
    """The drawn things, ``data/refscenes/categories.csv``, ordered by id.

    Raises:
        TasError: when the table is missing.
    """
    categories = [
        Category(
            **_names(row),
            seen=row["seen"] == "1",
            colors={style: row[column] or None for style, column in COLOR_COLUMNS.items()},
            recolor=row["recolor"] == "1",
        )
        for row in read_table(REFSCENES / "categories.csv")
    ]
    return tuple(sorted(categories, key=lambda category: category.id))


def _names(row: dict[str, str]) -> dict[str, Any]:
    """What both tables say alike."""
    return {
        "id": int(row["id"]),
        "scale": float(row["scale"]),
        "synonyms": _split(row["synonyms"]),
        "hypernyms": _split(row["hypernyms"]),
        **{name: row[name] for name in ("slug", "name", "plural", "synset", "group")},
    }


@cache
def photographed_categories() -> tuple[Category, ...]:
    """The photographed things, ``data/photoscenes/categories.csv``, ordered by id.

    Raises:
        TasError: when the table is missing.
    """
    categories = []
    for row in read_table(PHOTOSCENES / "categories.csv"):
        native_px = [int(cell) for cell in row["native_px"].split("|")]
        styles = photo_styles(len(native_px))
        colors = [cell or None for cell in row["color"].split("|")]
        categories.append(
            Category(
                **_names(row),
                seen=False,
                colors=dict(zip(styles, colors, strict=True)),
                recolor=False,
                split=row["split"],
                in_imagenet=row["in_imagenet"] == "1",
                native_px=dict(zip(styles, native_px, strict=True)),
            )
        )
    return tuple(sorted(categories, key=lambda category: category.id))


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
    from tasutils.language.synonyms import wordnet

    synset = wordnet().synset(by_slug()[slug].synset)
    closure = [synset, *synset.closure(lambda s: s.hypernyms() + s.instance_hypernyms())]
    lemmas = {lemma.lower().replace("_", " ") for s in closure for lemma in s.lemma_names()}
    category = by_slug()[slug]
    return frozenset(lemmas | category.words | BROAD_WORDS.get(category.group, set()))
