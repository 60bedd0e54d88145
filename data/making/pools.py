"""Training scenes, drawn once by worker processes and shared by every training.

A pool is a folder of shards. A shard holds ``SHARD_SCENES`` scenes in three files:
``<seed>.images.npy`` uint8 (n, 240, 320, 3), ``<seed>.labels.npy`` uint8 (n, 240, 320) where
0 is background and k the visible part of thing k - 1, and ``<seed>.json`` with the words.
The json is written last, so that a shard without it is not finished. Nothing is ever pickled.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from making.photographs import FIRST_TRAINING_SEED as FIRST_PHOTO_SEED
from tasutils.paths import RESULTS

SHARD_SCENES = 200
FIRST_TRAINING_SEED = 1_000_000
PHRASES_PER_THING = 6
FIRST_HELD_OUT_SEED = 500_000
PHOTO_SCENES = 6000
POOL = RESULTS / "training" / "pool"
PHOTO_POOL = RESULTS / "training" / "photo_pool"
HELD_OUT = RESULTS / "training" / "held_out"


@dataclass(frozen=True)
class PoolThing:
    """What a training needs to know of one thing: its category, colour and words."""

    slug: str
    color: str | None
    phrases: tuple[str, ...]
    caption: str


@dataclass(frozen=True, eq=False)
class PoolScene:
    """One scene: image uint8 (240, 320, 3), labels uint8 (240, 320), its things and caption."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    things: tuple[PoolThing, ...]
    caption: str


def open_held_out(folder: Path = HELD_OUT) -> ScenePool:
    """The held-out scenes, drawn when they are not there yet."""
    draw_held_out(folder)
    return ScenePool(folder, at_least=0)


def draw_shard(folder: Path, first_seed: int, scenes: int = SHARD_SCENES) -> None:
    """Draw ``scenes`` training scenes from consecutive seeds into one shard; done ones are kept."""
    from making.layout import training_scene
    from making.photographs import training_photo_scene

    if (folder / f"{first_seed}.json").is_file():
        return
    graphs = (
        training_scene(seed, wide_sizes=seed % 2 == 0)
        if seed < FIRST_PHOTO_SEED
        else training_photo_scene(seed)
        for seed in range(first_seed, first_seed + scenes)
    )
    write_shard(folder, first_seed, graphs)


def write_shard(folder: Path, first_seed: int, graphs: Iterable[Any]) -> None:
    """Render scene graphs into the shard called ``first_seed``."""
    from making.render import render

    rng = np.random.default_rng(first_seed)
    images, labels, words = [], [], []
    for graph in graphs:
        rendered = render(graph)
        images.append(rendered.image)
        numbers = np.arange(1, len(rendered.visible) + 1, dtype=np.uint8)
        labels.append((rendered.visible * numbers[:, None, None]).max(0).astype(np.uint8))
        words.append(_words(rng, rendered))
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{first_seed}.images.npy", np.stack(images))
    np.save(folder / f"{first_seed}.labels.npy", np.stack(labels))
    part = folder / f"{first_seed}.json.part"
    part.write_text(json.dumps(words), encoding="utf-8")
    os.replace(part, folder / f"{first_seed}.json")


def _words(rng: np.random.Generator, rendered: Any) -> dict[str, Any]:
    from making.captions import crop_caption, scene_caption, thing_phrase

    things = [
        {
            "slug": thing.slug,
            "color": thing.color,
            "phrases": [thing_phrase(rng, thing) for _ in range(PHRASES_PER_THING)],
            "caption": crop_caption(thing),
        }
        for thing in rendered.graph.things
    ]
    return {"things": things, "caption": scene_caption(rendered)}


def fill_pool(folder: Path, scenes: int, workers: int = 1, first_seed: int | None = None) -> None:
    """Draw shards until the pool holds ``scenes`` scenes, with ``workers`` processes.

    Training scenes use seeds from 1,000,000 on, those made of photographic cut-outs from
    2,000,000 on; those of the stored splits are refused by `layout.training_scene`.
    """
    start = FIRST_TRAINING_SEED if first_seed is None else first_seed
    seeds = range(start, start + scenes, SHARD_SCENES)
    if workers <= 1:
        for seed in seeds:
            draw_shard(folder, seed)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as processes:
        processes.starmap(draw_shard, [(folder, seed) for seed in seeds], chunksize=1)


