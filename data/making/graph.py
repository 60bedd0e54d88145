"""The scene graph: what stands where in a picture of the world."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from making.categories import Category, by_slug
from making.sprites import shares

HEIGHT, WIDTH = 240, 320


@dataclass(frozen=True)
class Thing:
    """One sprite in a scene.

    Attributes:
        slug: category; ``style``: drawing style; ``paint``: colour it was painted, None as drawn.
        center_xy: where the sprite's box is centred, px.
        size_px: longest side of the sprite before rotation, px.
        mirror: flipped left to right; ``angle_deg``: rotation, counter-clockwise.
    """

    slug: str
    style: str
    paint: str | None
    center_xy: tuple[float, float]
    size_px: int
    mirror: bool
    angle_deg: float

    @property
    def category(self) -> Category:
        """The category this thing belongs to."""
        return by_slug()[self.slug]

    @property
    def color(self) -> str | None:
        """The colour a person would name; None when it has no single one."""
        return self.paint or self.category.colors[self.style]

    def color_share(self, color: str) -> float:
        """Share of its pixels that a colour name covers, 0..1."""
        return shares(self.style, self.slug, self.paint)[color]


@dataclass(frozen=True)
class Effects:
    """What happens to the finished picture: light, blur (px), JPEG quality (None: none)."""

    light: float = 1.0
    blur_px: float = 0.0
    jpeg_quality: int | None = None


@dataclass(frozen=True)
class Background:
    """A procedural background: its kind, two colours (RGB 0..255) and the seed of its texture."""

    kind: str
    colors: tuple[tuple[int, int, int], tuple[int, int, int]]
    seed: int


@dataclass(frozen=True)
class SceneGraph:
    """Things from back to front on a background."""

    things: tuple[Thing, ...]
    background: Background
    effects: Effects = field(default_factory=Effects)


@dataclass(frozen=True, eq=False)
class Rendered:
    """A drawn scene.

    Attributes:
        image: uint8 (240, 320, 3) RGB.
        visible: bool (n, 240, 320), what is seen of each thing.
        full: bool (n, 240, 320), each thing as if nothing stood before it.
    """

    graph: SceneGraph
    image: np.ndarray
    visible: np.ndarray
    full: np.ndarray

    @property
    def hidden_fraction(self) -> np.ndarray:
        """float (n,), share of each thing that others cover, 0..1."""
        full = self.full.sum((1, 2))
        return 1 - self.visible.sum((1, 2)) / np.maximum(full, 1)
