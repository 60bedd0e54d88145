"""Contrastive training of the tiny CLIP models on crops and phrases of the embedded world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from making.captions import article
from making.categories import load_categories
from making.loop import Training
from making.pairs import CropSet, PairBatch, crop_set, draw_pairs
from making.pools import HELD_OUT, POOL, ScenePool, open_held_out
from making.words import seen_words
from tasutils.encoders.openclip import build_clip, tiny_tokenizer
from tasutils.paths import WEIGHTS

TOKENIZER = WEIGHTS / "tiny" / "tokenizer.txt.gz"
PEAK_RATE = {"tiny-RN": 1.5e-3, "tiny-ViT": 1.0e-3}


def embed_text(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """`CLIP.encode_text` without the padding: (n, 77) ids to (n, dim), L2-normalised.

    Equal to the whole context, since attention is causal and texts end before the padding; short
    and long texts go apart, so that a long caption does not make every name as long.
    """
    ends = tokens.argmax(-1)
    order = ends.argsort()
    cut = int((ends < 10).sum())
    parts = [_embed_part(model, tokens[rows]) for rows in (order[:cut], order[cut:]) if len(rows)]
    return torch.cat(parts)[order.argsort()]


def _embed_part(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    length = int(tokens.argmax(-1).max()) + 1
    tokens = tokens[:, :length]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
    x = model.ln_final(x)
    x = x[torch.arange(len(x)), tokens.argmax(-1)]
    return F.normalize((x @ model.text_projection).float(), dim=-1)


def embed_images(model: Any, images: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 (n, s, s, 3) to L2-normalised (n, dim); a ResNet also takes other multiples of 32."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    mean, std = torch.tensor(model.visual.image_mean), torch.tensor(model.visual.image_std)
    x = (x - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    x = x.contiguous(memory_format=torch.channels_last)
    visual = model.visual
    if images.shape[1] != _native_size(model):
        features = _resnet_at(visual, x) if hasattr(visual, "attnpool") else _vit_at(visual, x)
        return F.normalize(features.float(), dim=-1)
    return F.normalize(visual(x).float(), dim=-1)


def _native_size(model: Any) -> int:
    size = model.visual.image_size
    return int(size[0] if isinstance(size, tuple | list) else size)


def _resampled(table: torch.Tensor, side: int) -> torch.Tensor:
    """Position embedding (1 + g * g, c) of a class token and a grid, for another grid."""
    grid = round((len(table) - 1) ** 0.5)
    planes = table[1:].T.reshape(1, -1, grid, grid)
    planes = F.interpolate(planes, (side, side), mode="bilinear", align_corners=False)
    return torch.cat([table[:1], planes[0].flatten(1).T])


def _resnet_at(visual: Any, x: torch.Tensor) -> torch.Tensor:
    """A ModifiedResNet at another picture size, a multiple of 32."""
    features = visual.stem(x)
    for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        features = layer(features)
    table = _resampled(visual.attnpool.positional_embedding, x.shape[-1] // 32)
    replaced = {"positional_embedding": table}
    return torch.func.functional_call(visual.attnpool, replaced, (features,))


def _vit_at(visual: Any, x: torch.Tensor) -> torch.Tensor:
    """A VisionTransformer at another picture size, a multiple of its patch."""
    side = x.shape[-1] // visual.conv1.stride[0]
    replaced = {"positional_embedding": _resampled(visual.positional_embedding, side)}
    return torch.func.functional_call(visual, replaced, (x,))


def contrastive_loss(similarity: torch.Tensor, relation: torch.Tensor) -> torch.Tensor:
    """Each agreeing pair against the disagreeing ones of its row; pairs of -1 count nowhere.

    Args:
        similarity: (n, m) scaled cosines.
        relation: (n, m), 1 agrees, 0 disagrees, -1 is left out.
    """
    against = similarity.masked_fill(relation != 0, float("-inf")).logsumexp(1, keepdim=True)
    pairs = F.softplus(against - similarity)
    agree = (relation == 1).float()
    weight = agree / agree.sum(1, keepdim=True).clamp(min=1)
    rows = (agree.sum(1) > 0).sum().clamp(min=1)
    return (pairs * weight).sum() / rows


def train_step(model: Any, batch: PairBatch, texts: torch.Tensor) -> torch.Tensor:
    """Both directions' mean loss of one batch, in bfloat16 autocast."""
    with torch.autocast("cpu", torch.bfloat16):
        images = embed_images(model, batch.images)
    similarity = model.logit_scale.exp() * images @ texts.T
    relation = torch.from_numpy(batch.relation)
    loss = contrastive_loss(similarity, relation) + contrastive_loss(similarity.T, relation.T)
    return loss / 2


