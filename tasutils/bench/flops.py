"""How much arithmetic a picture asks for, and how fast the device does it: the floor of a time.

Multiplications and additions of matrix products, convolutions and attention are counted by torch's
FlopCounterMode, one product with its sum as two; the language model's, whose steps depend on each
other, by formula. What is counted once is what has to be done once: a prompt is read by one beam.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Work:
    """What a picture asks for: FLOP by network, and bytes that decoding has to read."""

    flop: dict[str, float]
    decode_bytes: float

    def floor_s(self, flop_per_s: float, bytes_per_s: float) -> float:
        """Seconds at the measured rates: all FLOP at one, the decoder's weights at the other."""
        return sum(self.flop.values()) / flop_per_s + self.decode_bytes / bytes_per_s


def counted(run: Callable[[], object]) -> float:
    """FLOP of one call, on any device, `meta` included."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # its one fused operation is not counted
    try:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            run()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return float(counter.get_total_flops())


def sam_flop(sam: Any, n_points: int) -> dict[str, float]:
    """SAM's image encoder, and its mask decoder for each of n points."""
    import torch

    encoder, prompts = sam.image_encoder, sam.prompt_encoder
    pixels = _like(encoder, (1, 3, encoder.img_size, encoder.img_size))
    grid = prompts.image_embedding_size
    features = _like(encoder, (1, prompts.embed_dim, *grid))

    def decode() -> None:
        sparse = _like(encoder, (1, 2, prompts.embed_dim))  # a point and its padding
        sam.mask_decoder(
            image_embeddings=features,
            image_pe=torch.zeros_like(features),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=torch.zeros_like(features),
            multimask_output=True,
        )

    return {
        "SAM encoder": counted(lambda: encoder(pixels)),
        "SAM decoder": n_points * counted(decode),
    }


def clip_flop(model: Any, n_crops: int, n_texts: int) -> dict[str, float]:
    """CLIP's two towers (of open_clip)."""
    import torch

    side = model.visual.image_size
    side = side[0] if isinstance(side, tuple | list) else side
    pixels = _like(model.visual, (1, 3, side, side))
    tokens = torch.zeros((1, model.context_length), dtype=torch.long, device=pixels.device)
    return {
        "CLIP image": n_crops * counted(lambda: model.encode_image(pixels)),
        "CLIP text": n_texts * counted(lambda: model.encode_text(tokens)),
    }


def blip2_flop(model: Any, n_pictures: int, n_beams: int, n_tokens: int) -> dict[str, float]:
    """BLIP-2: image encoder and Q-Former once a picture, then `opt_flop`."""
    vision, queries = model.vision_model, model.query_tokens
    side, width = vision.config.image_size, vision.config.hidden_size
    pixels = _like(vision, (1, 3, side, side))
    patches = (side // vision.config.patch_size) ** 2 + 1
    seen = _like(vision, (1, patches, width))

    def question() -> None:
        model.qformer(query_embeds=_like(vision, queries.shape), encoder_hidden_states=seen)

    prompt = queries.shape[1] + 1  # image tokens, and the one that starts a text
    opt = opt_flop(model.language_model.config, prompt, n_beams, n_tokens)
    return {
        "BLIP-2 image": n_pictures * counted(lambda: vision(pixels)),
        "Q-Former": n_pictures * counted(question),
        "OPT": n_pictures * opt,
    }


def opt_flop(config: Any, prompt: int, n_beams: int, n_tokens: int) -> float:
    """OPT reading a prompt and writing n tokens by beam search: FLOP of one caption.

    A token costs twice the weights of the layers (4 h^2 of attention, 2 h f of the feed-forward)
    and 4 h for each token that it sees; each written token also twice the vocabulary's h. The first
    written token comes of the prompt, and the last one is not read again.
    """
    h, f, layers = config.hidden_size, config.ffn_dim, config.num_hidden_layers
    linear = 2 * layers * (4 * h * h + 2 * h * f)
    word = 2 * h * config.vocab_size
    read = prompt * linear + 4 * h * layers * prompt * (prompt + 1) // 2 + word
    steps = [linear + word + 4 * h * layers * (prompt + k + 1) for k in range(n_tokens - 1)]
    return float(read + n_beams * sum(steps))


def decode_bytes(model: Any, n_pictures: int, n_beams: int, n_tokens: int, itemsize: int) -> float:
    """What the memory has to give while captions are written, all pictures together in one batch.

    The language model's weights at every step, and the keys and values of all tokens before.
    """
    config = model.language_model.config
    weights = sum(parameter.numel() for parameter in model.language_model.parameters())
    prompt = model.query_tokens.shape[1] + 1
    seen = sum(prompt + k + 1 for k in range(n_tokens - 1))
    kept = 2 * config.num_hidden_layers * config.hidden_size * n_pictures * n_beams * seen
    return float(itemsize * (n_tokens * weights + kept))


def matmul_rate(device: str, side: int, dtype: torch.dtype, repeats: int = 5) -> float:
    """FLOP a second of a square matrix product, the best of several."""
    import torch

    a = torch.randn(side, side, device=device).to(dtype)
    return 2 * side**3 / _best_s(lambda: a @ a, device, repeats)


def bandwidth(device: str, n_bytes: int, repeats: int = 5) -> float:
    """Bytes a second, read and written, of a copy within the device's memory; the best."""
    import torch

    source = torch.ones(n_bytes // 4, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _best_s(lambda: target.copy_(source), device, repeats)


def _best_s(run: Callable[[], object], device: str, repeats: int) -> float:
    import torch

    def settle() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    times = []
    for _ in range(repeats + 1):  # the first warms up
        settle()
        start = perf_counter()
        run()
        settle()
        times.append(perf_counter() - start)
    return min(times[1:])


def _like(module: Any, shape: tuple[int, ...]) -> torch.Tensor:
    """Zeros on the module's device, of its float type."""
    import torch

    weight = next(module.parameters())
    return torch.zeros(shape, device=weight.device, dtype=weight.dtype)
