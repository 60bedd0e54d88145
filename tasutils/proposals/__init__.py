"""Candidate masks of an image: the door `PROPOSERS`, and the filter after each maker."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tasutils.config import OverlapConfig
from tasutils.errors import TasError
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
    """Anything that turns a picture into candidate masks; a plain function will do."""

    def __call__(self, image: NDArray[np.uint8]) -> Proposals:
        """Proposals of uint8 (H, W, 3) RGB; an image without any gives an empty `Proposals`.

        A maker of one's own may return what `as_proposals` reads.
        """


def check_proposer(proposer: Any) -> None:
    """Raise TasError unless a maker of masks of one's own can be called."""
    if not callable(proposer):
        raise TasError(
            f"the proposer is {type(proposer).__name__}; give a function of a picture, uint8 "
            "(H, W, 3), that returns its masks, e.g. lambda image: masks"
        )


def as_proposals(found: Any, image: NDArray[np.uint8]) -> Proposals:
    """What a maker of masks returned for a picture (H, W, 3), as `Proposals`.

    found: `Proposals`; or masks as bool (n, H, W), an array, a tensor, a list of (H, W), or records
    of segment-anything's generator; 0 and 1, or 0 and 255, will do for bool. Raises TasError for
    anything else, and for masks of another size than the picture's.
    """
    size_hw = (int(image.shape[0]), int(image.shape[1]))
    if not isinstance(found, Proposals):
        found = Proposals.from_masks(_stack(found, size_hw))
    if tuple(found.size_hw) != size_hw:
        raise TasError(
            f"the proposer gave masks of {tuple(found.size_hw)} for a picture of {size_hw} (H, W); "
            "give masks of the picture's own size"
        )
    return found


def _stack(found: Any, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Bool (n, h, w) of masks in any of the forms that `as_proposals` names."""
    if isinstance(found, Sequence):
        found = [one["segmentation"] if isinstance(one, dict) else one for one in found]
        found = [one.detach().cpu() if hasattr(one, "detach") else one for one in found]
        found = found or np.zeros((0, *size_hw), bool)
    try:
        masks = np.asarray(found.detach().cpu() if hasattr(found, "detach") else found)
    except ValueError:
        masks = np.zeros(0)
    plain = masks.dtype == bool or (masks.dtype.kind in "iuf" and np.isin(masks, (0, 1, 255)).all())
    if masks.ndim != 3 or not plain:
        raise TasError(
            f"the proposer gave {type(found).__name__} {masks.dtype} {masks.shape}; "
            "give masks as bool (n, H, W), or Proposals"
        )
    return masks != 0


def filtered(proposals: Proposals, overlap: OverlapConfig) -> Proposals:
    """The proposals that the filter lets through, in their order; an empty mask never passes.

    See `masks.overlap_filter`.
    """
    least_px = max(overlap.min_area_px, 1)
    kept = overlap_filter(
        proposals.rles, proposals.areas_px, least_px, overlap.max_overlap, overlap.greedy
    )
    return proposals.take(kept)
