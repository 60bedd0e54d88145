"""ConSE: an image-text encoder of an ImageNet classifier and a sentence encoder, none trained here.

An image is embedded as the mean of the names of its likeliest classes, weighted by their
probabilities (Norouzi et al., arXiv 1312.5650); a text as the sentence encoder has it. Beyond the
article a name carries its nearest hypernyms, and the colours of the pixels are added as words.
"""

import os
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils.colors import COLORS, crop_color_shares
from tasutils.compute import Batches
from tasutils.config import PLAIN, ComputeConfig
from tasutils.encoders.efficientnet import IMAGE_SIZE, load_classifier, probabilities
from tasutils.encoders.sentences import SentenceEncoder
from tasutils.encoders.settings import ConseConfig
from tasutils.language.imagenet import image_classes
from tasutils.paths import RESULTS, content_digest, weights_path
from tasutils.permissions import share

if TYPE_CHECKING:
    import torch

_COLOR_TEMPLATE = "a photo of a {} thing"


class ConseEncoder:
    """ConSE over EfficientNet-Lite2 and MiniLM as `ImageTextEncoder`, zero-shot.

    Args:
        config: the two models and how they are joined.
        device: "cpu", "cuda", ...
        compute: precision, memory layout, compilation, crops and texts at a time.

    Raises TasError when a file of the models or WordNet is missing or damaged.
    """

    def __init__(
        self, config: ConseConfig, device: str = "cpu", compute: ComputeConfig = PLAIN
    ) -> None:
        self.config = config
        self.device = device
        self.crop_batches = Batches("EfficientNet", compute.crop_batch, device, compute.precision)
        self.image_size = IMAGE_SIZE
        self.classifier = load_classifier(config.checkpoint, device)
        self.sentences = SentenceEncoder(weights_path(config.text_model), device, compute)
        self.dim = self.sentences.dim
        self._names = _class_names(config.text_model, device, config.name_template, config.kinds)
        colors = self.sentences([_COLOR_TEMPLATE.format(color) for color in COLORS])
        self._colors = colors - colors.mean(axis=0)  # (11, dim): what sets each colour apart

    def encode_images(self, crops: "torch.Tensor") -> NDArray[np.float32]:
        """Float32 (n, 3, 260, 260) RGB in 0..1 -> float32 (n, dim), L2-normalised.

        Colours are read where a crop is not black, so it must be black outside its mask.
        """
        if len(crops) == 0:
            return np.zeros((0, self.dim), dtype=np.float32)
        likely = probabilities(self.classifier, crops, self.crop_batches).numpy()  # (n, 1000)
        images = conse(likely, self._names, self.config.top_k)  # (n, dim)
        if self.config.color_weight:
            shares = np.stack([crop_color_shares(crop) for crop in crops.cpu().numpy()])  # (n, 11)
            images = _unit(images + self.config.color_weight * shares @ self._colors)
        return images.astype(np.float32)

    def encode_text(self, texts: list[str]) -> NDArray[np.float32]:
        """n texts as they stand -> float32 (n, dim), L2-normalised; cut at 256 tokens."""
        return self.sentences(texts)


def conse(
    likely: NDArray[np.float32], names: NDArray[np.float32], top_k: int
) -> NDArray[np.float32]:
    """Sum over the `top_k` likeliest classes of p times name, L2-normalised (ConSE, equation 3).

    The article divides by the sum of the p, which the norm takes out again.

    Args:
        likely: (n, c), the classes' probabilities, 0..1.
        names: (c, d), the classes' names in the space of the texts, L2-normalised.
        top_k: 1..c.

    Returns (n, d).
    """
    best = np.argpartition(-likely, top_k - 1, axis=1)[:, :top_k]  # (n, top_k)
    weights = np.zeros_like(likely)
    np.put_along_axis(weights, best, np.take_along_axis(likely, best, axis=1), axis=1)
    return _unit(weights @ names)


@lru_cache(maxsize=4)
def _class_names(model: str, device: str, template: str, kinds: int) -> NDArray[np.float32]:
    """Embeddings (1000, dim) of ImageNet's class names, kept in results/cache between processes."""
    folder = weights_path(model)
    texts = [template.format(c.with_kinds(kinds)) for c in image_classes()]
    digest = sha256("\n".join([content_digest(folder), *texts]).encode()).hexdigest()
    path = RESULTS / "cache" / f"class_names_{digest[:16]}.npy"
    with suppress(OSError, ValueError, EOFError):
        stored = np.load(path, allow_pickle=False)
        if stored.shape[:1] == (len(texts),) and stored.dtype == np.float32:
            return stored
    names = SentenceEncoder(folder, device)(texts)
    with suppress(OSError):  # a folder that cannot be written costs time only
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, suffix=".npy", delete=False) as file:
            np.save(file, names)
        share(Path(file.name))
        os.replace(file.name, path)
    return names


def _unit(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
