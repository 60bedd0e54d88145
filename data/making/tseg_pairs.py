"""Pictures and sentences for TSEG, with what the frozen towers make of them; drawn once, kept.

A shard holds the pairs of one shard of the pool: ``<seed>.coarse.npy`` and ``<seed>.fine.npy``,
float16 maps of the pictures, ``<seed>.texts.npy``, float16 embeddings of the sentences, and
``<seed>.json``, written last, with the sentences, the noun and the colour that each one asks for.
The labels of the pool are read by the writer of the sentences alone (who stands where); they are
not stored here, and no training on these pairs sees them.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from making.clip import embed_text
from making.expressions import FAMILIES, Quota, write_expression, write_phrase
from making.pools import POOL, SHARD_SCENES, PoolScene, ScenePool
from making.queries import Query, View
from making.sprites import COLORS
from making.words import WordTable, seen_words
from tasutils.baselines.tseg import tiny_maps
from tasutils.checkpoints import load_strict, read_state_dict
from tasutils.encoders.openclip import build_clip, tiny_tokenizer
from tasutils.errors import TasError
from tasutils.paths import RESULTS, WEIGHTS

PAIRS = RESULTS / "training" / "tseg" / "pairs"
CLIP_WEIGHTS = WEIGHTS / "tiny" / "clip_rn.safetensors"
TOKENIZER = WEIGHTS / "tiny" / "tokenizer.txt.gz"
EXPRESSIONS_PER_SCENE, PHRASES_PER_THING = 4, 2


def frozen_clip(path: Path = CLIP_WEIGHTS) -> Any:
    """The tiny-RN that ships, for inference."""
    model = build_clip("tiny-RN")
    load_strict(model, read_state_dict(path), str(path.name))
    return model.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def view_of_pool(scene: PoolScene) -> View:
    """What the writer of sentences sees; who hides whom is not in the pool and not said."""
    numbers = range(1, len(scene.things) + 1)
    places = [np.nonzero(scene.labels == number) for number in numbers]
    spans = [(x.min(), y.min(), x.max() + 1, y.max() + 1) for y, x in places]
    colors = [thing.color for thing in scene.things]
    count = len(scene.things)
    return View(
        slugs=tuple(thing.slug for thing in scene.things),
        colors=tuple(colors),
        shares=tuple({color: float(color == own) for color in COLORS} for own in colors),
        centers_xy=np.array([(x.mean(), y.mean()) for y, x in places]),
        boxes_xyxy=np.array(spans, dtype=np.float64),
        areas_px=np.array([len(x) for _, x in places]),
        hidden_fraction=np.zeros(count),
        covers=np.zeros((count, count), dtype=bool),
    )


def sentences_of(
    rng: np.random.Generator, scene: PoolScene, table: WordTable
) -> list[tuple[str, str, str]]:
    """Sentences true of a scene: (text, noun, colour or ""), as referring people write them.

    Sentences without a noun ("the one behind the dog") and with words of unseen categories are
    left out.
    """
    view, quota = view_of_pool(scene), Quota()
    found: list[tuple[str, str, str]] = []
    for _ in range(EXPRESSIONS_PER_SCENE):
        target, family = int(rng.integers(len(view))), FAMILIES[int(rng.integers(4))]
        if family == "phrasescenes":
            written = write_phrase(rng, view, target, set())
        else:
            written = write_expression(rng, view, target, family, quota, set())
        if written is not None and written.query.noun:
            found.append((written.text, written.query.noun, _color(written.query)))
    for thing in scene.things:
        for text in thing.phrases[:PHRASES_PER_THING]:
            read = table.read(text)
            if read is not None:
                found.append((text, table.nouns[read[0]], ("", *COLORS)[read[1]]))
    known = set(table.nouns)
    return sorted({s for s in found if s[1] in known and table.allowed(s[0])})


def _color(query: Query) -> str:
    return query.color or ""


@torch.no_grad()
def write_pairs(folder: Path, scenes: list[PoolScene], name: str, model: Any) -> None:
    """Write one shard; one that is there is kept."""
    if (folder / f"{name}.json").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rng, table, tokenizer = (
        np.random.default_rng(int(name)),
        seen_words(),
        tiny_tokenizer(TOKENIZER),
    )
    sentences = [sentences_of(rng, scene, table) for scene in scenes]
    texts = [text for found in sentences for text, _, _ in found]
    coarse, fine = [], []
    with torch.autocast("cpu", torch.bfloat16):
        for start in range(0, len(scenes), 4):
            pictures = np.stack([scene.image for scene in scenes[start : start + 4]])
            maps = tiny_maps(model, torch.from_numpy(pictures))
            coarse.append(maps[0].half().numpy())
            fine.append(maps[1].half().numpy())
        embedded = [
            embed_text(model, tokenizer(texts[i : i + 256])) for i in range(0, len(texts), 256)
        ]
    np.save(folder / f"{name}.coarse.npy", np.concatenate(coarse))
    np.save(folder / f"{name}.fine.npy", np.concatenate(fine))
    np.save(folder / f"{name}.texts.npy", torch.cat(embedded).half().numpy())
    rows = [
        {"things": [[t.slug, t.color] for t in scene.things], "sentences": found}
        for scene, found in zip(scenes, sentences, strict=True)
    ]
    part = folder / f"{name}.json.part"
    part.write_text(json.dumps(rows), encoding="utf-8")
    os.replace(part, folder / f"{name}.json")


def fill_pairs(folder: Path = PAIRS, shards: int = 30, scenes: Path = POOL) -> None:
    """Write pairs for the first shards of the pool."""
    pool, model = ScenePool(scenes, at_least=shards * SHARD_SCENES), frozen_clip()
    for shard in range(shards):
        span = range(shard * SHARD_SCENES, (shard + 1) * SHARD_SCENES)
        name = sorted(path.stem for path in scenes.glob("*.json"))[shard]
        if not (folder / f"{name}.json").is_file():
            write_pairs(folder, [pool[index] for index in span], name, model)


@dataclass(frozen=True, eq=False)
class Pair:
    """A picture and some of its sentences.

    Attributes:
        coarse, fine: float16 maps, see `tseg.tiny_maps`.
        texts: float16 (k, d); ``nouns``, ``colors``: int64 (k,), rows of the word table and 1 +
            colour, 0 where none is said.
        things: (category, colour) of each thing of the picture, 0 for no clear colour.
    """

    coarse: NDArray[np.float16]
    fine: NDArray[np.float16]
    texts: NDArray[np.float16]
    nouns: NDArray[np.int64]
    colors: NDArray[np.int64]
    things: list[tuple[int, int]]


class PairStore:
    """Random access to the finished shards of a folder, which may still be growing."""

    def __init__(self, folder: Path = PAIRS) -> None:
        self.folder = folder
        self._shards: dict[str, tuple[Any, Any, Any, list[dict[str, Any]]]] = {}
        self._names: list[str] = []
        self.refresh()
        if not self._names:
            raise TasError(f"no pairs in {folder}; write some: python -m making.tseg_pairs")

    def __len__(self) -> int:
        return sum(len(rows) for *_, rows in self._shards.values())

    def refresh(self) -> None:
        """Notice shards that were finished since."""
        for path in sorted(self.folder.glob("*.json")):
            if path.stem not in self._shards:
                arrays = [
                    np.load(self.folder / f"{path.stem}.{kind}.npy", mmap_mode="r")
                    for kind in ("coarse", "fine", "texts")
                ]
                rows = _numbered(json.loads(path.read_text(encoding="utf-8")))
                self._shards[path.stem] = (arrays[0], arrays[1], arrays[2], rows)
                self._names.append(path.stem)

    def draw(self, rng: np.random.Generator, most: int) -> Pair:
        """A random picture, mirrored half of the time, with at most ``most`` of its sentences.

        A mirrored picture keeps its sentences: what an image-level label says of left and right is
        that the thing is there.
        """
        coarse, fine, texts, rows = self._shards[self._names[int(rng.integers(len(self._names)))]]
        number = int(rng.integers(len(rows)))
        row = rows[number]
        chosen = rng.permutation(len(row["nouns"]))[:most]
        flip = slice(None, None, -1 if rng.uniform() < 0.5 else 1)
        return Pair(
            np.array(coarse[number][:, flip]),
            np.array(fine[number][:, flip]),
            np.array(texts[row["first"] + np.sort(chosen)]),
            row["nouns"][np.sort(chosen)],
            row["colors"][np.sort(chosen)],
            row["things"],
        )


def _numbered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    table = seen_words()
    noun_rows = {noun: row for row, noun in enumerate(table.nouns)}
    color_rows = {color: row for row, color in enumerate(("", *COLORS))}
    found, first = [], 0
    for row in rows:
        sentences = row["sentences"]
        if sentences:
            found.append(
                {
                    "things": [
                        (table.index[slug], color_rows[c or ""]) for slug, c in row["things"]
                    ],
                    "nouns": np.array([noun_rows[noun] for _, noun, _ in sentences]),
                    "colors": np.array([color_rows[color] for *_, color in sentences]),
                    "first": first,
                }
            )
        first += len(sentences)
    return found
