"""Settings of how the networks run."""

from typing import Literal

from pydantic import Field

from tasutils.parts.base import Part

Precision = Literal["float32", "float16", "bfloat16"]


class ComputeConfig(Part):
    """How the networks run; but for `precision`, no result changes beyond rounding.

    precision: float type of the networks' arithmetic. The captioner is in it with its weights (but
        for what transformers keeps in float32), of the others what autocast puts into it.
    channels_last: whether the image towers keep their channels innermost in memory.
    compile: whether torch.compile makes the image towers' forward pass.
    image_batch: pictures whose crops and texts go through the networks together.
    crop_batch, caption_batch, text_batch: crops at a time through the encoder, pictures through the
        captioner, texts through the encoder. Each is halved when memory does not suffice.
    """

    precision: Precision = "float32"
    channels_last: bool = False
    compile: bool = False
    image_batch: int = Field(default=8, ge=1)
    crop_batch: int = Field(default=64, ge=1)
    caption_batch: int = Field(default=16, ge=1)
    text_batch: int = Field(default=64, ge=1)


PLAIN = ComputeConfig()
