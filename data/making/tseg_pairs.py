"""Pictures and sentences for TSEG, with what the frozen towers make of them; drawn once, kept.

A shard holds the pairs of one shard of the pool: maps of the pictures (``coarse``, ``fine``),
embeddings of the sentences (``texts``), all float16, and for each picture its sentences, with the
noun and the colour that each one asks for. The labels of the pool are read by the writer of the
sentences alone (who stands where); they are not stored here, and no training on these pairs sees
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from making.clip import embed_text
from making.expressions import FAMILIES, Quota, write_expression, write_phrase
from making.pools import POOL, SHARD_SCENES, TRAINING, PoolScene, ScenePool, Shards, write_shard
from making.queries import View, places_of
from making.sprites import COLORS
from making.tokenizer import TOKENIZER
from making.words import WordTable, seen_words
from tasutils.baselines.tseg import tiny_maps
from tasutils.checkpoints import load_strict, read_state_dict
from tasutils.encoders.openclip import build_clip, tiny_tokenizer
from tasutils.paths import WEIGHTS

PAIRS = TRAINING / "tseg" / "pairs"
CLIP_WEIGHTS = WEIGHTS / "tiny" / "clip_rn.safetensors"
EXPRESSIONS_PER_SCENE, PHRASES_PER_THING = 4, 2


def frozen_clip(path: Path = CLIP_WEIGHTS) -> Any:
    """The tiny-RN that ships, for inference."""
    model = build_clip("tiny-RN")
    load_strict(model, read_state_dict(path), str(path.name))
    return model.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def view_of_pool(scene: PoolScene) -> View:
    """What the writer of sentences sees; who hides whom is not in the pool and not said."""
    count, colors = len(scene.things), tuple(thing.color for thing in scene.things)
    return View(
        slugs=tuple(thing.slug for thing in scene.things),
        colors=colors,
        shares=tuple({color: float(color == own) for color in COLORS} for own in colors),
        hidden_fraction=np.zeros(count),
        covers=np.zeros((count, count), dtype=bool),
        **places_of(scene.labels == np.arange(1, count + 1)[:, None, None]),
    )


def sentences_of(
    rng: np.random.Generator, scene: PoolScene, table: WordTable
) -> list[tuple[str, str, str]]:
    """Sentences true of a scene that name a seen category: (text, noun, colour or "")."""
    view, quota = view_of_pool(scene), Quota()
    found: list[tuple[str, str, str]] = []
    for _ in range(EXPRESSIONS_PER_SCENE):
        target, family = int(rng.integers(len(view))), FAMILIES[int(rng.integers(4))]
        if family == "phrasescenes":
            written = write_phrase(rng, view, target, set())
        else:
            written = write_expression(rng, view, target, family, quota, set())
        if written is not None and written.query.noun:
            found.append((written.text, written.query.noun, written.query.color or ""))
    for thing in scene.things:
        for text in thing.phrases[:PHRASES_PER_THING]:
            read = table.read(text)
            if read is not None:
                found.append((text, table.nouns[read[0]], ("", *COLORS)[read[1]]))
    known = set(table.nouns)
    return sorted({s for s in found if s[1] in known and table.allowed(s[0])})


@torch.no_grad()
def write_pairs(folder: Path, scenes: list[PoolScene], name: str, model: Any) -> None:
    """Write one shard; one that is there is kept."""
    if (folder / f"{name}.json").is_file():
        return
    rng, table = np.random.default_rng(int(name)), seen_words()
    found = [(scene, sentences_of(rng, scene, table)) for scene in scenes]
    found = [(scene, sentences) for scene, sentences in found if sentences]
    tokens = tiny_tokenizer(TOKENIZER)([text for _, told in found for text, _, _ in told])
    pictures = torch.from_numpy(np.stack([scene.image for scene, _ in found]))
    with torch.autocast("cpu", torch.bfloat16):
        maps = [tiny_maps(model, part) for part in pictures.split(4)]
        texts = torch.cat([embed_text(model, part) for part in tokens.split(256)])
    coarse, fine = (torch.cat(parts) for parts in zip(*maps, strict=True))
    ends = np.cumsum([len(sentences) for _, sentences in found]).tolist()
    rows = [
        {
            "things": [[t.slug, t.color] for t in s.things],
            "sentences": said,
            "first": end - len(said),
        }
        for (s, said), end in zip(found, ends, strict=True)
    ]
    arrays = {"coarse": coarse, "fine": fine, "texts": texts}
    write_shard(folder, name, rows, **{k: v.half().numpy() for k, v in arrays.items()})


def fill_pairs(folder: Path = PAIRS, shards: int = 30, scenes: Path = POOL) -> None:
    """Write pairs for the first shards of the pool."""
    torch.set_num_threads(1)
    pool, model = ScenePool(scenes, at_least=shards * SHARD_SCENES), frozen_clip()
    for shard, name in enumerate(list(pool.shards)[:shards]):
        span = range(shard * SHARD_SCENES, (shard + 1) * SHARD_SCENES)
        if not (folder / f"{name}.json").is_file():
            write_pairs(folder, [pool[index] for index in span], name, model)


@dataclass(frozen=True, eq=False)
class Pair:
    """A picture, as float16 maps (`tseg.tiny_maps`), and k of its sentences, texts float16 (k, d).

    nouns, colors: int64 (k,), rows of the word table and 1 + colour, 0 where none is said;
    things: (category, colour) of each thing of the picture, 0 for no clear colour.
    """

    coarse: NDArray[np.float16]
    fine: NDArray[np.float16]
    texts: NDArray[np.float16]
    nouns: NDArray[np.int64]
    colors: NDArray[np.int64]
    things: list[tuple[int, int]]


class PairStore(Shards):
    """The pairs of a folder, which may still be growing."""

    def __init__(self, folder: Path = PAIRS) -> None:
        super().__init__(folder, ("coarse", "fine", "texts"), advice="pairs")
        self._table, self._colors = seen_words(), ("", *COLORS)

    def draw(self, rng: np.random.Generator, most: int) -> Pair:
        """A random picture, mirrored half of the time, with at most ``most`` of its sentences.

        A mirrored one keeps them: a label of the whole image says but that the thing is there.
        """
        row, arrays, index = self.draw_entry(rng)
        things = row["things"]
        chosen = np.sort(rng.permutation(len(row["sentences"]))[:most])
        asked = [row["sentences"][i] for i in chosen]
        flip = slice(None, None, -1 if rng.uniform() < 0.5 else 1)
        return Pair(
            np.array(arrays["coarse"][index][:, flip]),
            np.array(arrays["fine"][index][:, flip]),
            np.array(arrays["texts"][row["first"] + chosen]),
            np.array([self._table.rows[noun] for _, noun, _ in asked]),
            np.array([self._colors.index(color) for *_, color in asked]),
            [(self._table.index[slug], self._colors.index(color or "")) for slug, color in things],
        )
