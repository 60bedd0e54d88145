"""Any number of items through a network, a few at a time."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


def unit_rows(
    items: Any, embed: Callable[[Any], "torch.Tensor"], batch_size: int, dim: int
) -> NDArray[np.float32]:
    """Features of n items, L2-normalised over their last axis, float32 on the CPU.

    Args:
        items: n of them; whatever can be sliced.
        embed: some items -> (m, ..., dim), any device and float type.
        batch_size: items at a time.
        dim: length of a feature; no item gives (0, dim).
    """
    import torch

    rows = []
    with torch.inference_mode():
        for start in range(0, len(items), batch_size):
            features = embed(items[start : start + batch_size])
            rows.append(torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy())
    return np.concatenate(rows) if rows else np.zeros((0, dim), dtype=np.float32)
