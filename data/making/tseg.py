"""Training of the tiny TSEG from pictures and sentences, without any mask.

A step knows of each picture which sentences were written about it, and of every other sentence
whether it names anything of the picture. It never reads a label of the pool.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from making.categories import closure_words
from making.clip import embed_text
from making.loop import Training
from making.pools import TRAINING
from making.sprites import COLORS
from making.tokenizer import TOKENIZER
from making.tseg_pairs import PAIRS, PairStore, frozen_clip
from making.tseg_scores import SCORE_IMAGES, score_tseg, val_pictures
from making.words import seen_words
from tasutils.baselines.tseg import TsegNet
from tasutils.encoders.openclip import tiny_tokenizer

FOLDER = TRAINING / "tseg"
RATES = {"log_scale": 1e-2, "none_score": 1e-2, "": 1e-3}
ABSENT_PER_STEP = 64
#: what a sentence is to a picture: name, number in a relation, sign of its logit, weight
KINDS = (("own", 1, -1, 1.0), ("absent", 0, 1, 1.0), ("colour", 2, 1, 0.5))


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
        tokenizer, nouns = tiny_tokenizer(TOKENIZER), seen_words().nouns
        names = [f"{color} {noun}".strip() for noun in nouns for color in ("", *COLORS)]
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            tokens = tokenizer(names).split(256)
            self.texts = torch.cat([embed_text(model, part) for part in tokens]).float()
        self.per_noun = len(COLORS) + 1

    def draw(
        self, rng: np.random.Generator, nouns: NDArray[np.int64]
    ) -> tuple[torch.Tensor, NDArray[np.int64], NDArray[np.int64]]:
        """Phrases of given nouns in random colours, and of random nouns: texts, nouns, colours."""
        rows = np.concatenate([nouns, rng.integers(len(self.texts) // self.per_noun, size=32)])
        colors = rng.integers(self.per_noun, size=len(rows))
        return self.texts[rows * self.per_noun + colors], rows, colors


def draw_batch(
    rng: np.random.Generator, store: PairStore, absent: AbsentPhrases, n: int, most: int = 6
) -> TsegBatch:
    """n pictures, at most ``most`` sentences of each, and phrases of absent things."""
    picked = [store.draw(rng, most) for _ in range(n)]
    nouns = np.concatenate([p.nouns for p in picked])
    swapped = nouns[rng.integers(len(nouns), size=ABSENT_PER_STEP - 32)]
    more, more_nouns, more_colors = absent.draw(rng, swapped)
    all_nouns = np.concatenate([nouns, more_nouns])
    all_colors = np.concatenate([*(p.colors for p in picked), more_colors])
    relation = np.stack([relation_of(p.things, all_nouns, all_colors) for p in picked])
    relation[np.repeat(np.arange(n), [len(p.nouns) for p in picked]), np.arange(len(nouns))] = 1
    texts = torch.from_numpy(np.concatenate([p.texts for p in picked])).float()
    return TsegBatch(
        torch.from_numpy(np.stack([p.coarse for p in picked])).float(),
        torch.from_numpy(np.stack([p.fine for p in picked])).float(),
        torch.cat([texts, more]),
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
