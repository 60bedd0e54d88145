"""Contrastive training of the tiny CLIP models on crops and phrases of the embedded world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch.nn import functional as F

from making.loop import Training
from making.pairs import PairBatch, draw_pairs
from making.pools import POOL, ScenePool
from making.tokenizer import TOKENIZER
from making.words import seen_words
from tasutils.encoders.openclip import build_clip, causal_text, tiny_tokenizer

PEAK_RATE = {"tiny-RN": 1.5e-3, "tiny-ViT": 1.0e-3}


def embed_text(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """`CLIP.encode_text` without the padding: (n, 77) ids to (n, dim), L2-normalised.

    Short and long texts go apart, so that a long caption does not make every name as long.
    """
    ends = tokens.argmax(-1)
    order = ends.argsort()
    cut = int((ends < 10).sum())
    parts = [tokens[rows] for rows in (order[:cut], order[cut:]) if len(rows)]
    found = [causal_text(model, part[:, : int(part.argmax(-1).max()) + 1]) for part in parts]
    return F.normalize(torch.cat(found).float(), dim=-1)[order.argsort()]


def embed_images(model: Any, images: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 (n, s, s, 3) to L2-normalised (n, dim); other sizes than the model's own as well."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    mean, std = torch.tensor(model.visual.image_mean), torch.tensor(model.visual.image_std)
    x = (x - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    x = x.contiguous(memory_format=torch.channels_last)
    if images.shape[1] == _native_size(model):
        return F.normalize(model.visual(x).float(), dim=-1)
    return F.normalize(_at_other_size(model.visual, x).float(), dim=-1)


def _native_size(model: Any) -> int:
    size = model.visual.image_size
    return int(size[0] if isinstance(size, tuple | list) else size)


def _at_other_size(visual: Any, x: torch.Tensor) -> torch.Tensor:
    """A tower at another picture size, a multiple of its stride: its positions are resampled."""
    if hasattr(visual, "attnpool"):
        module, features, stride = visual.attnpool, visual.stem(x), 32
        for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
            features = layer(features)
    else:
        module, features, stride = visual, x, visual.conv1.stride[0]
    table, side = module.positional_embedding, x.shape[-1] // stride  # (1 + g * g, c)
    grid = round((len(table) - 1) ** 0.5)
    planes = table[1:].T.reshape(1, -1, grid, grid)
    planes = F.interpolate(planes, (side, side), mode="bilinear", align_corners=False)
    table = torch.cat([table[:1], planes[0].flatten(1).T])
    return torch.func.functional_call(module, {"positional_embedding": table}, (features,))


def contrastive_loss(similarity: torch.Tensor, relation: torch.Tensor) -> torch.Tensor:
    """Each agreeing pair against the disagreeing ones of its row.

    Args:
        similarity: (n, m) scaled cosines; ``relation``: 1 agrees, 0 disagrees, -1 is left out.
    """
    against = similarity.masked_fill(relation != 0, float("-inf")).logsumexp(1, keepdim=True)
    pairs = F.softplus(against - similarity)
    agree = (relation == 1).float()
    weight = agree / agree.sum(1, keepdim=True).clamp(min=1)
    rows = (agree.sum(1) > 0).sum().clamp(min=1)
    return (pairs * weight).sum() / rows


def step_loss(model: Any, batch: PairBatch, texts: torch.Tensor) -> torch.Tensor:
    """Both directions' mean loss of one batch, in bfloat16 autocast."""
    with torch.autocast("cpu", torch.bfloat16):
        images = embed_images(model, batch.images)
    similarity = model.logit_scale.exp() * images @ texts.T
    relation = torch.from_numpy(batch.relation)
    loss = contrastive_loss(similarity, relation) + contrastive_loss(similarity.T, relation.T)
    return loss / 2


def start_clip(name: str, text_from: Path | None = None) -> Any:
    """A tiny CLIP at the start, with the text tower of a trained one (safetensors) where given.

    That is kept as it is (locked-text tuning, Zhai et al. 2022), which saves a third of the cost.
    """
    model = build_clip(name).to(memory_format=torch.channels_last).train()
    if text_from is not None:
        state = {k: v.float() for k, v in load_file(text_from).items() if "visual." not in k}
        model.load_state_dict({**model.state_dict(), **state})
        for key, parameter in model.named_parameters():
            parameter.requires_grad_(key.startswith("visual.") or key == "logit_scale")
    return model


def train_clip(
    name: str, minutes: float, folder: Path, *, text_from: Path | None = None,
    batch_size: int = 128, scenes: Path = POOL, **how: Any,
) -> dict[str, Any]:  # fmt: skip
    """Train ``tiny-RN`` or ``tiny-ViT``; see `loop.Training`, and `start_clip` for text_from."""
    rates, tokenizer, table = {"": PEAK_RATE[name]}, tiny_tokenizer(TOKENIZER), seen_words()
    training = Training(name, lambda: start_clip(name, text_from), folder, minutes, rates, **how)
    model, rng, pool, n_scenes = training.model, training.rng, ScenePool(scenes), batch_size // 16

    def step() -> tuple[torch.Tensor, dict[str, float]]:
        size = _size_now(name, training.share)
        batch = draw_pairs(
            rng, pool, table, batch_size - n_scenes, n_scenes, len(table.names), size
        )
        model.logit_scale.data.clamp_(max=np.log(100))
        with torch.set_grad_enabled(text_from is None), torch.autocast("cpu", torch.bfloat16):
            texts = embed_text(model, tokenizer(batch.texts))
        return step_loss(model, batch, texts), {"size": size}

    return training.run(step, batch_size)


def _size_now(name: str, share: float) -> int:
    """Small pictures first, at a fraction of the cost, the model's own size at the end."""
    if name == "tiny-RN":
        return 96 if share < 0.6 else 128 if share < 0.75 else 224
    return 80 if share < 0.7 else 112
