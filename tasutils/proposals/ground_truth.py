"""Oracle proposals: the ground-truth masks of a data set in place of a network's."""

import numpy as np
from numpy.typing import NDArray

from tasutils.scene import Proposals


class GroundTruthProposer:
    """Returns given masks as proposals: separates the choice of a mask from finding it.

    Args:
        masks: bool (n, H, W) of the one picture that it will be called with; empty masks are
            left out.
    """

    def __init__(self, masks: NDArray[np.bool_]) -> None:
        self._proposals = Proposals.from_masks(masks[masks.any(axis=(1, 2))])

    def __call__(self, image: NDArray[np.uint8]) -> Proposals:
        """The given masks; raises ValueError when the picture has another size."""
        if image.shape[:2] != self._proposals.size_hw:
            raise ValueError(
                f"the masks are {self._proposals.size_hw}, the picture {image.shape[:2]}; (H, W)"
            )
        return self._proposals
