"""Section gpu: the published architectures at their true size, with random weights."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils.bench.equal import Unequal, all_of, equal_masks, near, near_masks
from tasutils.bench.flops import (
    Work,
    bandwidth,
    blip2_flop,
    clip_flop,
    decode_bytes,
    matmul_rate,
    sam_flop,
)
from tasutils.bench.plan import DATASET, Plan, noise_and_blobs
from tasutils.bench.released_loop import Found, answer_released
from tasutils.bench.rows import Row, Spread, Target
from tasutils.bench.timing import alternate
from tasutils.bench.true_size import random_tas
from tasutils.config import load_preset

if TYPE_CHECKING:
    from tasutils.scene import Scene
    from tasutils.tas import TAS

SENTENCE = "the red thing on the left"
MOST_S, MOST_GB, FASTER = 0.25, 12.0, 8.0
TOLERANCE = {"cpu": 1e-3, "cuda": 3e-2}  # half precision on a GPU


def rows(plan: Plan) -> list[Row]:
    """Seconds, memory, ratio to the loop, and the share of the arithmetic floor.

    On a CPU it is a dry run with preset tiny; other presets are refused there.
    """
    on_gpu, preset = plan.device.startswith("cuda"), plan.given or load_preset("paper")
    if not on_gpu and preset.name.removesuffix("*") != "tiny":
        reason = f"preset {preset.name} at its true size needs a CUDA GPU, none is here; "
        reason += "tas bench gpu --preset tiny does a dry run on the CPU"
        return [Row(section="gpu", what="random weights", skipped=reason)]
    with TemporaryDirectory() as folder:
        tas = random_tas(preset, plan.device, Path(folder))
        return _measured(plan, tas, on_gpu)


def _measured(plan: Plan, tas: TAS, on_gpu: bool) -> list[Row]:
    images = [noise_and_blobs(1, seed=seed)[0] for seed in range(plan.count(4))]
    tolerance = TOLERANCE["cuda" if on_gpu else "cpu"]

    def same(ours: list[Scene], plain: Found) -> str:
        return same_scene(ours[0], plain, tolerance, exact=not on_gpu)

    if on_gpu:
        import torch

        torch.cuda.reset_peak_memory_stats()
        tas.describe_all(images)
        peak_gb = torch.cuda.max_memory_allocated() / 1e9
    timed = alternate(
        lambda: tas.describe_all(images),
        lambda: answer_released(images[0], [[SENTENCE]], tas, DATASET),
        same,
        min(plan.repeats, 3),
        len(images),
        plan.settle,
        plain_per=1,
    )
    scene = tas.describe_all(images[:1])[0]
    n_masks = len(scene.proposals)
    what = f"{len(images)} images 640 x 480, {n_masks} masks"
    note = (
        f"gpu: preset {tas.preset.name}, random weights; the loop has one reference, one sentence"
    )
    if not on_gpu:
        note += "; DRY RUN on the CPU: neither the sizes nor the device of the targets"
    found = [
        Row(
            section="gpu",
            what=what,
            measures={"masks": float(n_masks)},
            target=Target(number="ours_s", at_most=MOST_S) if on_gpu else None,
            note=note,
            **timed.fields(),
        ),
        Row(
            section="gpu",
            what="the same against the loop",
            ratio=timed.ratio,
            target=Target(number="ratio", at_least=FASTER) if on_gpu else None,
        ),
        _floor(plan, tas, scene, timed.ours_s, on_gpu),
    ]
    if on_gpu:
        most = Target(number="peak_GB", at_most=MOST_GB)
        measures = {"peak_GB": peak_gb}
        found.append(Row(section="gpu", what="memory of the GPU", measures=measures, target=most))
    return found


def work_of(tas: TAS, n_masks: int, n_phrases: int, itemsize: int) -> Work:
    """What one picture of n masks asks of the networks, captions of the longest length."""
    captioner = tas.preset.captioner
    beams, tokens = captioner.num_beams, captioner.max_new_tokens  # type: ignore[union-attr]
    points = tas.preset.proposals.points_per_side**2  # type: ignore[union-attr]
    sam, clip = tas.proposer.model, tas.encoder.model  # type: ignore[attr-defined]
    blip2 = tas.captioner.model  # type: ignore[attr-defined]
    pictures = n_masks + 1  # the whole one too
    flop = sam_flop(sam, points) | clip_flop(clip, n_masks, n_masks + n_phrases)
    flop |= blip2_flop(blip2, pictures, beams, tokens)
    return Work(flop, decode_bytes(blip2, pictures, beams, tokens, itemsize))


def _floor(plan: Plan, tas: TAS, scene: Scene, ours_s: Spread, on_gpu: bool) -> Row:
    import torch

    dtype, side, size = torch.float32, 1024, 1 << 26
    if on_gpu:
        dtype, side, size = torch.float16, 8192, 1 << 31
    work = work_of(tas, len(scene.proposals), len(scene.phrases), dtype.itemsize)
    rate, memory = matmul_rate(plan.device, side, dtype), bandwidth(plan.device, size)
    floor_s = work.floor_s(rate, memory)
    measures = {f"{name} GFLOP": flop / 1e9 for name, flop in work.flop.items()}
    measures |= {"decode_GB": work.decode_bytes / 1e9, "matmul_TFLOP_per_s": rate / 1e12}
    measures |= {"memory_GB_per_s": memory / 1e9, "floor_s": floor_s}
    return Row(
        section="gpu",
        what="arithmetic floor",
        measures=measures | {"share_of_floor": floor_s / ours_s.median},
        note="gpu: floor = FLOP / matmul rate + decoder bytes / memory rate, of one image",
    )


def same_scene(scene: Scene, plain: Found, tolerance: float, exact: bool) -> str:
    """Masks, crop embeddings and captions; not `exact`: masks by IoU, captions only counted.

    Half precision rounds a batch otherwise than one picture, and random weights hold no opinion.
    """
    masks = scene.proposals.masks()
    words = [equal_masks(masks, plain.masks) if exact else near_masks(masks, plain.masks, 0.97)]
    words.append(near(scene.crop_embeddings, plain.crop_embeddings, tolerance, "crop embeddings"))
    equal = _equal_count(scene.captions, plain.captions)
    if exact and equal < len(plain.captions):
        raise Unequal(f"{len(plain.captions) - equal} of {len(plain.captions)} captions differ")
    return all_of(*words, f"{equal} of {len(plain.captions)} captions equal")


def _equal_count(ours: list[str], plain: list[str]) -> int:
    pairs: NDArray[np.bool_] = np.array([a == b for a, b in zip(ours, plain, strict=True)], bool)
    return int(pairs.sum())
