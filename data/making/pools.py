"""What trainings draw from: shards of training scenes, made once and shared by every training.

A shard is ``<name>.json``, a list with an entry a scene, and arrays ``<name>.<kind>.npy`` beside.
The json is written last, so that a shard without it is not finished. Nothing is ever pickled.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from making.layout import (
    FIRST_PHOTO_SEED,
    FIRST_TRAINING_SEED,
    training_photo_scene,
    training_scene,
)
from making.render import Rendered, render
from making.words import crop_caption, scene_caption, thing_phrase
from tasutils.errors import TasError
from tasutils.paths import RESULTS

SHARD_SCENES = 200
PHRASES_PER_THING = 6
TRAINING = RESULTS / "training"
POOL, PHOTO_POOL = TRAINING / "pool", TRAINING / "photo_pool"


def write_shard(folder: Path, name: str, rows: Sequence[Any], **arrays: np.ndarray) -> None:
    """Write one shard whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, array in arrays.items():
        np.save(folder / f"{name}.{kind}.npy", array)
    part = folder / f"{name}.json.part"
    part.write_text(json.dumps(rows), encoding="utf-8")
    os.replace(part, folder / f"{name}.json")


class Shards:
    """Random access to the finished shards of a folder, which may still be growing.

    Args:
        kinds: of the arrays; ``arrays``: their folder, where it is another one.
        advice: what to do when there is no shard (TasError); empty: nothing need be there.
    """

    def __init__(
        self, folder: Path, kinds: Sequence[str], arrays: Path | None = None, advice: str = ""
    ) -> None:
        self.folder, self.kinds, self.arrays = folder, kinds, arrays or folder
        self.shards: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {}
        self.refresh()
        if advice and not self.shards:
            raise TasError(f"{folder} holds nothing yet; make it with: python data/making {advice}")

    def refresh(self) -> None:
        """Notice shards that were finished since."""
        for path in sorted(self.folder.glob("*.json")):
            if path.stem not in self.shards:
                rows = json.loads(path.read_text(encoding="utf-8"))
                files = {kind: self.arrays / f"{path.stem}.{kind}.npy" for kind in self.kinds}
                maps = {kind: np.load(file, mmap_mode="r") for kind, file in files.items()}
                self.shards[path.stem] = (rows, maps)

    def __len__(self) -> int:
        return sum(len(rows) for rows, _ in self.shards.values())

    def draw_entry(self, rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any], int]:
        """A random entry of a random shard: its row, the shard's arrays, its place in them."""
        rows, arrays = list(self.shards.values())[int(rng.integers(len(self.shards)))]
        index = int(rng.integers(len(rows)))
        return rows[index], arrays, index


@dataclass(frozen=True)
class PoolThing:
    """What a training needs to know of one thing: its category, colour and words."""

    slug: str
    color: str | None
    phrases: Sequence[str]
    caption: str


@dataclass(frozen=True, eq=False)
class PoolScene:
    """One scene: image uint8 (240, 320, 3), labels uint8 (240, 320), its things and caption.

    labels: 0 is background, k the visible part of thing k - 1.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    things: tuple[PoolThing, ...]
    caption: str


class ScenePool(Shards):
    """The training scenes of a folder.

    Args:
        at_least: scenes drawn first when the folder holds fewer (about 20 a second on one core).
        more: further pools; `draw` takes each as likely as the others.
    """

    def __init__(
        self, folder: Path = POOL, at_least: int = SHARD_SCENES, more: Sequence[ScenePool] = ()
    ) -> None:
        super().__init__(folder, ("images", "labels"))
        self.more = more
        if len(self) < at_least:
            fill_pool(folder, at_least)
            self.refresh()

    def of_shard(self, name: str) -> Iterator[PoolScene]:
        """The scenes of one shard."""
        rows, arrays = self.shards[name]
        return (_scene(row, arrays, index) for index, row in enumerate(rows))

    def __iter__(self) -> Iterator[PoolScene]:
        return chain.from_iterable(map(self.of_shard, self.shards))

    def draw(self, rng: np.random.Generator) -> PoolScene:
        """A random scene."""
        pools = [self, *self.more]
        chosen = pools[int(rng.integers(len(pools)))] if self.more else self
        return _scene(*chosen.draw_entry(rng))


def _scene(row: dict[str, Any], arrays: dict[str, Any], index: int) -> PoolScene:
    things = tuple(PoolThing(**thing) for thing in row["things"])
    image, labels = np.array(arrays["images"][index]), np.array(arrays["labels"][index])
    return PoolScene(image, labels, things, row["caption"])


def draw_shard(folder: Path, first_seed: int, scenes: int = SHARD_SCENES) -> None:
    """Draw ``scenes`` training scenes from consecutive seeds into one shard; done ones are kept."""
    if (folder / f"{first_seed}.json").is_file():
        return
    rng = np.random.default_rng(first_seed)
    images, labels, words = [], [], []
    for seed in range(first_seed, first_seed + scenes):
        wide = {"wide_sizes": seed % 2 == 0}
        photographed = seed >= FIRST_PHOTO_SEED
        graph = training_photo_scene(seed) if photographed else training_scene(seed, **wide)
        rendered = render(graph)
        images.append(rendered.image)
        numbers = np.arange(1, len(rendered.visible) + 1, dtype=np.uint8)
        labels.append((rendered.visible * numbers[:, None, None]).max(0).astype(np.uint8))
        words.append(_words(rng, rendered))
    write_shard(folder, str(first_seed), words, images=np.stack(images), labels=np.stack(labels))


def _words(rng: np.random.Generator, rendered: Rendered) -> dict[str, Any]:
    things = [
        {
            "slug": thing.slug, "color": thing.color,
            "phrases": [thing_phrase(rng, thing) for _ in range(PHRASES_PER_THING)],
            "caption": crop_caption(thing),
        }
        for thing in rendered.graph.things
    ]  # fmt: skip
    return {"things": things, "caption": scene_caption(rendered)}


def fill_pool(
    folder: Path, scenes: int, workers: int = 1, first_seed: int = FIRST_TRAINING_SEED
) -> None:
    """Draw shards until the pool holds ``scenes`` scenes, with ``workers`` processes.

    Training scenes use seeds from 1,000,000 on, those of photographic cut-outs from 2,000,000 on.
    """
    seeds = range(first_seed, first_seed + scenes, SHARD_SCENES)
    if workers <= 1:
        for seed in seeds:
            draw_shard(folder, seed)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as processes:
        processes.map(partial(draw_shard, folder), seeds, chunksize=1)


def photo_pool(folder: Path = PHOTO_POOL, scenes: int = 6000) -> ScenePool:
    """Training scenes made of photographic cut-outs, drawn when the folder has none yet."""
    if not any(folder.glob("*.json")):
        fill_pool(folder, scenes, first_seed=FIRST_PHOTO_SEED)
    return ScenePool(folder, at_least=0)
