"""Make the world and the tiny weights anew: `python data/making COMMAND`, each with --help.

The order in which what ships was made: sprites, photographs, build, tokenizer, scenes, train and
export of tiny-RN, tiny-ViT, sam, blip2; free-masks, then freesolo; pairs, then tseg. Trainings keep
checkpoints in results/training and go on from there; only `export` writes data/weights/tiny.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tasutils.errors import TasError
from tasutils.paths import PHOTOSCENES, REFSCENES

MODELS = ("tiny-RN", "tiny-ViT", "sam", "blip2", "freesolo", "tseg")


def build(check: bool) -> int:
    """Draw RefScenes and its photographic splits from their seeds, byte for byte."""
    from making.build import PHOTO_SPLITS, SPLITS
    from making.write import build_world, differences

    different: list[str] = []
    for stored, splits in {REFSCENES: SPLITS, PHOTOSCENES: PHOTO_SPLITS}.items():
        if not check:
            build_world(stored, splits)
            print("wrote", stored)
            continue
        with TemporaryDirectory() as folder:
            build_world(Path(folder), splits)
            different += [f"{stored.name}/{name}" for name in differences(Path(folder), stored)]
    for name in different:
        print("differs:", name, file=sys.stderr)
    if check:
        print("the world differs" if different else "byte for byte what its seeds give")
    return int(bool(different))


def sprites(fluent: Path, noto: Path, twemoji: Path) -> None:
    """Write the drawn sprites of refscenes/categories.csv from three emoji packages."""
    from making.imports import import_sprites

    for style, (count, size) in import_sprites(fluent, noto, twemoji).items():
        print(f"{style}: {count} sprites, {size / 1e6:.2f} MB")


def photographs(stamps: Path) -> None:
    """Write the photographic sprites; fill in what photoscenes/categories.csv says of them."""
    from making.imports import import_photographs

    count, size = import_photographs(stamps)
    print(f"photo: {count} categories, {size / 1e6:.2f} MB")


def tokenizer(check: bool) -> int:
    """Learn the tiny vocabulary from the words of the seen categories; the same bytes each time."""
    from making.tokenizer import TOKENIZER, merges_bytes

    found = merges_bytes()
    if not check:
        TOKENIZER.write_bytes(found)
    same = TOKENIZER.read_bytes() == found
    print(TOKENIZER, "as learned" if same else "differs")
    return int(not same)


def scenes(scenes: int, workers: int, photographs: int) -> None:
    """Draw the training scenes, with and without photographic cut-outs."""
    from making.pools import FIRST_PHOTO_SEED, PHOTO_POOL, POOL, fill_pool

    fill_pool(POOL, scenes, workers)
    fill_pool(PHOTO_POOL, photographs, workers, FIRST_PHOTO_SEED)


def free_masks(scenes: int, first_shard: int) -> None:
    """Free masks of training scenes, what freesolo learns from: about a second a scene."""
    from making.freesolo import FREE_MASKS, fill_free_masks

    fill_free_masks(FREE_MASKS, scenes, first_shard=first_shard)


def pairs(shards: int) -> None:
    """Pictures and sentences of training scenes, what tseg learns from."""
    from making.tseg import PAIRS, fill_pairs

    fill_pairs(PAIRS, shards)


def train(model: str, minutes: float, seed: int, threads: int, text_from: Path | None) -> None:
    """Train a tiny model, or go on with it."""
    from making.captioner import train_captioner
    from making.clip import train_clip
    from making.freesolo import train_freesolo
    from making.pools import TRAINING
    from making.sam import train_sam
    from making.tseg import train_tseg

    how: Any = {"minutes": minutes, "folder": TRAINING / model, "seed": seed, "threads": threads}
    others: Any = {"sam": train_sam, "blip2": train_captioner, "freesolo": train_freesolo}
    if model.startswith("tiny-"):
        train_clip(model, text_from=text_from, **how)
    else:
        others.get(model, train_tseg)(**how)


def export(models: list[str], score_images: int | None, threads: int) -> None:
    """Write trained weights as data/weights/tiny has them, each with a card that scores it."""
    import torch

    from making.export import export as export_one

    torch.set_num_threads(threads)
    for model in models:
        print(export_one(model, score_images=score_images).read_text(encoding="utf-8"))


def number(default: float | None, what: str = "default: %(default)s", of: type = int) -> Any:
    """An option that takes a number."""
    return {"type": of, "default": default, "help": what}


def folder(what: str, **rules: Any) -> Any:
    """An option that takes a path."""
    return {"type": Path, "help": what} | rules


CHECK = {"action": "store_true", "help": "write nothing; compare with the files on disk"}
COMMANDS: dict[Callable[..., int | None], dict[str, Any]] = {
    build: {"--check": CHECK},
    sprites: {
        "--fluent": folder("`assets` of @lobehub/fluent-emoji-3d (npm)", required=True),
        "--noto": folder("NotoColorEmoji.ttf of fonts-noto-color-emoji", required=True),
        "--twemoji": folder("`svg` of @twemoji/svg (npm)", required=True),
    },
    photographs: {"--stamps": folder("of tuxpaint-stamps-default (Debian)", required=True)},
    tokenizer: {"--check": CHECK},
    scenes: {"--scenes": number(10_000), "--workers": number(1), "--photographs": number(6_000)},
    free_masks: {"--scenes": number(1000), "--first-shard": number(0)},
    pairs: {"--shards": number(30)},
    train: {
        "model": {"choices": MODELS},
        "--minutes": number(25, "over all sessions; the one knob (default: 25)", float),
        "--seed": number(0),
        "--threads": number(1),
        "--text-from": folder("of tiny-ViT: a CLIP whose text tower it takes over"),
    },
    export: {
        "models": {"choices": MODELS, "nargs": "+"},
        "--score-images": number(None, "of val; default: all"),
        "--threads": number(1),
    },
}


def main() -> int:
    """Run the command that is asked for."""
    parser = argparse.ArgumentParser(prog="python data/making", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for run, options in COMMANDS.items():
        name, about = run.__name__.replace("_", "-"), run.__doc__
        command = commands.add_parser(name, help=about, description=about)
        command.set_defaults(run=run)
        for name, rules in options.items():
            command.add_argument(name, **rules)
    given = vars(parser.parse_args())
    try:
        return given.pop("run")(**given) or 0
    except TasError as error:
        print(f"making: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
