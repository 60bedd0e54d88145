"""Section peers: Region Token and Global-Local over all masks at once against a mask at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tasutils.baselines import make_method
from tasutils.bench.equal import near
from tasutils.bench.plan import Plan, noise_and_blobs
from tasutils.bench.rows import Row
from tasutils.bench.timing import alternate

TOLERANCE = 1e-4

Embed = Callable[[NDArray[np.uint8], NDArray[np.bool_]], NDArray[np.float32]]


def rows(plan: Plan, n_masks: int = 32) -> list[Row]:
    """One row each for the mask tokens, and for the global and the local features of each tower."""
    token = make_method("region_token", plan.tas)
    wanted: dict[str, Embed] = {"region_token": token.embed_masks}  # type: ignore[attr-defined]
    for name in ("global_local", "global_local_rn"):
        method = make_method(name, plan.tas)
        wanted[f"{name}, global"] = method.global_features  # type: ignore[attr-defined]
        wanted[f"{name}, local"] = method.local_features  # type: ignore[attr-defined]
    image, masks = noise_and_blobs(n_masks)
    found = []
    for name, embed in wanted.items():

        def ours(embed: Embed = embed) -> NDArray[np.float32]:
            return embed(image, masks)

        def plain(embed: Embed = embed) -> NDArray[np.float32]:
            return np.concatenate([embed(image, mask[None]) for mask in masks])

        def same(a: NDArray[np.float32], b: NDArray[np.float32]) -> str:
            size = np.abs(b).max()
            return near(a / size, b / size, TOLERANCE, "features, of the largest,")

        timed = alternate(ours, plain, same, plan.repeats, settle=plan.settle)
        found.append(Row(section="peers", what=f"{name}, {n_masks} masks", **timed.fields()))
    return found
