"""Training of the tiny TSEG from pictures and sentences, without any mask, and its scores on val.

A step knows of each picture which sentences were written about it, and of every other sentence
whether it names anything of the picture. It reads pairs, drawn once and kept. A shard of them
holds the pairs of one shard of the pool: maps of the pictures (``coarse``, ``fine``) and embeddings
of the sentences (``texts``) by the frozen towers, all float16, and for each picture its sentences,
with the noun and the colour that each asks for. The labels of the pool are read by the writer of
the sentences alone (who stands where); they are not stored here, and no step sees them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from making.categories import closure_words
from making.clip import embed_text
from making.expressions import FAMILIES, Quota, write_expression, write_phrase
from making.loop import Training
from making.pools import POOL, SHARD_SCENES, TRAINING, PoolScene, ScenePool, Shards, write_shard
from making.queries import View, places_of
from making.scores import ious
from making.sprites import COLORS
from making.tokenizer import TOKENIZER
from making.words import WordTable, seen_words
from tasutils.baselines.tseg import TsegNet, tiny_maps
from tasutils.checkpoints import load_strict, read_state_dict
from tasutils.datasets import load_dataset
from tasutils.encoders.openclip import build_clip, tiny_tokenizer
from tasutils.images import read_image
from tasutils.paths import WEIGHTS
from tasutils.tas import load

FOLDER = TRAINING / "tseg"
PAIRS, PROPOSALS = FOLDER / "pairs", FOLDER / "val_proposals"
CLIP_WEIGHTS = WEIGHTS / "tiny" / "clip_rn.safetensors"
EXPRESSIONS_PER_SCENE, PHRASES_PER_THING = 4, 2
RATES = {"log_scale": 1e-2, "none_score": 1e-2, "": 1e-3}
SWAPPED_NOUNS = RANDOM_NOUNS = 32  # of the phrases of absent things in a step
#: what a sentence is to a picture: name, number in a relation, sign of its logit, weight
KINDS = (("own", 1, -1, 1.0), ("absent", 0, 1, 1.0), ("colour", 2, 1, 0.5))
THRESHOLDS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
SCORE_IMAGES = 30
#: "" and the colours: a sentence's colour is a number in it
SAID = ("", *COLORS)


def frozen_clip() -> Any:
    """The tiny-RN that ships, for inference."""
    model = build_clip("tiny-RN")
    load_strict(model, read_state_dict(CLIP_WEIGHTS), CLIP_WEIGHTS.name)
    return model.eval().requires_grad_(False).to(memory_format=torch.channels_last)


@torch.no_grad()
def embed_all(model: Any, texts: Sequence[str]) -> torch.Tensor:
    """float32 (n, d): embeddings by the frozen text tower, in bfloat16 autocast."""
    tokens = tiny_tokenizer(TOKENIZER)(list(texts))
    with torch.autocast("cpu", torch.bfloat16):
        return torch.cat([embed_text(model, part) for part in tokens.split(256)]).float()


# --- pairs ---


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
        if written is not None:
            found.append((written.text, written.query.noun, written.query.color or ""))
    for text in (text for thing in scene.things for text in thing.phrases[:PHRASES_PER_THING]):
        if read := table.read(text):
            found.append((text, table.nouns[read[0]], SAID[read[1]]))
    return sorted({told for told in found if told[1] in table.rows and table.allowed(told[0])})


@torch.no_grad()
def write_pairs(folder: Path, scenes: list[PoolScene], name: str, model: Any) -> None:
    """Write one shard."""
    rng, table = np.random.default_rng(int(name)), seen_words()
    told = [(scene, sentences_of(rng, scene, table)) for scene in scenes]
    told = [(scene, sentences) for scene, sentences in told if sentences]
    texts = embed_all(model, [text for _, sentences in told for text, _, _ in sentences])
    pictures = torch.from_numpy(np.stack([scene.image for scene, _ in told]))
    with torch.autocast("cpu", torch.bfloat16):
        maps = [tiny_maps(model, part) for part in pictures.split(4)]
    coarse, fine = (torch.cat(parts) for parts in zip(*maps, strict=True))
    rows, first = list[dict[str, Any]](), 0
    for scene, sentences in told:
        things = [[thing.slug, thing.color] for thing in scene.things]
        rows.append({"things": things, "sentences": sentences, "first": first})
        first += len(sentences)
    arrays = {"coarse": coarse, "fine": fine, "texts": texts}
    write_shard(folder, name, rows, **{k: v.half().numpy() for k, v in arrays.items()})


def fill_pairs(folder: Path = PAIRS, shards: int = 30, scenes: Path = POOL) -> None:
    """Write pairs for the first shards of the pool; those that are there stay."""
    torch.set_num_threads(1)
    pool, model = ScenePool(scenes, at_least=shards * SHARD_SCENES), frozen_clip()
    for name in list(pool.shards)[:shards]:
        if not (folder / f"{name}.json").is_file():
            write_pairs(folder, list(pool.of_shard(name)), name, model)


class Pair(NamedTuple):
    """A picture, as float16 maps (`tiny_maps`), and k of its sentences, texts float16 (k, d).

    nouns, colors: int64 (k,), rows of the word table and numbers in `SAID`;
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

    def draw(self, rng: np.random.Generator, most: int) -> Pair:
        """A random picture, mirrored half of the time, with at most ``most`` of its sentences.

        A mirrored one keeps them: a label of the whole image says but that the thing is there.
        """
        row, arrays, index = self.draw_entry(rng)
        table, sentences = seen_words(), row["sentences"]
        chosen = np.sort(rng.permutation(len(sentences))[:most])
        flip = slice(None, None, -1 if rng.uniform() < 0.5 else 1)
        return Pair(
            arrays["coarse"][index][:, flip],
            arrays["fine"][index][:, flip],
            arrays["texts"][row["first"] + chosen],
            np.array([table.rows[sentences[i][1]] for i in chosen]),
            np.array([SAID.index(sentences[i][2]) for i in chosen]),
            [(table.index[slug], SAID.index(color or "")) for slug, color in row["things"]],
        )


