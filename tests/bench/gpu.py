"""Section gpu: the published architectures at their true size, with random weights.

SAM and CLIP are built with no checkpoint. BLIP-2 is written to a folder as save_pretrained does,
of the published sizes (with a tokenizer of numbered words), and read back. Random masks would be
noise over the whole picture, which no filter lets through and no code stores well: so `draw_discs`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.nn.functional import interpolate
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    BlipImageProcessor,
    OPTConfig,
    PreTrainedTokenizerFast,
)

import tasutils
from bench import released_loop
from bench.measure import Plan, Row, compare, near, noise_and_blobs, seconds
from tasutils.crops import CLIP_MEAN_RGB, CLIP_STD_RGB
from tasutils.tas import TAS

SENTENCE = "the red thing on the left"
IMAGE_TOKEN, VOCABULARY = 50265, 50304  # of Salesforce/blip2-opt-2.7b
RADII = (0.0625, 0.0625, 0.11, 0.16)  # of the four masks of a point, of SAM's input
STEEPNESS = 1000.0  # of a disc's edge: no threshold of stability moves it


def gpu(plan: Plan) -> Iterator[Row]:
    """Seconds, memory, ratio to the loop, share of the arithmetic floor; on a CPU tiny, dry."""
    on_gpu = plan.device.startswith("cuda")
    preset = tasutils.load_preset("paper" if on_gpu else "tiny")
    with TemporaryDirectory() as folder:
        tas = random_tas(preset, plan.device, Path(folder))
        images = [noise_and_blobs(1, seed)[0] for seed in range(plan.images or 4)]
        n_masks = len(tas.describe(images[0]).proposals)
        row = Row(
            "gpu",
            f"{len(images)} images 640 x 480, {n_masks} masks",
            target=("ratio", "at_least", 8.0) if on_gpu else None,
            checked="masks, crop embeddings" + ("" if on_gpu else ", captions"),
            note=f"gpu: preset {preset.name}, random weights; the loop has one image, one sentence",
        )
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()

        def same(ours: list[Any], plain: released_loop.Found) -> None:
            same_scene(ours[0], plain, exact=not on_gpu)

        compare(
            plan,
            row,
            lambda: tas.describe_all(images),
            lambda: released_loop.answer(images[0], [[SENTENCE]], tas, cached=False),
            same,
            per=len(images),
            repeats=min(plan.repeats, 3),
            plain_per=1,
        )
        if on_gpu:
            row.measures["peak_GB"] = torch.cuda.max_memory_allocated() / 1e9
        else:
            row.note += "; DRY RUN on the CPU: neither the sizes nor the device of the targets"
        yield row
        yield floor(plan, tas, images[0], float(np.median(row.ours_s)))


def same_scene(scene: Any, plain: released_loop.Found, exact: bool) -> None:
    """Masks, crop embeddings and captions; not `exact`: masks by IoU, no captions.

    Half precision rounds a batch otherwise than one picture, and random weights hold no opinion.
    """
    masks = scene.proposals.masks()
    assert masks.shape == plain.masks.shape, f"{masks.shape} and {plain.masks.shape}"
    union = np.maximum((masks | plain.masks).sum((1, 2)), 1)
    lowest = ((masks & plain.masks).sum((1, 2)) / union).min(initial=1.0)
    assert lowest >= (1.0 if exact else 0.97), f"masks overlap by {lowest:.3f} only"
    near(scene.crop_embeddings, plain.crops, 1e-3 if exact else 3e-2)
    assert not exact or list(scene.captions) == plain.captions, "captions differ"


def floor(plan: Plan, tas: Any, image: Any, ours_s: float) -> Row:
    """FLOP of describing a picture, counted by torch, over the device's own rate of products.

    Besides, what decoding has to read: the language model's weights at every step.
    """
    on_gpu = plan.device.startswith("cuda")
    dtype, side, size = (torch.float16, 8192, 1 << 31) if on_gpu else (torch.float32, 1024, 1 << 26)
    a = torch.randn(side, side, device=plan.device).to(dtype)
    source = torch.ones(size // 4, device=plan.device)
    target = torch.empty_like(source)
    rate = 2 * side**3 / min(seconds(lambda: a @ a, plan.settle) for _ in range(6))
    memory = 2 * size / min(seconds(lambda: target.copy_(source), plan.settle) for _ in range(6))
    flop = counted(tas, image)
    words = tas.captioner.model.language_model
    weights = sum(p.numel() for p in words.parameters()) * dtype.itemsize
    read = tas.preset.captioner.max_new_tokens * weights
    floor_s = sum(flop.values()) / rate + read / memory
    measures = {f"{name} GFLOP": value / 1e9 for name, value in flop.items()}
    measures |= {"decode_GB": read / 1e9, "matmul_TFLOP_per_s": rate / 1e12}
    measures |= {"memory_GB_per_s": memory / 1e9, "share_of_floor": floor_s / ours_s}
    return Row("gpu", "arithmetic floor", measures=measures)


def counted(tas: Any, image: Any) -> dict[str, float]:
    """FLOP of describing one picture, by network."""
    for part in (tas.proposer, tas.encoder, tas.captioner):
        part.model.requires_grad_(False)  # the counter's hooks trip over parameters that learn
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # its one fused operation is not counted
    try:
        with FlopCounterMode(display=False) as counter:
            tas.describe(image)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return {
        name: float(sum(counts.values()))
        for name, counts in counter.get_flop_counts().items()
        if "." not in name and counts and name != "Global"
    }


def random_tas(preset: Any, device: str, folder: Path) -> Any:
    """The preset with random weights, captions of fixed length; `folder`: where its BLIP-2 goes."""
    torch.manual_seed(0)
    changes: dict[str, Any] = {"proposals.checkpoint": None, "encoder.checkpoint": None}
    changes["captioner.min_length"] = preset.captioner.max_new_tokens
    if preset.name == "paper":
        write_blip2(folder, device)
        changes["captioner.checkpoint"] = str(folder)
    tas = TAS(preset.override(changes), device=device)
    draw_discs(tas.proposer.model)
    return tas


def write_blip2(folder: Path, device: str) -> None:
    """BLIP-2 OPT-2.7b with random weights, float16, and a tokenizer of words "word<i>"."""
    opt = OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=2560,
        word_embed_proj_dim=2560,
        ffn_dim=10240,
        num_hidden_layers=32,
        num_attention_heads=32,
        max_position_embeddings=2048,
    )
    config = Blip2Config(text_config=opt.to_dict(), image_token_index=IMAGE_TOKEN)
    config.vision_config.initializer_range = 0.02  # of 1e-10 nothing is left in float16
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float16)
        with torch.device(device):
            model = Blip2ForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    model.save_pretrained(folder)
    words = [f"word{index}" for index in range(VOCABULARY)]
    words[:4] = ["<s>", "<pad>", "</s>", "<unk>"]  # as OPT numbers them
    words[IMAGE_TOKEN] = "<image>"
    known = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="</s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
    ).save_pretrained(folder)
    BlipImageProcessor(
        size={"height": 224, "width": 224},
        image_mean=list(CLIP_MEAN_RGB),
        image_std=list(CLIP_STD_RGB),
    ).save_pretrained(folder)


def draw_discs(sam: Any) -> None:
    """Let a SAM of random weights give a disc around each point, and think well of half of them.

    Every module does its work, then what it gives is written over: the transformer passes on, in
    its first channel, how near each place is to the point (the kernel of SAM's own Fourier
    features), and the heads cut that at four radii. About half of the points, by those features,
    have one mask of predicted IoU 0.95, all else has 0; no point depends on the others.
    """
    decoder, label = sam.mask_decoder, sam.prompt_encoder.point_embeddings[1].weight
    radii = torch.tensor(RADII, device=label.device)
    levels = torch.exp(-8 * torch.pi**2 * radii**2)  # kernel of features exp(2 pi i b x), |x| <= 1
    first = 1 + decoder.num_mask_tokens  # the point among the transformer's tokens

    def near_point(module: Any, inputs: Any, output: Any) -> Any:
        queries, keys = output[0].clone(), output[1].clone()  # (b, t, c), (b, h w, c)
        with torch.autocast(keys.device.type, enabled=False):
            points = (inputs[2][:, first] - label).float()  # (b, c): sines, then cosines
            places = inputs[1][0].float().flatten(1)  # (c, h w)
            half = points.shape[1] // 2
            keys[:, :, 0] = (points @ places) / half - levels[1]
            queries[:, 0, 0] = torch.where(points[:, :half].sum(dim=1) > 0, 0.95, 0.0)
        return queries, keys

    def guess(module: Any, inputs: Any, output: Any) -> Any:
        liked = torch.zeros_like(output)  # (b, 4)
        liked[:, 1] = inputs[0][:, 0]
        return liked

    def enlarged(module: Any, inputs: Any, output: Any) -> Any:
        planes = torch.zeros_like(output)  # (b, c / 8, 4 h, 4 w)
        distance = inputs[0][:, :1].float()
        size = (output.shape[2], output.shape[3])
        planes[:, 0] = STEEPNESS * interpolate(distance, size, mode="bilinear")[:, 0]
        planes[:, 1] = 1.0
        return planes

    def cut_at(level: torch.Tensor, output: Any) -> Any:
        weights = torch.zeros_like(output)  # (b, c / 8)
        weights[:, 0], weights[:, 1] = 1.0, STEEPNESS * (levels[1] - level)
        return weights

    decoder.transformer.register_forward_hook(near_point)
    decoder.iou_prediction_head.register_forward_hook(guess)
    decoder.output_upscaling.register_forward_hook(enlarged)
    for level, head in zip(levels, decoder.output_hypernetworks_mlps, strict=True):
        head.register_forward_hook(lambda m, i, output, level=level: cut_at(level, output))
