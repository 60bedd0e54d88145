"""Scenes made by hand and a hash for a text tower: what the tests of refer() stand on."""

import hashlib

import numpy as np

from tasutils.scene import Proposals, Scene

D, SIZE_HW = 16, (24, 32)


class HashEncoder:
    """A text tower for tests: each text has its own fixed random direction."""

    dim, image_size, device = D, 8, "cpu"

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def encode_text(self, texts: list[str]) -> np.ndarray:
        self.batches.append(list(texts))
        return np.array([embed(text) for text in texts], np.float32).reshape(-1, D)

    def encode_images(self, images: object) -> np.ndarray:
        raise AssertionError("refer() never looks at pictures")


def embed(text: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8])
    vector = np.random.default_rng(seed).normal(size=D)
    return vector / np.linalg.norm(vector)


def boxes(n: int, seed: int) -> np.ndarray:
    """Bool (n, H, W): n small boxes at random places."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((n, *SIZE_HW), dtype=bool)
    for mask in masks:
        y, x = rng.integers(0, SIZE_HW[0] - 4), rng.integers(0, SIZE_HW[1] - 5)
        mask[y : y + 4, x : x + 5] = True
    return masks


def scene_of(
    masks: np.ndarray, seed: int = 0, phrases: tuple[str, ...] = ("a dog", "two red cars")
) -> Scene:
    rng = np.random.default_rng(seed)
    crops = rng.normal(size=(len(masks), D)).astype(np.float32)
    captions = [f"thing {i}" for i in range(len(masks))]
    return Scene(
        image_id="by hand",
        size_hw=SIZE_HW,
        proposals=Proposals.from_masks(masks),
        crop_embeddings=crops,
        captions=captions,
        captions_raw=captions,
        caption_embeddings=rng.normal(size=(len(masks), D)).astype(np.float32),
        image_caption="a dog and two red cars",
        image_caption_raw="a dog and two red cars",
        phrases=list(phrases),
        phrase_embeddings=np.array([embed(p) for p in phrases], np.float32).reshape(-1, D),
        times_s={},
        describe_digest="",
    )


class Same(HashEncoder):
    """All texts alike: only the rectifier can tell two sentences apart."""

    def encode_text(self, texts: list[str]) -> np.ndarray:
        return np.array([embed("same") for _ in texts], np.float32).reshape(-1, D)
