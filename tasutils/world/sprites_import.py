"""Remake the sprites of RefScenes from the three emoji packages.

Run once, when the category table changes:

    python -m tasutils.world.sprites_import --fluent DIR --noto FONT --twemoji DIR

`--fluent` is the `assets` folder of the npm package `@lobehub/fluent-emoji-3d`, `--noto` the file
NotoColorEmoji.ttf of Debian's `fonts-noto-color-emoji`, `--twemoji` the `svg` folder of the npm
package `@twemoji/svg`. The sprites are written as data/refscenes/sprites/STYLE/SLUG.webp.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, features

WORLD = Path(__file__).resolve().parents[2] / "data" / "refscenes"
SIDE = 112
ALPHA_FLOOR = 8
QUALITY = 88
# Below this part of the square canvas a picture is a missing glyph or a hairline.
MIN_VISIBLE = 0.02
# The only size at which Noto's embedded bitmaps exist, in pixels per em.
NOTO_SIZE = 109
SVG_SIDE = 224

Draw = Callable[[str], Image.Image]


def file_names(hexcode: str) -> Iterator[str]:
    """Yield the stems under which packages may file an emoji, the likeliest first.

    Packages disagree on whether the variation selector FE0F belongs to the name.

    >>> list(file_names("2708"))
    ['2708', '2708-fe0f']
    """
    code = hexcode.lower()
    bare = "-".join(part for part in code.split("-") if part != "fe0f")
    first, _, rest = bare.partition("-")
    second = f"{first}-fe0f" + (f"-{rest}" if rest else "")
    yield from dict.fromkeys((code, bare, second))


def find_file(folder: Path, hexcode: str, suffix: str) -> Path:
    """Return the file of an emoji in a package folder.

    Raises:
        FileNotFoundError: if the folder holds the emoji under none of its names.
    """
    for stem in file_names(hexcode):
        path = folder / f"{stem}{suffix}"
        if path.exists():
            return path
    raise FileNotFoundError(
        f"no {suffix} file for {hexcode} in {folder}; choose another emoji in categories.csv"
    )


def emoji_string(hexcode: str) -> str:
    """Return the characters of an emoji sequence such as `1F468-200D-1F373`."""
    text = "".join(chr(int(part, 16)) for part in hexcode.split("-"))
    return text if len(text) > 1 else text + "\ufe0f"


def draw_fluent(folder: Path) -> Draw:
    """Return a function that reads the Fluent 3D picture of an emoji."""
    return lambda hexcode: Image.open(find_file(folder, hexcode, ".webp")).convert("RGBA")


def draw_noto(font_file: Path) -> Draw:
    """Return a function that renders an emoji with the Noto colour font.

    Raises:
        RuntimeError: if Pillow lacks libraqm, without which joined sequences fall apart.
    """
    if not features.check("raqm"):
        raise RuntimeError("Pillow has no libraqm; install it: pip install --upgrade Pillow")
    font = ImageFont.truetype(str(font_file), size=NOTO_SIZE)

    def draw(hexcode: str) -> Image.Image:
        text = emoji_string(hexcode)
        if font.getlength(text) > 1.5 * font.getlength("\U0001f34e"):
            raise ValueError(f"{hexcode} renders as several glyphs in {font_file.name}")
        image = Image.new("RGBA", (3 * NOTO_SIZE, 3 * NOTO_SIZE))
        pen = ImageDraw.Draw(image)
        pen.text((NOTO_SIZE // 2, NOTO_SIZE // 2), text, font=font, embedded_color=True)
        return image

    return draw


def draw_twemoji(folder: Path) -> Draw:
    """Return a function that renders the Twemoji drawing of an emoji.

    Raises:
        RuntimeError: if rsvg-convert is not on the path.
    """
    renderer = shutil.which("rsvg-convert")
    if renderer is None:
        raise RuntimeError("rsvg-convert is missing; install it: apt-get install librsvg2-bin")

    def draw(hexcode: str) -> Image.Image:
        source = find_file(folder, hexcode, ".svg")
        command = [renderer, "-w", str(SVG_SIDE), "-h", str(SVG_SIDE), str(source)]
        done = subprocess.run(command, check=True, capture_output=True)
        return Image.open(io.BytesIO(done.stdout)).convert("RGBA")

    return draw


def visible_box(image: Image.Image) -> tuple[int, int, int, int]:
    """The box (x0, y0, x1, y1; end-exclusive, px) of what is visible in an RGBA picture.

    Raises:
        ValueError: if next to nothing is visible.
    """
    visible = image.getchannel("A").point(lambda value: 255 if value > ALPHA_FLOOR else 0)
    box = visible.getbbox()
    if box is None:
        raise ValueError("the picture is empty")
    if visible.histogram()[255] < MIN_VISIBLE * max(box[2] - box[0], box[3] - box[1]) ** 2:
        raise ValueError("next to nothing of the picture is visible")
    return box


def crop_and_fit(image: Image.Image, side: int = SIDE) -> Image.Image:
    """Crop an RGBA picture to what is visible and scale its longer side.

    Args:
        image: RGBA picture.
        side: longer side of the result in pixels.

    Raises:
        ValueError: if next to nothing is visible.
    """
    cropped = image.crop(visible_box(image))
    scale = side / max(cropped.size)
    size = [max(1, round(length * scale)) for length in cropped.size]
    # Premultiplied, so that hidden colours do not bleed into the rim.
    return cropped.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")


def import_style(style: str, draw: Draw, categories: list[dict[str, str]]) -> int:
    """Write the sprites of one style and return their size in bytes.

    Args:
        style: folder name under sprites/.
        draw: gives the RGBA picture of a hexcode.
        categories: rows of categories.csv, of which slug and hexcode are read.

    Raises:
        ValueError: if a picture cannot be used, naming the category.
    """
    folder = WORLD / "sprites" / style
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {f"{row['slug']}.webp" for row in categories}
    for stale in folder.glob("*.webp"):
        if stale.name not in wanted:
            stale.unlink()
    total = 0
    for row in categories:
        try:
            sprite = crop_and_fit(draw(row["hexcode"]))
        except (FileNotFoundError, ValueError) as error:
            raise ValueError(f"{style}, category {row['slug']}: {error}") from error
        path = folder / f"{row['slug']}.webp"
        sprite.save(path, "WEBP", quality=QUALITY, alpha_quality=95, method=6)
        total += path.stat().st_size
    return total


def main(argv: list[str] | None = None) -> None:
    """Read the arguments and write the three folders of sprites."""
    parser = argparse.ArgumentParser(description="Remake the sprites of RefScenes.")
    parser.add_argument("--fluent", type=Path, required=True, help="assets of fluent-emoji-3d")
    parser.add_argument("--noto", type=Path, required=True, help="NotoColorEmoji.ttf")
    parser.add_argument("--twemoji", type=Path, required=True, help="svg folder of @twemoji/svg")
    args = parser.parse_args(argv)
    with (WORLD / "categories.csv").open(newline="", encoding="utf-8") as table:
        categories = list(csv.DictReader(table))
    styles = {
        "fluent": draw_fluent(args.fluent),
        "noto": draw_noto(args.noto),
        "twemoji": draw_twemoji(args.twemoji),
    }
    for style, draw in styles.items():
        size = import_style(style, draw, categories)
        print(f"{style}: {len(categories)} sprites, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
