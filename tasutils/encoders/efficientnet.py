"""EfficientNet-Lite on ImageNet-1k: the classifier behind the photo preset, by timm's network."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasutils.checkpoints import load_strict, read_state_dict
from tasutils.compute import Batches
from tasutils.errors import TasError
from tasutils.paths import weights_path

if TYPE_CHECKING:
    import torch

IMAGE_SIZE = 260  # side of the pictures that lite2 was trained on, px
STRIDES = (2, 4, 8, 16, 32)  # of feature_maps(), px of the picture per cell

# TensorFlow's efficientnet/lite: (x - 127) / 128 of 0..255
_MEAN_RGB = 127 / 255
_STD_RGB = 128 / 255
_WHOLE = {
    "_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2",
    "_fc": "classifier",
}  # fmt: skip
_IN_FIRST_STAGE = {
    "_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"
}  # fmt: skip
_IN_BLOCK = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_project_conv": "conv_pwl", "_bn2": "bn3",
}  # fmt: skip

_last: tuple[tuple[Any, ...], torch.Tensor] | None = None  # question and answer


def load_classifier(path: str | Path, device: str = "cpu") -> Any:
    """timm's tf_efficientnet_lite2 in eval mode, float32, its 386 tensors loaded strictly.

    Called on `normalise`d pictures it gives logits (n, 1000), classes in ImageNet-1k's order. The
    same file and device give the same instance, which nobody may change.

    path: a .pth in the layout of efficientnet_lite_pytorch, see `paths.weights_path`.
    """
    return _load(weights_path(path), device)


def normalise(pictures: torch.Tensor) -> torch.Tensor:
    """Float (n, 3, H, W) RGB in 0..1 into the network's range, about -1..1."""
    return (pictures - _MEAN_RGB) / _STD_RGB


def probabilities(network: Any, crops: torch.Tensor, batches: Batches) -> torch.Tensor:
    """Softmax of the classifier: float32 (n, 3, H, W) RGB in 0..1 -> float32 (n, 1000), on the CPU.

    The last answer is kept, by content: describe() shows the same crops to encoder and captioner.
    """
    import torch

    global _last
    pixels = crops.detach().to("cpu", torch.float32).contiguous()
    content = blake2b(pixels.numpy().data).digest()
    key = (id(network), batches.precision, tuple(pixels.shape), content)
    if (last := _last) and last[0] == key:
        return last[1].clone()
    weight = network.conv_stem.weight
    # a convolution of fewer pictures is rounded in another way, so every batch is a full one
    missing = -len(pixels) % batches.size
    filled = torch.cat([pixels, pixels.new_zeros(missing, *pixels.shape[1:])])
    rows = batches(
        filled, lambda few: network(normalise(few.to(weight.device))).float().softmax(1).cpu()
    )
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


@lru_cache(maxsize=4)
def _load(path: Path, device: str) -> Any:
    import timm
    import torch

    network: Any = timm.create_model("tf_efficientnet_lite2", pretrained=False)
    stages = [len(stage) for stage in network.blocks]
    state = {_timm_key(key, stages): value for key, value in read_state_dict(path).items()}
    load_strict(network, state, path.name)
    # a quarter faster on the CPU, equal within 1e-6
    return network.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)


def _timm_key(key: str, stages: list[int]) -> str:
    """A key of efficientnet_lite_pytorch as timm names it; `stages` counts blocks by stage.

    >>> _timm_key("_blocks.2._bn0.bias", [1, 3])
    'blocks.1.1.bn1.bias'
    """
    head, _, rest = key.partition(".")
    if head in _WHOLE:
        return f"{_WHOLE[head]}.{rest}"
    if head == "_blocks":
        number, layer, leaf = rest.split(".")
        stage, block = 0, int(number)
        while stage < len(stages) - 1 and block >= stages[stage]:
            block -= stages[stage]
            stage += 1
        names = _IN_BLOCK if stage else _IN_FIRST_STAGE
        if layer in names:
            return f"blocks.{stage}.{block}.{names[layer]}.{leaf}"
    raise TasError(f"weights with key {key!r} are not of EfficientNet-Lite; check the preset")
