"""Training of the tiny SAM on point prompts: scenes of the embedded world, and photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from making.loop import Training
from making.pools import PHOTO_POOL, POOL, ScenePool, photo_pool
from making.words import choose
from tasutils.proposals.sam import build_sam

INPUT_SIZE = 256
INPUT_HW = (192, 256)  # a 240 x 320 picture in SAM's square input
MASK_HW = (96, 128)  # the same at the decoder's resolution
PEAK_RATE = 8e-4
PADDED_FROM = 0.7


@dataclass(frozen=True, eq=False)
class PromptBatch:
    """Pictures uint8 (b, 192, 256, 3) with point prompts.

    points_xy: float32 (b, k, 2), pixels of the 256 px input; targets: float32 (b, k, 96, 128), 0 or
    1, empty for points on the background; labels: uint8 (b, 96, 128), number of the thing, or 0.
    """

    images: NDArray[np.uint8]
    points_xy: NDArray[np.float32]
    targets: NDArray[np.float32]
    labels: NDArray[np.uint8]


def draw_prompts(
    rng: np.random.Generator, pool: ScenePool, images: int, points: int, background: int = 1
) -> PromptBatch:
    """Random scenes, half of them mirrored, with points inside things, and some outside them."""
    pictures: list[Any] = []
    places, targets, labels = [], [], []
    while len(pictures) < images:
        scene = pool.draw(rng)
        flip = slice(None, None, -1 if rng.uniform() < 0.5 else 1)
        image = np.ascontiguousarray(scene.image[:, flip])
        numbered = np.ascontiguousarray(scene.labels[:, flip])
        numbers = [int(n) for n in np.unique(numbered) if n]
        chosen = [choose(rng, numbers) for _ in range(points - background)] + [0] * background
        pictures.append(cv2.resize(image, INPUT_HW[::-1], interpolation=cv2.INTER_AREA))
        places.append([_point_in(rng, numbered, number) for number in chosen])
        targets.append([_small_mask(numbered, number) for number in chosen])
        labels.append(cv2.resize(numbered, MASK_HW[::-1], interpolation=cv2.INTER_NEAREST))
    at, wanted = np.array(places, np.float32), np.array(targets, np.float32)
    return PromptBatch(np.stack(pictures), at, wanted, np.stack(labels))


def _point_in(
    rng: np.random.Generator, labels: NDArray[np.uint8], number: int
) -> tuple[float, ...]:
    places = np.flatnonzero(labels == number)
    if len(places) == 0:
        return 0.5, 0.5
    y, x = divmod(int(places[int(rng.integers(len(places)))]), labels.shape[1])
    scale = INPUT_SIZE / labels.shape[1]
    return (x + 0.5) * scale, (y + 0.5) * scale


def _small_mask(labels: NDArray[np.uint8], number: int) -> NDArray[np.float32]:
    """Of a thing; of the background nothing."""
    mask = (labels == number).astype(np.float32) * bool(number)
    small = cv2.resize(mask, MASK_HW[::-1], interpolation=cv2.INTER_AREA)
    return (small > 0.5).astype(np.float32)


def encode(sam: Any, images: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 (b, 192, 256, 3) to image embeddings (b, c, 32, 32)."""
    x = sam.preprocess(torch.from_numpy(images).permute(0, 3, 1, 2).float())
    return sam.image_encoder(x.contiguous(memory_format=torch.channels_last)).contiguous()


