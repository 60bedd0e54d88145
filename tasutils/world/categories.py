"""The things of the embedded world: what they are called and what they are (WordNet 3.0)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache

from tasutils.errors import TasError
from tasutils.paths import REFSCENES

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

    @property
    def words(self) -> frozenset[str]:
        """Every word by which the table says this thing may be called."""
        return frozenset({self.name, *self.synonyms, *self.hypernyms})


def _split(cell: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in cell.split("|") if word.strip())


@cache
def load_categories() -> tuple[Category, ...]:
    """Read ``data/refscenes/categories.csv``, ordered by id.

    Raises:
        TasError: when the table is missing.
    """
    path = REFSCENES / "categories.csv"
    if not path.is_file():
        raise TasError(
            f"{path}: the category table of RefScenes is missing; restore the folder data/refscenes"
        )
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    categories = [
        Category(
            id=int(row["id"]),
            slug=row["slug"],
            name=row["name"],
            plural=row["plural"],
            synset=row["synset"],
            group=row["group"],
            seen=row["seen"] == "1",
            synonyms=_split(row["synonyms"]),
            hypernyms=_split(row["hypernyms"]),
            colors={style: row[column] or None for style, column in COLOR_COLUMNS.items()},
            recolor=row["recolor"] == "1",
            scale=float(row["scale"]),
        )
        for row in rows
    ]
    return tuple(sorted(categories, key=lambda category: category.id))


@cache
def by_slug() -> dict[str, Category]:
    """Categories by their slug."""
    return {category.slug: category for category in load_categories()}


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
