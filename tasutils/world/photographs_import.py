"""Remake the photographic sprites from Debian's package `tuxpaint-stamps-default`.

Run once, when `data/photoscenes/categories.csv` changes:

    python -m tasutils.world.photographs_import --stamps /usr/share/tuxpaint/stamps

The sprites are written as data/photoscenes/sprites/photo/NAME.webp. The columns `native_px`
(longest visible side of each photograph) and `in_imagenet` of the table are filled in.
"""

from __future__ import annotations

import argparse
import csv
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from tasutils.errors import TasError
from tasutils.paths import PHOTOSCENES, weights_path
from tasutils.world.sprites import sprite_path
from tasutils.world.sprites_import import QUALITY, crop_and_fit, visible_box

SIDE = 192
SEPARATOR = "|"


@cache
def imagenet_synsets() -> tuple[Any, ...]:
    """The WordNet 3.0 synsets of the ImageNet-1k classes, as timm lists them.

    Raises:
        TasError: when timm is not installed.
    """
    from tasutils.language.synonyms import wordnet

    listed = weights_path("package:timm/data/_info/imagenet_synsets.txt")
    if not listed.is_file():
        raise TasError("timm is not installed; install it: pip install timm")
    numbers = [int(line[1:]) for line in listed.read_text(encoding="utf-8").split()]
    return tuple(wordnet().synset_from_pos_and_offset("n", number) for number in numbers)


def in_imagenet(synset_name: str, name: str) -> bool:
    """Whether a category is an ImageNet-1k class, or above or below one in WordNet.

    A class of the same lexicographer file that is called like the category counts as well:
    WordNet parts "cock, adult male chicken" from ImageNet's "cock, adult male bird".

    Args:
        synset_name: a WordNet 3.0 noun synset, for example "dog.n.01".
        name: the category's name.
    """
    from tasutils.language.synonyms import wordnet

    synset = wordnet().synset(synset_name)
    above = synset.closure(lambda s: s.hypernyms() + s.instance_hypernyms())
    below = synset.closure(lambda s: s.hyponyms() + s.instance_hyponyms())
    if not {synset, *above, *below}.isdisjoint(imagenet_synsets()):
        return True
    words = {synset.lemma_names()[0], name.replace(" ", "_")}
    return not _imagenet_words().isdisjoint((synset.lexname(), word) for word in words)


@cache
def _imagenet_words() -> frozenset[tuple[str, str]]:
    """Lexicographer file and word of every lemma of the ImageNet-1k classes."""
    return frozenset((s.lexname(), word) for s in imagenet_synsets() for word in s.lemma_names())


def import_photographs(stamps: Path, rows: list[dict[str, str]]) -> int:
    """Write every sprite, fill in the measured columns of ``rows``, return the sprites' bytes.

    Args:
        stamps: the folder `stamps` of the package.
        rows: rows of categories.csv, of which slug, synset and file are read.

    Raises:
        TasError: when a photograph is missing or empty.
    """
    folder = sprite_path("photo", "any").parent
    folder.mkdir(parents=True, exist_ok=True)
    written: set[Path] = set()
    for row in rows:
        native = []
        for number, name in enumerate(row["file"].split(SEPARATOR), start=1):
            target = sprite_path(f"photo{number}" if number > 1 else "photo", row["slug"])
            native.append(str(_import_one(stamps / name, target)))
            written.add(target)
        row["native_px"] = SEPARATOR.join(native)
        row["in_imagenet"] = str(int(in_imagenet(row["synset"], row["name"])))
    for stale in set(folder.glob("*.webp")) - written:
        stale.unlink()
    return sum(path.stat().st_size for path in written)


def _import_one(source: Path, target: Path) -> int:
    """Write one sprite, never larger than its photograph; the photograph's longest side, px."""
    if not source.is_file():
        raise TasError(f"{source}: no such stamp; install it: apt install tuxpaint-stamps-default")
    with Image.open(source) as opened:
        picture = opened.convert("RGBA")
    try:
        x0, y0, x1, y1 = visible_box(picture)
        native = max(x1 - x0, y1 - y0)
        sprite = crop_and_fit(picture, min(SIDE, native))
    except ValueError as error:
        raise TasError(f"{source}: {error}; drop it from categories.csv") from None
    sprite.save(target, "WEBP", quality=QUALITY, alpha_quality=95, method=6)
    return native


def main(argv: list[str] | None = None) -> None:
    """Read the arguments, write the sprites and complete the table."""
    parser = argparse.ArgumentParser(description="Remake the photographic sprites.")
    parser.add_argument("--stamps", type=Path, required=True, help="the package's folder stamps")
    args = parser.parse_args(argv)
    table = PHOTOSCENES / "categories.csv"
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    size = import_photographs(args.stamps, rows)
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"photo: {len(rows)} categories, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
