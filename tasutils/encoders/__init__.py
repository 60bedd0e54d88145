"""Images and texts into one space: the `ImageTextEncoder` protocol."""

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


class ImageTextEncoder(Protocol):
    """An image tower and a text tower with a common embedding of `dim` numbers."""

    dim: int
    image_size: int
    device: str

    def encode_images(self, crops: "torch.Tensor") -> NDArray[np.float32]:
        """Float32 (n, 3, image_size, image_size) RGB in 0..1 -> float32 (n, dim), L2-normalised."""

    def encode_text(self, texts: list[str]) -> NDArray[np.float32]:
        """n texts as they stand -> float32 (n, dim), L2-normalised; no text gives (0, dim)."""