def prompt(
    sam: Any, features: torch.Tensor, points_xy: NDArray[np.float32], padded: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """All four masks as logits (b * k, 4, 96, 128) and predicted IoU (b * k, 4).

    Without ``padded`` the decoder does not see the empty rows below the picture: a quarter
    cheaper, but not quite what the running system does.
    """
    if not padded:
        features = features[:, :, : MASK_HW[0] // 4]
    points = torch.from_numpy(points_xy).flatten(0, 1)[:, None]
    labels = torch.ones(points.shape[:2], dtype=torch.int)
    sparse, _ = sam.prompt_encoder(points=(points, labels), boxes=None, masks=None)
    masks, iou = decode(sam, features, sparse, points_xy.shape[1])
    return masks[:, :, : MASK_HW[0]].float(), iou.float()


def decode(
    sam: Any, features: torch.Tensor, sparse: torch.Tensor, per_image: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """`MaskDecoder.predict_masks` for several images at once, ``per_image`` prompts each."""
    decoder = sam.mask_decoder
    heads = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([heads.expand(len(sparse), -1, -1), sparse], dim=1)
    dense = sam.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
    source = (features + dense).repeat_interleave(per_image, 0)
    place = sam.prompt_encoder.get_dense_pe()[:, :, : source.shape[2]]
    place = place.expand(len(source), -1, -1, -1)
    out, source_out = decoder.transformer(source, place, tokens)
    source = source_out.transpose(1, 2).reshape(source.shape)
    upscaled = decoder.output_upscaling(source)  # (n, c / 8, 4 h, 4 w)
    mixers = [mlp(out[:, i + 1]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)]
    masks = torch.stack(mixers, 1) @ upscaled.flatten(2)
    iou = decoder.iou_prediction_head(out[:, 0])
    return masks.unflatten(2, upscaled.shape[2:]), iou


def sam_loss(
    logits: torch.Tensor, predicted_iou: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, dict[str, float]]:
    """20 focal + 1 dice on the best of the three masks, plus the squared error of every IoU.

    Kirillov et al. 2023, section 3 and appendix A, but for the focal loss's balance (0.75 for the
    mask instead of 0.25): most things here cover under 1 % of the picture, and all masks stayed
    empty otherwise. The single-mask head learns beside them with a small weight. Points on the
    background have no mask: only their IoU, 0, is learned.

    Args:
        logits: (n, 4, h, w); ``predicted_iou``: (n, 4); ``targets``: (n, h, w), 0 or 1.
    """
    goal, chance = targets[:, None].expand_as(logits), logits.sigmoid()
    focal = sigmoid_focal_loss(logits, goal, alpha=0.75, gamma=2).mean((2, 3))
    overlap = (chance * goal).sum((2, 3))
    dice = 1 - (2 * overlap + 1) / (chance.sum((2, 3)) + goal.sum((2, 3)) + 1)
    hard = logits.detach() > 0
    iou = (hard & (goal > 0)).sum((2, 3)) / (hard | (goal > 0)).sum((2, 3)).clamp(min=1)
    thing = (targets.sum((1, 2)) > 0).float()
    count = thing.sum().clamp(min=1)
    mask_loss = 20 * focal + dice
    best = mask_loss[:, 1:].min(1).values
    masks = ((best + 0.2 * mask_loss[:, 0]) * thing).sum() / count
    loss = masks + F.mse_loss(predicted_iou, iou)
    best_iou = (iou[:, 1:].max(1).values * thing).sum() / count
    chosen = iou[:, 1:].gather(1, predicted_iou[:, 1:].argmax(1, keepdim=True))[:, 0]
    told = {"best_iou": float(best_iou), "chosen_iou": float((chosen * thing).sum() / count)}
    return loss, told


class DenseHead(nn.Module):
    """A helper of the training only: thing, outline, and distances to the box at each place.

    So every pixel teaches the encoder, not only the prompted ones.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fine = nn.Conv2d(channels, 32, 1)
        self.box = nn.Conv2d(channels, 4, 1)

    def forward(self, features: torch.Tensor, labels: NDArray[np.uint8]) -> torch.Tensor:
        """Loss for embeddings (b, c, 32, 32) and label maps uint8 (b, 96, 128)."""
        found = F.pixel_shuffle(self.fine(features), 4)[:, :, : MASK_HW[0]].float()
        thing, outline, boxes = (torch.from_numpy(part) for part in dense_targets(labels))
        loss = F.binary_cross_entropy_with_logits(found[:, 0], thing)
        loss = loss + F.binary_cross_entropy_with_logits(found[:, 1], outline)
        distances = self.box(features)[:, :, : MASK_HW[0] // 4].float()
        inside = (boxes[:, :1] >= 0).float()
        error = F.smooth_l1_loss(distances, boxes, beta=0.1, reduction="none") * inside
        return loss + 4 * error.sum() / (4 * inside.sum().clamp(min=1))


def dense_targets(
    labels: NDArray[np.uint8],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Thing and outline (b, 96, 128), distances to the box (b, 4, 24, 32) or -1 outside things.

    Distances are left, top, right, bottom, as shares of 128 mask pixels.
    """
    thing = (labels > 0).astype(np.float32)
    outline = np.zeros_like(thing)
    outline[:, 1:] = labels[:, 1:] != labels[:, :-1]
    outline[:, :, 1:] = np.maximum(outline[:, :, 1:], labels[:, :, 1:] != labels[:, :, :-1])
    cells = labels[:, 2::4, 2::4]
    boxes = np.full((len(labels), 4, *cells.shape[1:]), -1, np.float32)
    y, x = np.mgrid[: cells.shape[1], : cells.shape[2]] * 4 + 2
    for index, image in enumerate(labels):
        for number in np.unique(cells[index][cells[index] > 0]):
            left, top, width, height = cv2.boundingRect((image == number).astype(np.uint8))
            here = cells[index] == number
            sides = (x - left, y - top, left + width - x, top + height - y)
            boxes[index][:, here] = np.stack([side[here] for side in sides]) / MASK_HW[1]
    return thing, outline, np.maximum(boxes, -1)


def trainable() -> nn.ModuleDict:
    """A tiny SAM and its helper, at the start."""
    sam = build_sam("tiny")
    model = nn.ModuleDict({"sam": sam, "helper": DenseHead(sam.prompt_encoder.embed_dim)})
    return model.to(memory_format=torch.channels_last).train()


def step_loss(
    model: Any, batch: PromptBatch, padded: bool = True
) -> tuple[torch.Tensor, dict[str, float]]:
    """SAM's loss and the helper's, the networks in bfloat16 autocast."""
    with torch.autocast("cpu", torch.bfloat16):
        features = encode(model["sam"], batch.images)
        dense = model["helper"](features, batch.labels)
        logits, iou = prompt(model["sam"], features, batch.points_xy, padded)
    loss, numbers = sam_loss(logits, iou, torch.from_numpy(batch.targets).flatten(0, 1))
    return loss + dense, {**numbers, "dense": float(dense.detach())}


def train_sam(
    minutes: float, folder: Path, *, images: int = 4, points: int = 8, scenes: Path = POOL,
    photographs: Path = PHOTO_POOL, **how: Any,
) -> dict[str, Any]:  # fmt: skip
    """Train the tiny SAM; see `loop.Training`.

    Args:
        images: pictures a step; ``points``: prompts a picture, one of them on the background.
        photographs: folder of the scenes made of cut-outs, which are half of what is drawn.
    """
    training = Training("sam", trainable, folder, minutes, {"": PEAK_RATE}, 0.03, 0.4, **how)
    rng, pool = training.rng, ScenePool(scenes, more=[photo_pool(photographs)])

    def step() -> tuple[torch.Tensor, dict[str, float]]:
        batch = draw_prompts(rng, pool, images, points)
        return step_loss(training.model, batch, training.share > PADDED_FROM)

    return training.run(step, images)