# --- training ---


@dataclass(frozen=True, eq=False)
class TsegBatch:
    """n pictures and k sentences with their agreement.

    Attributes:
        coarse, fine: float32 maps of the frozen tower, see `tseg.tiny_maps`.
        texts: float32 (k, d), embeddings of the frozen text tower.
        relation: int8 (n, k): 1 was written of the picture, 0 names nothing in it, 2 names a thing
            of it in a colour that it has not, -1 is left out.
    """

    coarse: torch.Tensor
    fine: torch.Tensor
    texts: torch.Tensor
    relation: NDArray[np.int8]


@cache
def kinds() -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which noun surely names which category, and which might: bool (n_nouns, n_categories)."""
    table = seen_words()
    wide = [closure_words(slug) for slug in table.slugs]
    might = np.array([[noun in words for words in wide] for noun in table.nouns])
    return table.admits, might | table.admits


def relation_of(things: list[tuple[int, int]], nouns: Any, colors: Any) -> NDArray[np.int8]:
    """What a picture's things make of sentences of other pictures: int8 (k,).

    Args:
        things: (category, colour) numbers, colour 0 where it has no clear one.
        nouns, colors: int (k,), rows of the word table; colour 0: none is said.
    """
    sure, might = kinds()
    categories, own = (np.array(column) for column in zip(*things, strict=True))
    named, maybe = sure[nouns][:, categories], might[nouns][:, categories]  # (k, things)
    said = np.asarray(colors)[:, None]
    other = (said != 0) & (own[None] != 0) & (own[None] != said)
    relation = np.where(maybe.any(1), -1, 0)
    wrong = named.any(1) & (other | ~maybe).all(1)
    return np.where(wrong, 2, relation).astype(np.int8)


class AbsentPhrases:
    """ "a NOUN" and "a COLOUR NOUN" for every noun, embedded once."""

    def __init__(self, model: Any) -> None:
        nouns = seen_words().nouns
        self.texts = embed_all(model, [f"{c} {noun}".strip() for noun in nouns for c in SAID])

    def draw(
        self, rng: np.random.Generator, nouns: NDArray[np.int64]
    ) -> tuple[torch.Tensor, NDArray[np.int64], NDArray[np.int64]]:
        """Phrases of given nouns in random colours, and of random nouns: texts, nouns, colours."""
        count = len(self.texts) // len(SAID)
        rows = np.concatenate([nouns, rng.integers(count, size=RANDOM_NOUNS)])
        colors = rng.integers(len(SAID), size=len(rows))
        return self.texts[rows * len(SAID) + colors], rows, colors


def draw_batch(
    rng: np.random.Generator, store: PairStore, absent: AbsentPhrases, n: int, most: int = 6
) -> TsegBatch:
    """n pictures, at most ``most`` sentences of each, and phrases of absent things."""
    picked = [store.draw(rng, most) for _ in range(n)]
    coarse, fine, texts, nouns, colors, things = zip(*picked, strict=True)
    own = np.concatenate(nouns)
    swapped = own[rng.integers(len(own), size=SWAPPED_NOUNS)]
    more, more_nouns, more_colors = absent.draw(rng, swapped)
    all_nouns = np.concatenate([own, more_nouns])
    all_colors = np.concatenate([*colors, more_colors])
    relation = np.stack([relation_of(held, all_nouns, all_colors) for held in things])
    relation[np.repeat(np.arange(n), [len(of) for of in nouns]), np.arange(len(own))] = 1
    return TsegBatch(
        torch.from_numpy(np.stack(coarse)).float(),
        torch.from_numpy(np.stack(fine)).float(),
        torch.cat([torch.from_numpy(np.concatenate(texts)).float(), more]),
        relation,
    )


def pool(margins: torch.Tensor, least: float = 1e-4) -> torch.Tensor:
    """Image-level logits (n, k) of patch margins (n, h, w, k): their mean over assigned patches.

    Where nothing is assigned the weights become those of a softmax, and the best patch counts.
    """
    weight = margins.sigmoid()
    return (margins * weight).sum((1, 2)) / (weight.sum((1, 2)) + least)


def tseg_loss(
    logits: torch.Tensor, relation: torch.Tensor
) -> tuple[torch.Tensor, dict[str, float]]:
    """Binary image-text matching loss: the weighted sum of the means over each of `KINDS`.

    Args:
        logits: float32 (n, k), see `pool`; ``relation``: (n, k), see `TsegBatch`.
    """
    loss, numbers = logits.new_zeros(()), {}
    for name, value, sign, weight in KINDS:
        chosen = logits[relation == value]
        part = F.softplus(sign * chosen).mean() if len(chosen) else logits.new_zeros(())
        loss = loss + weight * part
        numbers[name] = float(part.detach())
    return loss, numbers


def step_loss(net: TsegNet, batch: TsegBatch) -> tuple[torch.Tensor, dict[str, float]]:
    """The loss of a batch, the network's layers in bfloat16 autocast."""
    with torch.autocast("cpu", torch.bfloat16):
        patches, texts = net.patches(batch.coarse, batch.fine), net.texts(batch.texts)
        margins = net.margins(patches, texts)
    return tseg_loss(pool(margins.float()), torch.from_numpy(batch.relation))


