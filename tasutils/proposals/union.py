"""Several makers' masks in one list, without doubles."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils.masks import decode_rle, distinct, rle_ious
from tasutils.parts import OverlapConfig, UnionConfig
from tasutils.proposals import passing
from tasutils.scene import Proposals

if TYPE_CHECKING:
    from tasutils.proposals import Proposer


class UnionProposer:
    """SAM's masks, merged regions and free masks in turn; of doubles the first stays.

    Args:
        config: the makers, the IoU over which two masks are doubles, and the highest number.
        overlap: the filter of every maker's masks and of the union.
        device: where the networks run: "cpu", "cuda", ...

    Raises TasError when a checkpoint is missing or damaged.
    """

    def __init__(self, config: UnionConfig, overlap: OverlapConfig, device: str = "cpu") -> None:
        self.config = config
        self.overlap = overlap
        self.members: list[Proposer] = []
        if config.sam is not None:
            from tasutils.proposals.sam import SamProposer

            self.members.append(SamProposer(config.sam, overlap, device))
        if config.merge is not None:
            from tasutils.proposals.merge import MergeProposer

            self.members.append(MergeProposer(config.merge, overlap))
        if config.free is not None:
            from tasutils.proposals.free import FreeMaskProposer

            self.members.append(FreeMaskProposer(config.free, overlap, device))

    def __call__(self, image: NDArray[np.uint8]) -> Proposals:
        """Masks of uint8 (H, W, 3) RGB: the best of every maker, then the second best, and on."""
        size_hw = (int(image.shape[0]), int(image.shape[1]))
        found = [member(image) for member in self.members]
        quality = np.concatenate([proposals.predicted_iou for proposals in found])
        stability = np.concatenate([proposals.stability for proposals in found])
        turns = _turns([proposals.predicted_iou for proposals in found])
        quality, stability = quality[turns], stability[turns]
        together = [rle for proposals in found for rle in proposals.rles]
        rles = [together[index] for index in turns]
        kept = distinct(rle_ious(rles), self.config.mask_nms_thresh, self.config.max_masks)
        masks = decode_rle([rles[index] for index in kept], size_hw)
        last = passing(masks, self.overlap)
        return Proposals.from_masks(masks[last], quality[kept][last], stability[kept][last])


def _turns(scores: list[NDArray[np.float32]]) -> NDArray[np.int64]:
    """Indices into the makers' lists, put end to end, so that the makers take turns.

    Each gives its highest score first, equal ones in the order they had.
    """
    place = [np.empty(len(values), np.int64) for values in scores]
    for values, places in zip(scores, place, strict=True):
        places[np.argsort(-values, kind="stable")] = np.arange(len(values))
    return np.argsort(np.concatenate(place), kind="stable")