@torch.no_grad()
def category_scores(model: Any, tokenizer: Any, crops: CropSet) -> dict[str, float]:
    """Top-1 share of ground-truth crops by "a NAME" over all categories, seen and unseen apart."""
    model.eval()
    categories = load_categories()
    names = embed_text(model, tokenizer([article(category.name) for category in categories]))
    seen = {category.slug: category.seen for category in categories}
    slugs = [category.slug for category in categories]
    hits: dict[bool, list[bool]] = {True: [], False: []}
    for start in range(0, len(crops.images), 128):
        with torch.autocast("cpu", torch.bfloat16):
            images = embed_images(model, crops.images[start : start + 128])
        best = (images @ names.T).argmax(1).tolist()
        for slug, found in zip(crops.slugs[start : start + 128], best, strict=True):
            hits[seen[slug]].append(slugs[found] == slug)
    model.train()
    return {
        "top1_seen": float(np.mean(hits[True])) if hits[True] else float("nan"),
        "top1_unseen": float(np.mean(hits[False])) if hits[False] else float("nan"),
        "n_seen": len(hits[True]),
        "n_unseen": len(hits[False]),
    }


def train_clip(
    name: str,
    minutes: float,
    folder: Path,
    *,
    seed: int = 0,
    resume: bool = True,
    text_from: Path | None = None,
    batch_size: int = 128,
    threads: int = 1,
    scenes: Path = POOL,
    held_out: Path = HELD_OUT,
) -> dict[str, Any]:
    """Train ``tiny-RN`` or ``tiny-ViT`` for some minutes, counted over all sessions.

    Args:
        name: open_clip configuration.
        minutes: total training time; the one knob.
        folder: checkpoint folder, taken up again when ``resume``.
        scenes: folder of the training scenes; ``held_out``: of those that it is watched by.
        text_from: safetensors of a trained CLIP whose text tower this one takes over and keeps as
            it is (locked-text tuning, after Zhai et al. 2022): a third of the cost is saved.

    Returns:
        the record: minutes, images seen, curve of losses and scores.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    tokenizer, table = tiny_tokenizer(TOKENIZER), seen_words()
    model = build_clip(name).to(memory_format=torch.channels_last).train()
    if text_from is not None:
        _lock_text_tower(model, text_from)
    rates = {"": PEAK_RATE[name]}
    training = Training(name, model, folder, minutes, rates, seed=seed, resume=resume)
    rng, pool, watched = training.rng, ScenePool(scenes), open_held_out(held_out)
    test = crop_set(list(watched), _native_size(model))
    n_scenes = batch_size // 16

    def step() -> tuple[torch.Tensor, dict[str, float]]:
        size = _size_now(name, training.clock.share)
        n_names = len(table.names)
        batch = draw_pairs(rng, pool, table, batch_size - n_scenes, n_scenes, n_names, size)
        model.logit_scale.data.clamp_(max=np.log(100))
        with torch.set_grad_enabled(text_from is None), torch.autocast("cpu", torch.bfloat16):
            texts = embed_text(model, tokenizer(batch.texts))
        return train_step(model, batch, texts), {"size": size}

    def score(state: dict[str, torch.Tensor]) -> dict[str, float]:
        trial = build_clip(name)
        trial.load_state_dict(state)
        return category_scores(trial, tokenizer, test)

    return training.run(step, batch_size, score)


def _size_now(name: str, share: float) -> int:
    """Small pictures first, at a fraction of the cost, the model's own size at the end."""
    if name == "tiny-RN":
        return 96 if share < 0.6 else 128 if share < 0.75 else 224
    return 80 if share < 0.7 else 112


def _lock_text_tower(model: Any, path: Path) -> None:
    from safetensors.torch import load_file

    state = {k: v.float() for k, v in load_file(path).items() if not k.startswith("visual.")}
    model.load_state_dict({**model.state_dict(), **state})
    for key, parameter in model.named_parameters():
        parameter.requires_grad_(key.startswith("visual.") or key == "logit_scale")
