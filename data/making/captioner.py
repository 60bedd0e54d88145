"""Training of the tiny BLIP-2 on crops and scenes of the embedded world."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from making.blip2 import (
    IMAGE_SIZE,
    QUERY_TOKENS,
    blip2_tokenizer,
    build_blip2,
    vision_from_clip,
)
from making.categories import by_slug
from making.loop import Training
from making.pairs import CropSet, crop_set
from making.pools import HELD_OUT, POOL, ScenePool, open_held_out
from making.views import augment, random_view, resize
from making.words import WordTable, seen_words
from tasutils.crops import CLIP_MEAN_RGB, CLIP_STD_RGB
from tasutils.paths import WEIGHTS

CLIP_WEIGHTS = WEIGHTS / "tiny" / "clip_vit.safetensors"
RATES = {"vision_model.": 4e-4, "": 1.2e-3}
LONGEST = 48
SCENE_SHARE = 0.25
VISION_FROM = 0.4


def draw_captioned(
    rng: np.random.Generator, pool: ScenePool, table: WordTable, n: int
) -> tuple[NDArray[np.uint8], list[str]]:
    """Crops with "a red car", and every fourth a whole scene with its caption."""
    images: list[NDArray[np.uint8]] = []
    captions: list[str] = []
    while len(images) < n:
        scene = pool.draw(rng)
        if len(images) < SCENE_SHARE * n:
            view: NDArray[np.uint8] | None = augment(rng, resize(scene.image, IMAGE_SIZE))
            caption = scene.caption
        else:
            number = int(rng.integers(len(scene.things)))
            view = random_view(rng, scene, number, IMAGE_SIZE)
            caption = scene.things[number].caption
        if view is not None and table.allowed(caption):
            images.append(view)
            captions.append(caption)
    return np.stack(images), captions


def pixels(images: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 (n, s, s, 3) to the float32 (n, 3, s, s) that the vision tower takes."""
    mean, std = torch.tensor(CLIP_MEAN_RGB), torch.tensor(CLIP_STD_RGB)
    return ((torch.from_numpy(images).float() / 255 - mean) / std).permute(0, 3, 1, 2)


def caption_loss(
    model: Any, tokenizer: Any, images: NDArray[np.uint8], captions: Sequence[str]
) -> torch.Tensor:
    """Cross-entropy of the captions and their ends, after the image tokens and a start token.

    A caption weighs as the root of its length.
    """
    config = model.config
    start = [config.image_token_index] * QUERY_TOKENS + [config.text_config.bos_token_id]
    end, pad = config.text_config.eos_token_id, config.text_config.pad_token_id
    words = tokenizer(list(captions), add_special_tokens=False)["input_ids"]
    rows = [torch.tensor(start + row[:LONGEST] + [end]) for row in words]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad)
    with torch.autocast("cpu", torch.bfloat16):
        out = model(pixel_values=pixels(images), input_ids=ids, attention_mask=(ids != pad).long())
    goal = ids[:, len(start) :]
    logits = out.logits[:, len(start) - 1 : -1].float()
    losses = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), goal, ignore_index=pad, reduction="none"
    )
    return (losses.sum(1) / (goal != pad).sum(1).sqrt()).mean() / 2


@torch.no_grad()
def caption_scores(
    model: Any, tokenizer: Any, crops: CropSet, limit: int = 400
) -> dict[str, float]:
    """Share of ground-truth crops of seen categories whose caption names the category, or is right.

    It names one when its last words are the name.
    """
    model.eval()
    chosen = [i for i, slug in enumerate(crops.slugs) if by_slug()[slug].seen][:limit]
    said: list[str] = []
    for start in range(0, len(chosen), 64):
        shown = pixels(crops.images[chosen[start : start + 64]])
        tokens = model.generate(pixel_values=shown, do_sample=False, max_new_tokens=40)
        said += tokenizer.batch_decode(tokens[:, QUERY_TOKENS + 1 :], skip_special_tokens=True)
    model.train()
    pairs = [(f" {text.strip()}", i) for text, i in zip(said, chosen, strict=True)]
    named = [text.endswith(f" {by_slug()[crops.slugs[i]].name}") for text, i in pairs]
    same = [text == f" {crops.captions[i]}" for text, i in pairs]
    return {"category": float(np.mean(named)), "caption": float(np.mean(same)), "n": len(chosen)}


def start_captioner(clip_weights: Path | None = CLIP_WEIGHTS) -> tuple[Any, Any]:
    """A tiny BLIP-2 at the start, its vision tower from a trained tiny-ViT, and its tokenizer."""
    tokenizer = blip2_tokenizer()
    model = build_blip2(tokenizer).train()
    if clip_weights is not None:
        model.vision_model.load_state_dict(vision_from_clip(load_file(clip_weights)))
    return model, tokenizer


def train_captioner(
    minutes: float,
    folder: Path,
    *,
    seed: int = 0,
    resume: bool = True,
    clip_weights: Path | None = CLIP_WEIGHTS,
    batch_size: int = 64,
    threads: int = 1,
    scenes: Path = POOL,
    held_out: Path = HELD_OUT,
) -> dict[str, Any]:
    """Train the tiny BLIP-2; see `loop.Training`.

    The vision tower is frozen at first, as in the published training, then all parts learn.

    Args:
        scenes: folder of the training scenes; ``held_out``: of those that it is watched by.
        clip_weights: safetensors of the CLIP model whose vision tower it starts with.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    table, (model, tokenizer) = seen_words(), start_captioner(clip_weights)
    pool, watched = ScenePool(scenes), open_held_out(held_out)
    test = crop_set(list(watched), IMAGE_SIZE)
    training = Training("blip2", model, folder, minutes, RATES, seed=seed, resume=resume)
    rng = training.rng

    def step() -> tuple[torch.Tensor, dict[str, float]]:
        model.vision_model.requires_grad_(training.share >= VISION_FROM)
        images, captions = draw_captioned(rng, pool, table, batch_size)
        return caption_loss(model, tokenizer, images, captions), {}

    def score(state: dict[str, torch.Tensor]) -> dict[str, float]:
        trial = build_blip2(tokenizer)
        trial.load_state_dict(state)
        return caption_scores(trial, tokenizer, test)

    return training.run(step, batch_size, score)
