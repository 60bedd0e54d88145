"""Make the world and the tiny weights anew: `python data/making COMMAND`, see --help.

The order in which what ships was made: sprites, photographs, build, tokenizer, scenes, train and
export of tiny-RN, tiny-ViT, sam, blip2; free-masks, then freesolo; pairs, then tseg. Trainings keep
checkpoints in results/training and go on from there; only `export` writes data/weights/tiny.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import typer

from tasutils.errors import TasError
from tasutils.paths import PHOTOSCENES, REFSCENES

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help=__doc__,
    pretty_exceptions_enable=False,
)
Check = Annotated[
    bool, typer.Option("--check", help="Write nothing; compare with the files on disk.")
]


@app.command()
def build(check: Check = False) -> None:
    """Draw RefScenes and its photographic splits from their seeds, byte for byte."""
    from making.write import build_photoscenes, build_world, differences

    different: list[str] = []
    for stored, build_one in {REFSCENES: build_world, PHOTOSCENES: build_photoscenes}.items():
        if not check:
            build_one(stored)
            print("wrote", stored)
            continue
        with TemporaryDirectory() as folder:
            build_one(Path(folder))
            different += [f"{stored.name}/{name}" for name in differences(Path(folder), stored)]
    for name in different:
        print("differs:", name, file=sys.stderr)
    if check:
        print("the world differs" if different else "byte for byte what its seeds give")
    raise typer.Exit(1 if different else 0)


@app.command()
def sprites(
    fluent: Annotated[Path, typer.Option(help="`assets` of @lobehub/fluent-emoji-3d (npm).")],
    noto: Annotated[Path, typer.Option(help="NotoColorEmoji.ttf of fonts-noto-color-emoji.")],
    twemoji: Annotated[Path, typer.Option(help="`svg` of @twemoji/svg (npm).")],
) -> None:
    """Write the drawn sprites of refscenes/categories.csv from three emoji packages."""
    from making.imports import import_sprites

    for style, (count, size) in import_sprites(fluent, noto, twemoji).items():
        print(f"{style}: {count} sprites, {size / 1e6:.2f} MB")


@app.command()
def photographs(
    stamps: Annotated[Path, typer.Option(help="Folder of tuxpaint-stamps-default (Debian).")],
) -> None:
    """Write the photographic sprites; fill in what photoscenes/categories.csv says of them."""
    from making.imports import import_photographs

    count, size = import_photographs(stamps)
    print(f"photo: {count} categories, {size / 1e6:.2f} MB")


@app.command()
def tokenizer(check: Check = False) -> None:
    """Learn the tiny vocabulary from the words of the seen categories; the same bytes each time."""
    from making.tokenizer import TOKENIZER, merges_bytes

    found = merges_bytes()
    if not check:
        TOKENIZER.write_bytes(found)
    same = TOKENIZER.read_bytes() == found
    print(TOKENIZER, "as learned" if same else "differs")
    raise typer.Exit(0 if same else 1)


@app.command()
def scenes(scenes: int = 10_000, workers: int = 1, photographs: int = 6_000) -> None:
    """Draw the training scenes, with and without photographic cut-outs."""
    from making.pools import FIRST_PHOTO_SEED, PHOTO_POOL, POOL, fill_pool

    fill_pool(POOL, scenes, workers)
    fill_pool(PHOTO_POOL, photographs, workers, FIRST_PHOTO_SEED)


@app.command()
def free_masks(scenes: int = 1000, first_shard: int = 0) -> None:
    """Free masks of training scenes, what freesolo learns from: about a second a scene."""
    from making.free_masks import FREE_MASKS, fill_free_masks

    fill_free_masks(FREE_MASKS, scenes, first_shard=first_shard)


@app.command()
def pairs(shards: int = 30) -> None:
    """Pictures and sentences of training scenes, what tseg learns from."""
    from making.tseg_pairs import PAIRS, fill_pairs

    fill_pairs(PAIRS, shards)


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="sam, tiny-RN, tiny-ViT, blip2, freesolo, tseg")],
    minutes: Annotated[float, typer.Option(help="Over all sessions; the one knob.")] = 25,
    seed: int = 0,
    threads: int = 1,
    text_from: Annotated[
        Path | None, typer.Option(help="Of tiny-ViT: a CLIP whose text tower it takes over.")
    ] = None,
) -> None:
    """Train a tiny model, or go on with it."""
    from making.captioner import train_captioner
    from making.clip import PEAK_RATE, train_clip
    from making.freesolo import train_freesolo
    from making.pools import TRAINING
    from making.sam import train_sam
    from making.tseg import train_tseg

    folder = TRAINING / model
    others: dict[str, Callable[..., Any]] = {
        "sam": train_sam, "blip2": train_captioner, "freesolo": train_freesolo, "tseg": train_tseg,
    }  # fmt: skip
    if model in PEAK_RATE:
        train_clip(model, minutes, folder, seed=seed, threads=threads, text_from=text_from)
    elif model in others:
        others[model](minutes, folder, seed=seed, threads=threads)
    else:
        raise TasError(f"no model {model!r}; there are {', '.join([*others, *PEAK_RATE])}")


@app.command()
def export(
    models: Annotated[list[str], typer.Argument(help="As in train.")],
    score_images: Annotated[int | None, typer.Option(help="Of val; default: all.")] = None,
    threads: int = 1,
) -> None:
    """Write trained weights as data/weights/tiny has them, each with a card that scores it."""
    import torch

    from making.export import export as export_one

    torch.set_num_threads(threads)
    for model in models:
        print(export_one(model, score_images=score_images).read_text(encoding="utf-8"))


if __name__ == "__main__":
    try:
        app()
    except TasError as error:
        sys.exit(f"making: {error}")
