"""Scenes and answers made by hand for tests of pictures and controls: no weights, no files."""

import hashlib
from types import SimpleNamespace

import numpy as np

from tasutils.config import load_preset
from tasutils.language.parse import Parser
from tasutils.refer import TasAnswer, refer
from tasutils.scene import Proposals, Scene

D = 16
PARSER = Parser()
PRESET = load_preset("tiny").override({"terms.p.weight": 0.1, "terms.n.weight.default": 0.2})


def embed(text: str) -> np.ndarray:
    """A fixed random direction for each text, float64 (D,), normalised."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    vector = np.random.default_rng(seed).normal(size=D)
    return vector / np.linalg.norm(vector)


class HashEncoder:
    dim, image_size, device = D, 8, "cpu"

    def encode_text(self, texts: list[str]) -> np.ndarray:
        return np.array([embed(text) for text in texts], np.float32).reshape(-1, D)


def discs(size_hw: tuple[int, int], centers_xy: list[tuple[int, int]], radius: int) -> np.ndarray:
    """Bool (n, H, W): discs, cut off at the border of the picture."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    return np.array(
        [(x - a) ** 2 + (y - b) ** 2 <= radius**2 for a, b in centers_xy], bool
    ).reshape(-1, *size_hw)


def scene_of(masks: np.ndarray, captions: list[str] | None = None) -> Scene:
    rng = np.random.default_rng(len(masks))
    captions = captions or [f"a thing with the number {i}" for i in range(len(masks))]
    phrases = ["a dog", "two red cars"]
    return Scene(
        image_id="drawn",
        size_hw=(int(masks.shape[1]), int(masks.shape[2])),
        proposals=Proposals.from_masks(masks),
        crop_embeddings=rng.normal(size=(len(masks), D)).astype(np.float32),
        captions=captions,
        captions_raw=captions,
        caption_embeddings=rng.normal(size=(len(masks), D)).astype(np.float32),
        image_caption="a dog and two red cars",
        image_caption_raw="a dog and two red cars",
        phrases=phrases,
        phrase_embeddings=HashEncoder().encode_text(phrases),
        times_s={"proposals": 0.1},
        describe_digest="",
    )


def ask(scene: Scene, sentence: str = "the cat on the left") -> TasAnswer:
    return refer(scene, sentence, HashEncoder(), PARSER, PRESET)  # type: ignore[arg-type]


def grey(size_hw: tuple[int, int]) -> np.ndarray:
    return np.full((*size_hw, 3), 128, np.uint8)


SIZE_HW = (60, 80)
MASKS = discs(SIZE_HW, [(15, 15), (60, 20), (20, 45), (65, 45), (79, 59)], 9)
TAS = SimpleNamespace(preset=PRESET, encoder=HashEncoder(), language=PARSER)
