"""Candidate masks of an image: the `Proposer` protocol."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tasutils.scene import Proposals


class Proposer(Protocol):
    """Anything that turns a picture into candidate masks."""

    def __call__(self, image: NDArray[np.uint8]) -> Proposals:
        """Proposals of uint8 (H, W, 3) RGB; an image without any gives an empty `Proposals`."""
