"""Section sam: our masks of a picture against segment-anything's own generator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasutils.bench.equal import all_of, equal_masks
from tasutils.bench.plan import Plan, drawn_images
from tasutils.bench.released_loop import propose
from tasutils.bench.rows import Row
from tasutils.bench.timing import alternate
from tasutils.errors import TasError
from tasutils.proposals.sam import SamProposer
from tasutils.scene import Proposals


def rows(plan: Plan) -> list[Row]:
    """The whole proposer, and what is left of it behind the image encoder."""
    proposer = plan.tas.proposer
    if not isinstance(proposer, SamProposer):
        raise TasError(f"preset {plan.preset.name} has no SAM to compare; choose tiny or paper")
    images = drawn_images(plan.count(2))
    n_masks = sum(len(proposer(image)) for image in images) / len(images)

    def ours() -> list[Proposals]:
        return [proposer(image) for image in images]

    def plain() -> list[Proposals]:
        return [Proposals.from_masks(propose(image, plan.tas)) for image in images]

    def same(a: list[Proposals], b: list[Proposals]) -> str:
        words = [equal_masks(x.masks(), y.masks()) for x, y in zip(a, b, strict=True)]
        return all_of(*words)

    def row(what: str) -> Row:
        timed = alternate(ours, plain, same, plan.repeats, len(images), plan.settle)
        return Row(section="sam", what=what, measures={"masks": n_masks}, **timed.fields())

    found = [row("image to proposals")]
    image = images[0]
    images = [image] * len(images)
    with embedded(proposer.model, image):
        found.append(row("the same, behind the image encoder"))
    return found


@contextmanager
def embedded(model: Any, image: NDArray[np.uint8]) -> Iterator[None]:
    """SAM whose image encoder gives at once what it gave for one picture."""
    import torch
    from segment_anything import SamPredictor

    predictor = SamPredictor(model)
    with torch.inference_mode():
        predictor.set_image(image)
    known, forward = predictor.features, model.image_encoder.forward
    model.image_encoder.forward = lambda pixels: known.expand(len(pixels), -1, -1, -1)
    try:
        yield
    finally:
        model.image_encoder.forward = forward
