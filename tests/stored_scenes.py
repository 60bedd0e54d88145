"""Scenes and stores that tests of the store and of the engines share."""

import numpy as np

from tasutils.scene import Proposals, Scene


def unit(rng, n, d=5):
    """Rows of length one, float32 that float16 can hold."""
    rows = rng.normal(size=(n, d)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float16).astype(np.float32)


def make_scene(rng, masks, phrases, d=5, image_id="café 1"):
    """A scene of given masks with random numbers."""
    n = len(masks)
    scores = rng.random(n).astype(np.float32)
    captions = [("a red car", "", "naïve 🐈")[k % 3] for k in range(n)]
    return Scene(
        image_id=image_id,
        size_hw=masks.shape[1:],
        proposals=Proposals.from_masks(masks, scores, scores / 2),
        crop_embeddings=unit(rng, n, d),
        captions=captions,
        captions_raw=[f"{caption} " for caption in captions],
        caption_embeddings=unit(rng, n, d),
        image_caption="a red car",
        image_caption_raw=" a red car",
        phrases=phrases,
        phrase_embeddings=unit(rng, len(phrases), d),
        times_s={"proposals": 0.25, "caption": 1.5},
        describe_digest="d" * 64,
    )


def make_rows(rng, masks, n, prefix="key", **options):
    """n (key, scene) pairs with 0, 1, 2, ... masks."""
    return [
        (f"{prefix}{k}", make_scene(rng, masks[: k % 4], ["a dog"] * (k % 3), **options))
        for k in range(n)
    ]


def assert_equal(a, b):
    """Two scenes are the same, types and bits."""
    for part_a, part_b in ((a, b), (a.proposals, b.proposals)):
        for name, value in vars(part_a).items():
            other = getattr(part_b, name)
            if isinstance(value, np.ndarray):
                assert other.dtype == value.dtype and other.shape == value.shape, name
                assert np.array_equal(value, other), name
            elif name != "proposals":
                assert value == other, name
    assert np.array_equal(a.proposals.masks(), b.proposals.masks())
