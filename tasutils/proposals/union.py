"""Several makers' masks in one list, without doubles."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils.config import PLAIN, ComputeConfig, OverlapConfig
from tasutils.masks import distinct, rle_ious
from tasutils.proposals import filtered
from tasutils.proposals.settings import UnionConfig
from tasutils.scene import Proposals

if TYPE_CHECKING:
    from tasutils.proposals import Proposer


class UnionProposer:
    """SAM's masks, merged regions and free masks in turn; of doubles the first stays.

    Args:
        config: the makers, the IoU over which two masks are doubles, and the highest number.
        overlap: the filter of every maker's masks and of the union.
        device: where the networks run: "cpu", "cuda", ...
        compute: how SAM runs.

    Raises TasError when a checkpoint is missing or damaged.
    """

    def __init__(
        self,
        config: UnionConfig,
        overlap: OverlapConfig,
        device: str = "cpu",
        compute: ComputeConfig = PLAIN,
    ) -> None:
        self.config = config
        self.overlap = overlap
        self.members: list[Proposer] = []
        if config.sam is not None:
            from tasutils.proposals.sam import SamProposer

            self.members.append(SamProposer(config.sam, overlap, device, compute))
        if config.merge is not None:
            from tasutils.proposals.merge import MergeProposer

            self.members.append(MergeProposer(config.merge, overlap))
        if config.free is not None:
            from tasutils.proposals.free import FreeMaskProposer

            self.members.append(FreeMaskProposer(config.free, overlap, device))

    def __call__(self, image: NDArray[np.uint8]) -> Proposals:
        """Masks of uint8 (H, W, 3) RGB: the best of every maker, then the second best, and on."""
        found = [member(image) for member in self.members]
        turns = _turns([proposals.predicted_iou for proposals in found])
        together = Proposals.joined(found).take(turns)
        kept = distinct(rle_ious(together.rles), self.config.mask_nms_thresh, self.config.max_masks)
        return filtered(together.take(kept), self.overlap)


def _turns(scores: list[NDArray[np.float32]]) -> NDArray[np.int64]:
    """Indices into the makers' lists, put end to end, so that the makers take turns.

    Each gives its highest score first, equal ones in the order they had.
    """
    place = [np.empty(len(values), np.int64) for values in scores]
    for values, places in zip(scores, place, strict=True):
        places[np.argsort(-values, kind="stable")] = np.arange(len(values))
    return np.argsort(np.concatenate(place), kind="stable")
