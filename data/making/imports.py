"""Remake the sprites, once, when a category table changes: from emoji packages, and photographs.

`fluent` is the `assets` folder of the npm package `@lobehub/fluent-emoji-3d`, `noto` the file
NotoColorEmoji.ttf of Debian's `fonts-noto-color-emoji`, `twemoji` the `svg` folder of the npm
package `@twemoji/svg`, `stamps` the folder of Debian's `tuxpaint-stamps-default`.
"""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image, ImageDraw, ImageFont, features

from making.categories import photo_styles, read_table
from making.sprites import sprite_path
from tasutils.errors import TasError
from tasutils.paths import PHOTOSCENES, REFSCENES, weights_path

SIDE, PHOTO_SIDE = 112, 192
ALPHA_FLOOR = 8
QUALITY = 88
# Below this part of the square canvas a picture is a missing glyph or a hairline.
MIN_VISIBLE = 0.02
# The only size at which Noto's embedded bitmaps exist, in pixels per em.
NOTO_SIZE = 109
SVG_SIDE = 224


def find_file(folder: Path, hexcode: str, suffix: str) -> Path:
    """The file of an emoji; packages disagree on whether the selector FE0F belongs to its name."""
    code = hexcode.lower()
    bare = code.replace("-fe0f", "")
    first, dash, rest = bare.partition("-")
    for stem in (code, bare, f"{first}-fe0f{dash}{rest}"):
        if (path := folder / f"{stem}{suffix}").exists():
            return path
    raise TasError(f"no {suffix} file for {hexcode} in {folder}; choose another emoji")


