"""Captions of photographs, composed from the classifier's answer and from colours.

They are the encoder's own classifier in words: with them the P-score is no independent evidence
beside V, and a table of P or of negatives mined from such captions has to say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils.captioners import ComposedConfig
from tasutils.classifier import (
    COLORS,
    IMAGE_SIZE,
    crop_color_shares,
    load_classifier,
    probabilities,
)
from tasutils.compute import Batches
from tasutils.config import PLAIN, ComputeConfig
from tasutils.language.imagenet import everyday_classes, image_classes

if TYPE_CHECKING:
    import torch

_MOST_THINGS = 4  # in the caption of a whole picture
# a word of at most so many classes says it better than the class: "elephant", not "tusker"
_BASIC_CLASSES = 5


class ComposedCaptioner:
    """EfficientNet-Lite2's answer as a caption: "a red apple", "a dog and a ball".

    No material or size is told: neither can be read off a crop that fills its square.
    """

    def __init__(
        self, config: ComposedConfig, device: str = "cpu", compute: ComputeConfig = PLAIN
    ) -> None:
        self.config, self.device, self.image_size = config, device, IMAGE_SIZE
        self.batches = Batches("EfficientNet", compute.crop_batch, device, compute.precision)
        self.classifier = load_classifier(config.checkpoint, device)
        self._classes = [c.name for c in image_classes()]
        self._numbers = {name: number for number, name in enumerate(self._classes)}
        words = sorted(everyday_classes().items(), key=lambda item: len(item[1]))
        self._words = dict(words)  # narrow ones first
        self._covers = np.zeros((len(words), len(self._classes)), dtype=np.float32)
        for row, (word, numbers) in enumerate(words):
            self._covers[row, list(numbers)] = 1
            for number in numbers if len(numbers) <= _BASIC_CLASSES else ():
                self._classes[number] = word

    def caption(self, crops: torch.Tensor) -> list[str]:
        """Captions of float32 (n, 3, 260, 260) RGB in 0..1, black outside the mask; n texts."""
        likely = probabilities(self.classifier, crops, self.batches).numpy()  # (n, 1000)
        pixels = crops.cpu().numpy()
        return [
            _with_article(f"{self._color(crop)} {self.name(row)[0]}".strip())
            for row, crop in zip(likely, pixels, strict=True)
        ]

    def caption_image(self, picture: torch.Tensor) -> str:
        """The things that float32 (1, 3, 260, 260) RGB in 0..1 shows, surest first; "" for none.

        The picture and nine overlapping windows of half its side are named, one by one.
        """
        import torch
        from torch.nn.functional import interpolate

        side = picture.shape[-1]
        half, starts = side // 2, (0, side // 4, 2 * (side // 4))
        cuts = [picture[:, :, y : y + half, x : x + half] for y in starts for x in starts]
        windows = interpolate(torch.cat(cuts), (side, side), mode="bicubic").clamp(0, 1)
        views = torch.cat([picture, windows])
        sure: dict[str, float] = {}
        for row in probabilities(self.classifier, views, self.batches).numpy():
            name, likely = self.name(row)
            if likely >= self.config.least_seen:
                sure[name] = max(likely, sure.get(name, 0.0))
        # not "animal" where one is named
        told = [n for n in sure if not any(self._kinds(o) < self._kinds(n) for o in sure)]
        things = [_with_article(name) for name in sorted(told, key=lambda name: -sure[name])]
        # as "a dog, a ball and a tree"; no "a photo of", which would be a noun chunk
        *first, last = things[:_MOST_THINGS] or [""]
        return f"{', '.join(first)} and {last}" if first else last

    def name(self, likely: NDArray[np.float32]) -> tuple[str, float]:
        """What float32 (1000,) probabilities show, and how likely that is (0..1)."""
        best = int(likely.argmax())
        if likely[best] >= self.config.least_class:
            return self._classes[best], float(likely[best])
        sums = self._covers @ likely  # (words,)
        for word, total in zip(self._words, sums.tolist(), strict=True):
            if total >= self.config.least_word:
                return word, total
        return "thing", 0.0

    def _kinds(self, name: str) -> frozenset[int]:
        """The classes (0..999) that a name covers."""
        return self._words.get(name) or frozenset([self._numbers.get(name, -1)])

    def _color(self, crop: NDArray[np.float32]) -> str:
        shares = crop_color_shares(crop)
        best = int(shares.argmax())
        return COLORS[best] if shares[best] >= self.config.least_color else ""


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"
