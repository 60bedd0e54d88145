"""Candidate masks of an image: the `Proposer` protocol, and the filter after each."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tasutils.config import OverlapConfig
from tasutils.masks import overlap_filter
from tasutils.scene import Proposals

PROPOSERS: dict[str, Any] = {  # kind: its settings, which make it; see `config.lookup`
    "sam": "tasutils.proposals.settings:SamConfig",
    "freesolo": "tasutils.proposals.settings:FreeSoloConfig",
    "union": "tasutils.proposals.settings:UnionConfig",
    "merge": "tasutils.proposals.settings:MergeConfig",
    "free": "tasutils.proposals.settings:FreeConfig",
}


class Proposer(Protocol):
    """Anything that turns a picture into candidate masks."""

    def __call__(self, image: NDArray[np.uint8]) -> Proposals:
        """Proposals of uint8 (H, W, 3) RGB; an image without any gives an empty `Proposals`."""


def filtered(proposals: Proposals, overlap: OverlapConfig) -> Proposals:
    """The proposals that the filter lets through, in their order; an empty mask never passes.

    See `masks.overlap_filter`.
    """
    kept = overlap_filter(
        proposals.rles,
        proposals.areas_px,
        max(overlap.min_area_px, 1),
        overlap.max_overlap,
        overlap.greedy,
    )
    return proposals.take(kept)