def noto_drawer(font_file: Path) -> Callable[[str], Image.Image]:
    """A function that renders an emoji with the Noto colour font."""
    if not features.check("raqm"):  # without it joined sequences fall apart
        raise TasError("Pillow has no libraqm; install it: pip install --upgrade Pillow")
    font = ImageFont.truetype(str(font_file), size=NOTO_SIZE)

    def draw(hexcode: str) -> Image.Image:
        text = "".join(chr(int(part, 16)) for part in hexcode.split("-"))
        text = text if len(text) > 1 else text + "\ufe0f"
        if font.getlength(text) > 1.5 * font.getlength("\U0001f34e"):
            raise TasError(f"{hexcode} renders as several glyphs in {font_file.name}")
        image, corner = Image.new("RGBA", (3 * NOTO_SIZE,) * 2), (NOTO_SIZE // 2,) * 2
        ImageDraw.Draw(image).text(corner, text, font=font, embedded_color=True)
        return image

    return draw


def twemoji_drawer(folder: Path) -> Callable[[str], Image.Image]:
    """A function that renders the Twemoji drawing of an emoji."""
    renderer = shutil.which("rsvg-convert")
    if renderer is None:
        raise TasError("rsvg-convert is missing; install it: apt-get install librsvg2-bin")

    def draw(hexcode: str) -> Image.Image:
        source = find_file(folder, hexcode, ".svg")
        command = [renderer, "-w", str(SVG_SIDE), "-h", str(SVG_SIDE), str(source)]
        done = subprocess.run(command, check=True, capture_output=True)
        return Image.open(io.BytesIO(done.stdout)).convert("RGBA")

    return draw


def visible_box(image: Image.Image) -> tuple[int, int, int, int]:
    """The box (x0, y0, x1, y1; end-exclusive, px) of what is visible in an RGBA picture."""
    visible = image.getchannel("A").point(lambda value: 255 if value > ALPHA_FLOOR else 0)
    box = visible.getbbox() or (0, 0, 0, 0)
    side = max(box[2] - box[0], box[3] - box[1])
    if not side or visible.histogram()[255] < MIN_VISIBLE * side**2:
        raise TasError("next to nothing of the picture is visible")
    return box


def save_sprite(image: Image.Image, path: Path, side: int) -> int:
    """Crop an RGBA picture to what is visible, scale its longer side to ``side``; bytes written."""
    cropped = image.crop(visible_box(image))
    scale = side / max(cropped.size)
    size = [max(1, round(length * scale)) for length in cropped.size]
    # Premultiplied, so that hidden colours do not bleed into the rim.
    sprite = cropped.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")
    path.parent.mkdir(parents=True, exist_ok=True)
    sprite.save(path, "WEBP", quality=QUALITY, alpha_quality=95, method=6)
    return path.stat().st_size


def _keep_only(folder: Path, written: set[Path]) -> None:
    for stale in set(folder.glob("*.webp")) - written:
        stale.unlink()


def import_sprites(fluent: Path, noto: Path, twemoji: Path) -> dict[str, tuple[int, int]]:
    """Write data/refscenes/sprites/STYLE/SLUG.webp; count and bytes by style."""
    drawers = {
        "fluent": lambda code: Image.open(find_file(fluent, code, ".webp")).convert("RGBA"),
        "noto": noto_drawer(noto),
        "twemoji": twemoji_drawer(twemoji),
    }
    rows, told = read_table(REFSCENES / "categories.csv"), {}
    for style, draw in drawers.items():
        size, written = 0, set()
        for row in rows:
            path = sprite_path(style, row["slug"])
            try:
                size += save_sprite(draw(row["hexcode"]), path, SIDE)
            except TasError as error:
                raise TasError(f"{style}, category {row['slug']}: {error}") from None
            written.add(path)
        _keep_only(path.parent, written)
        told[style] = (len(written), size)
    return told


def import_photographs(stamps: Path) -> tuple[int, int]:
    """Write data/photoscenes/sprites/photo/NAME.webp, never larger than the photographs.

    The columns `native_px` (longest visible side of each photograph) and `in_imagenet` of the
    table are filled in. Returns the number of categories and the sprites' bytes.
    """
    table = PHOTOSCENES / "categories.csv"
    rows, written, size = read_table(table), set(), 0
    for row in rows:
        names, native = row["file"].split("|"), []
        for style, name in zip(photo_styles(len(names)), names, strict=True):
            if not (stamps / name).is_file():
                raise TasError(f"{stamps / name}: no such stamp; tuxpaint-stamps-default has it")
            with Image.open(stamps / name) as opened:
                picture = opened.convert("RGBA")
            x0, y0, x1, y1 = visible_box(picture)
            native.append(max(x1 - x0, y1 - y0))
            path = sprite_path(style, row["slug"])
            size += save_sprite(picture, path, min(PHOTO_SIDE, native[-1]))
            written.add(path)
        row["native_px"] = "|".join(map(str, native))
        row["in_imagenet"] = str(int(in_imagenet(row["synset"], row["name"])))
    _keep_only(path.parent, written)
    pd.DataFrame(rows).to_csv(table, index=False, lineterminator="\n")
    return len(rows), size


def in_imagenet(synset_name: str, name: str) -> bool:
    """Whether a category is an ImageNet-1k class, or above or below one in WordNet.

    A class of the same lexicographer file that is called like the category counts as well:
    WordNet parts "cock, adult male chicken" from ImageNet's "cock, adult male bird".

    Args:
        synset_name: a WordNet 3.0 noun synset, for example "dog.n.01"; ``name``: the category's.
    """
    from tasutils.language.wordnet import wordnet

    synset, (classes, named) = wordnet().synset(synset_name), _imagenet()
    above = synset.closure(lambda s: s.hypernyms() + s.instance_hypernyms())
    below = synset.closure(lambda s: s.hyponyms() + s.instance_hyponyms())
    if not {synset, *above, *below}.isdisjoint(classes):
        return True
    words = {synset.lemma_names()[0], name.replace(" ", "_")}
    return not named.isdisjoint((synset.lexname(), word) for word in words)


@cache
def _imagenet() -> tuple[frozenset[Any], frozenset[tuple[str, str]]]:
    """The WordNet 3.0 synsets of the ImageNet-1k classes (timm's list), and their lemmas."""
    from tasutils.language.wordnet import wordnet

    listed = weights_path("package:timm/data/_info/imagenet_synsets.txt")
    numbers = [int(line[1:]) for line in listed.read_text(encoding="utf-8").split()]
    synsets = frozenset(wordnet().synset_from_pos_and_offset("n", number) for number in numbers)
    return synsets, frozenset((s.lexname(), word) for s in synsets for word in s.lemma_names())