def train_tseg(
    minutes: float, folder: Path = FOLDER, *, images: int = 8, pairs: Path = PAIRS,
    score_images: int = SCORE_IMAGES, **how: Any,
) -> dict[str, Any]:  # fmt: skip
    """Train TSEG's own parts; see `loop.Training`.

    The average with the highest sum of two mIoUs on the first pictures of val, of the chosen
    proposal and of the map alone, is kept as ``best.pt`` (without score_images the last one): the
    one place where a mask is read, and no weight learns from it.
    """
    training = Training("tseg", TsegNet, folder, minutes, RATES, **how)
    clip, store = frozen_clip(), PairStore(pairs)
    absent, watched = AbsentPhrases(clip), val_pictures(score_images, clip)
    rng, record = training.rng, training.record
    record.setdefault("best", -1.0)

    def step() -> tuple[torch.Tensor, dict[str, float]]:
        store.refresh()
        record["scenes"] = len(store)
        return step_loss(training.model, draw_batch(rng, store, absent, images))

    def score(state: dict[str, torch.Tensor]) -> dict[str, float]:
        trial = TsegNet().eval()
        trial.load_state_dict(state)
        scores = score_tseg(trial, watched) if watched else {}
        if sum(scores.values()) >= record["best"]:
            record["best"] = sum(scores.values())
            folder.mkdir(parents=True, exist_ok=True)
            torch.save(state, folder / "best.pt")
        return scores

    return training.run(step, images, score)