def draw_held_out(folder: Path, scenes: int = 160) -> None:
    """Scenes of all categories, seen and unseen, by which a training is watched; kept if there.

    Their seeds are neither those of a training scene nor those of a stored split.
    """
    from making.categories import load_categories
    from making.layout import random_scene
    from making.sprites import TRAIN_STYLES

    if (folder / f"{FIRST_HELD_OUT_SEED}.json").is_file():
        return
    categories = load_categories()
    seeds = range(FIRST_HELD_OUT_SEED, FIRST_HELD_OUT_SEED + scenes)
    graphs = (random_scene(np.random.default_rng(seed), TRAIN_STYLES, categories) for seed in seeds)
    write_shard(folder, FIRST_HELD_OUT_SEED, graphs)


class ScenePool:
    """Random access to the finished shards of a folder, which may still be growing.

    Args:
        at_least: scenes drawn first when the folder holds fewer (about 20 a second on one core).
    """

    def __init__(self, folder: Path = POOL, at_least: int = SHARD_SCENES) -> None:
        self.folder = folder
        self._shards: dict[str, tuple[Any, Any, list[dict[str, Any]]]] = {}
        self._names: list[str] = []
        self.refresh()
        if len(self) < at_least:
            fill_pool(folder, at_least)
            self.refresh()

    def refresh(self) -> None:
        """Notice shards that were finished since."""
        for path in sorted(self.folder.glob("*.json")):
            if path.stem not in self._shards:
                images = np.load(self.folder / f"{path.stem}.images.npy", mmap_mode="r")
                labels = np.load(self.folder / f"{path.stem}.labels.npy", mmap_mode="r")
                words = json.loads(path.read_text(encoding="utf-8"))
                self._shards[path.stem] = (images, labels, words)
                self._names.append(path.stem)

    def __len__(self) -> int:
        return sum(len(words) for _, _, words in self._shards.values())

    def __getitem__(self, index: int) -> PoolScene:
        """Scene number ``index``, in the order of the seeds."""
        for name in self._names:
            images, labels, words = self._shards[name]
            if index < len(words):
                return self._scene(images, labels, words, index)
            index -= len(words)
        raise IndexError(index)

    def __iter__(self) -> Iterator[PoolScene]:
        """Every scene, in the order of the seeds."""
        return (self[index] for index in range(len(self)))

    def draw(self, rng: np.random.Generator) -> PoolScene:
        """A random scene."""
        images, labels, words = self._shards[self._names[int(rng.integers(len(self._names)))]]
        return self._scene(images, labels, words, int(rng.integers(len(words))))

    @staticmethod
    def _scene(images: Any, labels: Any, words: list[dict[str, Any]], index: int) -> PoolScene:
        things = tuple(
            PoolThing(t["slug"], t["color"], tuple(t["phrases"]), t["caption"])
            for t in words[index]["things"]
        )
        image = np.array(images[index])
        return PoolScene(image, np.array(labels[index]), things, words[index]["caption"])


def photo_pool(folder: Path = PHOTO_POOL, scenes: int = PHOTO_SCENES) -> ScenePool:
    """Training scenes made of photographic cut-outs, drawn when the folder has none yet."""
    if not any(folder.glob("*.json")):
        fill_pool(folder, scenes, first_seed=FIRST_PHOTO_SEED)
    return ScenePool(folder, at_least=0)


class PoolMix:
    """Several pools, each as likely as the others to give the next scene."""

    def __init__(self, pools: Sequence[ScenePool]) -> None:
        self.pools = pools

    def draw(self, rng: np.random.Generator) -> PoolScene:
        """A random scene of a random pool."""
        return self.pools[int(rng.integers(len(self.pools)))].draw(rng)
