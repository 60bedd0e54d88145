"""Candidate masks of an image: the door `PROPOSERS`, settings of its makers, and their filter."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from tasutils.config import OverlapConfig, ProposerSettings
from tasutils.errors import TasError
from tasutils.masks import overlap_filter
from tasutils.scene import Proposals

#: Uint8 (H, W, 3) RGB -> `Proposals`, empty where there are none, or what `propose` reads as such.
Proposer = Callable[[NDArray[np.uint8]], Any]


class SamConfig(ProposerSettings):
    """SAM's automatic mask generator; `checkpoint` is absolute or relative to data/weights."""

    maker = "tasutils.proposals.sam:SamProposer"
    kind: Literal["sam"] = "sam"
    size: Literal["tiny", "vit_b", "vit_l", "vit_h"]
    checkpoint: str | None = None
    points_per_side: int = Field(ge=1)
    points_per_batch: int = Field(default=64, ge=1)
    pred_iou_thresh: float
    stability_score_thresh: float
    stability_score_offset: float = 1.0
    box_nms_thresh: float = Field(default=0.7, ge=0, le=1)
    crop_n_layers: int = Field(default=0, ge=0)
    min_mask_region_area: int = Field(default=0, ge=0)


class FreeSoloConfig(ProposerSettings):
    """FreeSOLO's network and its inference; `checkpoint` is absolute or relative to data/weights.

    `short_side_px` and `longest_side_px` are the input's; None: what the size was trained at
    (r101: 800 and at most 1333 px). A mask needs a cell of more than `score_thresh`; of the
    `max_candidates` best, those that keep `final_thresh` after matrix NMS stay.
    """

    maker = "tasutils.proposals.freesolo:FreeSoloProposer"
    kind: Literal["freesolo"] = "freesolo"
    size: Literal["tiny", "r101"]
    checkpoint: str | None = None
    short_side_px: int | None = Field(default=None, ge=32)
    longest_side_px: int | None = Field(default=None, ge=32)
    score_thresh: float = Field(default=0.1, ge=0, le=1)
    mask_thresh: float = Field(default=0.5, gt=0, lt=1)
    max_candidates: int = Field(default=500, ge=1)
    nms_sigma: float = Field(default=2.0, ge=0)
    final_thresh: float = Field(default=0.05, ge=0, le=1)
    max_masks: int = Field(default=100, ge=1)


class FreeConfig(ProposerSettings):
    """Free masks from dense ImageNet features, as FreeSOLO makes them; no mask is learned.

    query_scales: shares of its size that the feature map is pooled to for the queries; sharpen:
    whether a mask is snapped to superpixels.
    """

    maker = "tasutils.proposals.regions:FreeMaskProposer"
    kind: Literal["free"] = "free"
    checkpoint: str
    longest_side_px: int = Field(default=768, ge=32)
    stride: Literal[8, 16, 32] = 32
    query_scales: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        default=(1.0, 0.5), min_length=1
    )
    mask_thresh: float = Field(default=0.6, gt=0, lt=1)
    nms_thresh: float = Field(default=0.7, ge=0, le=1)
    sharpen: bool = True
    max_masks: int = Field(default=60, ge=1)


class MergeConfig(ProposerSettings):
    """Superpixels merged by colour, texture, size and fill (selective search).

    `scale` and `min_size_px` are felzenszwalb's; every colour space gives a hierarchy of its own.
    """

    maker = "tasutils.proposals.regions:MergeProposer"
    kind: Literal["merge"] = "merge"
    longest_side_px: int = Field(default=320, ge=8)
    color_spaces: tuple[Literal["lab", "hsv"], ...] = Field(default=("lab", "hsv"), min_length=1)
    scale: float = Field(default=50, gt=0)
    min_size_px: int = Field(default=40, ge=1)
    nms_thresh: float = Field(default=0.8, ge=0, le=1)
    max_masks: int = Field(default=60, ge=1)


class UnionConfig(ProposerSettings):
    """Masks of several makers in one list, the later ones' doubles dropped; None leaves one out.

    The makers take turns, each giving its best mask first: sam, merge, free, sam again, and on.
    """

    maker = "tasutils.proposals.regions:UnionProposer"
    kind: Literal["union"] = "union"
    sam: SamConfig | None = None
    free: FreeConfig | None = None
    merge: MergeConfig | None = None
    mask_nms_thresh: float = Field(default=0.8, ge=0, le=1)
    max_masks: int = Field(default=60, ge=1)

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not (self.sam or self.free or self.merge):
            raise ValueError("a union needs at least one of sam, free and merge")
        return self


#: Settings by kind, or "module:Name" of them; see `config.lookup`.
PROPOSERS: dict[str, Any] = {
    "sam": SamConfig, "freesolo": FreeSoloConfig, "union": UnionConfig,
    "merge": MergeConfig, "free": FreeConfig,
}  # fmt: skip


def propose(proposer: Proposer, image: NDArray[np.uint8]) -> Proposals:
    """The masks that a maker finds in a picture (H, W, 3), as `Proposals`.

    It may return these, or masks as bool (n, H, W): an array, a tensor, a list of (H, W), or
    records of segment-anything's generator; 0 and 1, or 0 and 255, will do for bool. TasError for
    anything else, for masks of another size, and for a maker that cannot be called.
    """
    if not callable(proposer):
        raise TasError(
            f"the proposer is {type(proposer).__name__}; give a function of a picture, uint8 "
            "(H, W, 3), that returns its masks, e.g. lambda image: masks"
        )
    found, size_hw = proposer(image), image.shape[:2]
    if not isinstance(found, Proposals):
        found = Proposals.from_masks(_stack(found, size_hw))
    if tuple(found.size_hw) != size_hw:
        raise TasError(
            f"the proposer gave masks of {tuple(found.size_hw)} for a picture of {size_hw} (H, W); "
            "give masks of the picture's own size"
        )
    return found


def _stack(found: Any, size_hw: tuple[int, ...]) -> NDArray[np.bool_]:
    """Bool (n, h, w) of masks in any of the forms that `propose` names."""

    def on_cpu(masks: Any) -> Any:
        return masks.detach().cpu() if hasattr(masks, "detach") else masks

    if isinstance(found, Sequence):
        found = [on_cpu(one["segmentation"] if isinstance(one, dict) else one) for one in found]
        found = found or np.zeros((0, *size_hw), bool)
    try:
        masks = np.asarray(on_cpu(found))
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
    """Those that `masks.overlap_filter` lets through, in their order; no empty mask among them."""
    least_px = max(overlap.min_area_px, 1)
    kept = overlap_filter(
        proposals.rles, proposals.areas_px, least_px, overlap.max_overlap, overlap.greedy
    )
    return proposals.take(kept)