# --- scores on val ---


@dataclass(frozen=True, eq=False)
class ValPicture:
    """A picture of val, uint8 (H, W, 3), with its s sentences (``words``).

    masks: bool (m, H, W), the tiny SAM's proposals; truths: bool (s, H, W); coarse, fine: maps of
    the frozen tower; texts: float32 (s, d).
    """

    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    truths: NDArray[np.bool_]
    coarse: torch.Tensor
    fine: torch.Tensor
    texts: torch.Tensor
    families: tuple[str, ...]
    words: tuple[str, ...]


@torch.no_grad()
def val_pictures(images: int, model: Any, folder: Path = PROPOSALS) -> list[ValPicture]:
    """The first pictures of val with all sentences of two families; proposals are kept in a folder.

    Args:
        model: the frozen tiny-RN.
    """
    sets = {family: load_dataset(family, "val") for family in ("refscenes", "phrasescenes")}
    tokenizer, found = tiny_tokenizer(TOKENIZER), list[ValPicture]()
    for image_id in sets["refscenes"].image_ids[:images]:
        picture = read_image(sets["refscenes"].images[image_id].path)
        samples = [(f, d, s) for f, d in sets.items() for s in d.samples if s.image_id == image_id]
        words = tuple(sample.text for _, _, sample in samples)
        coarse, fine = tiny_maps(model, torch.from_numpy(picture[None]))
        found.append(
            ValPicture(
                image=picture,
                masks=_proposals(image_id, picture, folder),
                truths=np.stack([data.gt_mask(sample) for _, data, sample in samples]),
                coarse=coarse,
                fine=fine,
                texts=embed_text(model, tokenizer(list(words))),
                families=tuple(family for family, _, _ in samples),
                words=words,
            )
        )
    return found


def _proposals(image_id: str, picture: NDArray[np.uint8], folder: Path) -> NDArray[np.bool_]:
    path = folder / f"{image_id}.npz"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, masks=load("tiny", device="cpu").proposer(picture).masks())
    with np.load(path) as file:
        return np.asarray(file["masks"])


@torch.no_grad()
def heatmaps(net: TsegNet, picture: ValPicture) -> NDArray[np.float32]:
    """Assignment of the pixels of a picture to each of its sentences, float32 (s, H, W)."""
    margins = net.margins(net.patches(picture.coarse, picture.fine), net.texts(picture.texts))
    maps = margins.sigmoid().permute(0, 3, 1, 2)
    size_hw = picture.truths.shape[1:]
    return F.interpolate(maps, size_hw, mode="bilinear", align_corners=False)[0].numpy()


def score_tseg(net: TsegNet, pictures: list[ValPicture]) -> dict[str, float]:
    """Mean IoU over both families: of the chosen proposal, and of the map at its best threshold."""
    table = score_table(net, pictures)["all"].round(4)
    return {"chosen": float(table["chosen"]), "map": float(table.filter(like="map").max())}


def score_table(net: TsegNet, pictures: list[ValPicture]) -> pd.DataFrame:
    """Mean IoU over sentences, by what answers (rows) and by family (columns; "all": both).

    Rows: ``chosen`` (the proposal with the highest mean activation), ``random`` (the mean over all
    proposals), ``oracle`` (the best one), and ``map T``, the map cut at the threshold T.
    """
    rows = []
    for picture in pictures:
        flat = picture.masks.reshape(len(picture.masks), -1).astype(np.float32)
        maps = heatmaps(net, picture)
        inside = maps.reshape(len(maps), -1) @ flat.T / np.maximum(flat.sum(1), 1)
        of = ious(picture.truths, picture.masks)
        found = {"chosen": of[np.arange(len(of)), inside.argmax(1)]}
        found |= {"random": of.mean(1), "oracle": of.max(1)}
        for cut in THRESHOLDS:
            both = (maps > cut) & picture.truths
            either = (maps > cut) | picture.truths
            found[f"map {cut}"] = both.sum((1, 2)) / np.maximum(either.sum((1, 2)), 1)
        rows.append(pd.DataFrame(found).assign(family=picture.families))
    table = pd.concat(rows)
    by_family = table.groupby("family", sort=False).mean().T
    by_family.insert(0, "all", table.drop(columns="family").mean())
    return by_family
