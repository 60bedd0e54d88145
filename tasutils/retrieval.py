"""How well an image-text encoder finds the crop that a caption is about."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils.errors import TasError

if TYPE_CHECKING:
    import torch

    from tasutils.encoders import ImageTextEncoder


@dataclass(frozen=True)
class Retrieval:
    """Accuracies of finding a crop by its caption; shares in 0..1.

    Attributes:
        n: crops, and as many captions.
        ways: crops to choose from in one draw.
        draws: draws for each caption.
        n_ways: share of the n * draws choices that were right; chance is 1 / ways.
        by_crop: float64 (n,), the same for each caption alone.
        top_1, top_5: share of captions whose crop is first, or among the first five, of all n.
    """

    n: int
    ways: int
    draws: int
    n_ways: float
    by_crop: NDArray[np.float64]
    top_1: float
    top_5: float


def retrieval_accuracy(
    encoder: "ImageTextEncoder",
    crops: "torch.Tensor",
    captions: list[str],
    ways: int = 8,
    draws: int = 20,
    seed: int = 0,
) -> Retrieval:
    """Caption-to-crop retrieval by cosine, see `retrieval_of`.

    Args:
        encoder: the encoder under test.
        crops: float32 (n, 3, image_size, image_size) RGB in 0..1.
        captions: n texts, the i-th about the i-th crop.
        ways, draws, seed: of the draws, as in `retrieval_of`.
    """
    images = encoder.encode_images(crops)  # (n, d)
    texts = encoder.encode_text(captions)  # (n, d)
    return retrieval_of(texts @ images.T, captions, ways=ways, draws=draws, seed=seed)


def retrieval_of(
    similarity: NDArray[np.floating],
    captions: list[str],
    ways: int = 8,
    draws: int = 20,
    seed: int = 0,
) -> Retrieval:
    """Retrieval accuracies of a matrix of similarities; a tie for the best counts as wrong.

    In each draw the right crop stands beside `ways` - 1 others without replacement, none of which
    has the same caption, since with those no choice could be right. In full retrieval crops of the
    same caption are left out likewise.

    Args:
        similarity: (n captions, n crops), finite, higher is more alike.
        captions: n texts; equal ones are told by lower case.
        ways: crops in a draw, at least 2.
        draws: draws for each caption, at least 1.
        seed: of the draws; equal seeds give equal draws for equal captions.

    Raises TasError when the matrix does not fit or there are too few other captions.
    """
    n = len(captions)
    if n == 0 or similarity.shape != (n, n):
        raise TasError(f"{n} captions need a similarity of ({n}, {n}), not {similarity.shape}")
    if ways < 2 or draws < 1:
        raise TasError(f"needs ways >= 2 and draws >= 1, not {ways} and {draws}")
    names = np.array([caption.lower() for caption in captions])
    random = np.random.default_rng(seed)
    by_crop, ranks = np.zeros(n), np.zeros(n, dtype=int)
    for i in range(n):
        others = np.flatnonzero(names != names[i])
        if len(others) < ways - 1:
            raise TasError(f"{ways}-way retrieval of {captions[i]!r} has {len(others)} other crops")
        above = similarity[i, others] >= similarity[i, i]  # (n others,)
        picks = [random.choice(len(others), ways - 1, replace=False) for _ in range(draws)]
        by_crop[i] = np.mean([not above[pick].any() for pick in picks])
        ranks[i] = np.count_nonzero(above)
    return Retrieval(
        n=n,
        ways=ways,
        draws=draws,
        n_ways=float(by_crop.mean()),
        by_crop=by_crop,
        top_1=float(np.mean(ranks < 1)),
        top_5=float(np.mean(ranks < 5)),
    )
