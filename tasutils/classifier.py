"""EfficientNet-Lite2, which names what a picture shows among ImageNet's classes; names of colours.

Encoder, captioner and proposals of photographs share it.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils.checkpoints import load_strict, read_state_dict
from tasutils.compute import Batches
from tasutils.errors import TasError
from tasutils.paths import weights_path

if TYPE_CHECKING:
    import torch

IMAGE_SIZE = 260  # side of the pictures that lite2 was trained on, px
STRIDES = (2, 4, 8, 16, 32)  # of feature_maps(), px of the picture per cell
COLORS = (
    *("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown"),
    *("black", "grey", "white"),
)
_FILL = 0.02  # no channel above it: background, or as good as black
# TensorFlow's efficientnet/lite: (x - 127) / 128 of 0..255
_MEAN_RGB, _STD_RGB = 127 / 255, 128 / 255
# layers as efficientnet_lite_pytorch names them, and timm: outside the blocks; inside; inside the
# first stage's, which do not expand
_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_OUTSIDE |= {"_fc": "classifier"}
_INSIDE = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
_INSIDE |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}

_last: tuple[tuple[Any, ...], torch.Tensor] | None = None  # question and answer


@lru_cache(maxsize=4)
def load_classifier(path: str | Path, device: str = "cpu") -> Any:
    """timm's tf_efficientnet_lite2, float32, of a .pth in efficientnet_lite_pytorch's layout.

    Called on `normalise`d pictures it gives logits (n, 1000), classes in ImageNet-1k's order. The
    same file and device give the same instance, which nobody may change.
    """
    import timm
    import torch

    path = weights_path(path)
    network: Any = timm.create_model("tf_efficientnet_lite2", pretrained=False)
    names = dict(_OUTSIDE)
    places = [(stage, k) for stage, blocks in enumerate(network.blocks) for k in range(len(blocks))]
    for number, (stage, k) in enumerate(places):
        layers = _INSIDE if stage else _FIRST
        names |= {f"_blocks.{number}.{a}": f"blocks.{stage}.{k}.{b}" for a, b in layers.items()}
    state = {}
    for key, value in read_state_dict(path).items():
        layer, _, leaf = key.rpartition(".")
        state[f"{names.get(layer, layer)}.{leaf}"] = value
    load_strict(network, state, path.name)
    # a quarter faster on the CPU, equal within 1e-6
    return network.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)


def normalise(pictures: torch.Tensor) -> torch.Tensor:
    """Float (n, 3, H, W) RGB in 0..1 into the network's range, about -1..1."""
    return (pictures - _MEAN_RGB) / _STD_RGB


def probabilities(network: Any, crops: torch.Tensor, batches: Batches) -> torch.Tensor:
    """Softmax of the classifier: float32 (n, 3, H, W) RGB in 0..1 -> float32 (n, 1000), on the CPU.

    The last answer is kept, by content: describe() shows encoder and captioner the same crops.
    """
    import torch

    global _last
    pixels = crops.detach().to("cpu", torch.float32).contiguous()
    content = blake2b(pixels.numpy().data).digest()
    key = (id(network), batches.precision, tuple(pixels.shape), content)
    if (last := _last) and last[0] == key:
        return last[1].clone()
    device = network.conv_stem.weight.device
    # a convolution of fewer pictures is rounded in another way, so every batch is a full one
    missing = -len(pixels) % batches.size
    filled = torch.cat([pixels, pixels.new_zeros(missing, *pixels.shape[1:])])
    rows = batches(filled, lambda few: network(normalise(few.to(device))).float().softmax(1).cpu())
    answer = torch.cat([torch.zeros((0, network.num_classes)), *rows])[: len(pixels)]
    _last = (key, answer)
    return answer.clone()


def feature_maps(network: Any, pictures: torch.Tensor) -> dict[int, torch.Tensor]:
    """Dense features after the last block of each of `STRIDES`, without gradients.

    pictures: float32 (n, 3, H, W) RGB in 0..1. Returns float32 (n, c, ceil(H / stride),
    ceil(W / stride)), c = 16, 24, 48, 120 and 352; not normalised, may be negative.
    """
    import torch

    weight = network.conv_stem.weight
    with torch.inference_mode():
        maps = network.forward_intermediates(
            normalise(pictures.to(weight.device, weight.dtype)), intermediates_only=True
        )
    return dict(zip(STRIDES, maps, strict=True))


# --- colours ---


def color_shares(rgb: NDArray[np.floating]) -> NDArray[np.float64]:
    """Share of pixels that each of `COLORS` names, by rules on hue, saturation and value.

    rgb: float (n, 3), in 0..1, the pixels of one thing. Returns float64 (11,), in the order of
    `COLORS`, sum 1; all zero when n is 0. The words are the basic terms of Berlin and Kay (1969).
    """
    if rgb.ndim != 2 or rgb.shape[1] != 3:
        raise TasError(f"pixels must be an array of (n, 3), not {rgb.shape}")
    if len(rgb) == 0:
        return np.zeros(len(COLORS))
    rgb = rgb.astype(np.float64)
    value, span = rgb.max(1), np.ptp(rgb, axis=1)
    saturation = span / np.where(value > 0, value, 1)
    red, green, blue = rgb.T
    turns = np.stack([green - blue, blue - red, red - green]) / np.where(span > 0, span, 1)
    of_red, of_green, of_blue = turns[0] % 6, 2 + turns[1], 4 + turns[2]
    by_green = np.where(value == green, of_green, of_blue)
    hue = 60 * np.where(value == red, of_red, by_green)  # degrees, 0..360
    grey = (saturation < 0.2) | (value < 0.15)
    warm = (hue >= 10) & (hue < 45)
    # a dark or dull orange is called brown, a pale red pink
    dull = warm & ((value < 0.62) | (saturation * value < 0.4))
    pale = ((hue >= 300) | (hue < 10)) & (saturation < 0.5) & (value > 0.65)
    rules = {  # the first that holds names the pixel
        "black": grey & (value < 0.25), "white": grey & (value >= 0.78), "grey": grey,
        "brown": dull, "pink": pale | ((hue >= 310) & (hue < 342)),
        "red": (hue < 14) | (hue >= 342), "orange": hue < 42, "yellow": hue < 68,
        "green": hue < 170, "blue": hue < 255, "purple": hue >= 255,
    }  # fmt: skip
    first = np.argmax(np.stack(list(rules.values())), axis=0)  # (n,)
    counts = dict(zip(rules, np.bincount(first, minlength=len(rules)), strict=True))
    return np.array([counts[name] for name in COLORS]) / len(rgb)


def crop_color_shares(crop: NDArray[np.floating]) -> NDArray[np.float64]:
    """`color_shares` of the thing in a crop (3, H, W) in 0..1, black outside its mask.

    Every third pixel that is not fill; a crop that is black altogether is of a black thing.
    """
    pixels = crop[:, ::3, ::3].reshape(3, -1).T  # (n, 3)
    thing = pixels[pixels.max(axis=1) > _FILL]
    return color_shares(thing if len(thing) else pixels)
