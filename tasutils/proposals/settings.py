"""Settings of the makers of masks."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from tasutils.config import PLAIN, ComputeConfig, OverlapConfig, ProposerSettings

if TYPE_CHECKING:
    from tasutils.proposals import Proposer


class SamConfig(ProposerSettings):
    """SAM's automatic mask generator; `checkpoint` is absolute or relative to data/weights."""

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

    def make(
        self, overlap: OverlapConfig, device: str = "cpu", compute: ComputeConfig = PLAIN
    ) -> "Proposer":
        """See `proposals.sam.SamProposer`."""
        from tasutils.proposals.sam import SamProposer

        return SamProposer(self, overlap, device, compute)


class FreeConfig(ProposerSettings):
    """Free masks from dense ImageNet features, as FreeSOLO makes them; no mask is learned.

    query_scales: shares of its size that the feature map is pooled to for the queries; sharpen:
    whether a mask is snapped to superpixels.
    """

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

    def make(
        self, overlap: OverlapConfig, device: str = "cpu", compute: ComputeConfig = PLAIN
    ) -> "Proposer":
        """See `proposals.regions.FreeMaskProposer`."""
        from tasutils.proposals.regions import FreeMaskProposer

        return FreeMaskProposer(self, overlap, device)


class FreeSoloConfig(ProposerSettings):
    """FreeSOLO's network and its inference; `checkpoint` is absolute or relative to data/weights.

    `short_side_px` and `longest_side_px` are the input's; None: what the size was trained at
    (r101: 800 and at most 1333 px). A mask needs a cell of more than `score_thresh`; of the
    `max_candidates` best, those that keep `final_thresh` after matrix NMS stay.
    """

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

    def make(
        self, overlap: OverlapConfig, device: str = "cpu", compute: ComputeConfig = PLAIN
    ) -> "Proposer":
        """See `proposals.freesolo.FreeSoloProposer`."""
        from tasutils.proposals.freesolo import FreeSoloProposer

        return FreeSoloProposer(self, overlap, device)


class MergeConfig(ProposerSettings):
    """Superpixels merged by colour, texture, size and fill (selective search).

    `scale` and `min_size_px` are felzenszwalb's; every colour space gives a hierarchy of its own.
    """

    kind: Literal["merge"] = "merge"
    longest_side_px: int = Field(default=320, ge=8)
    color_spaces: tuple[Literal["lab", "hsv"], ...] = Field(default=("lab", "hsv"), min_length=1)
    scale: float = Field(default=50, gt=0)
    min_size_px: int = Field(default=40, ge=1)
    nms_thresh: float = Field(default=0.8, ge=0, le=1)
    max_masks: int = Field(default=60, ge=1)

    def make(
        self, overlap: OverlapConfig, device: str = "cpu", compute: ComputeConfig = PLAIN
    ) -> "Proposer":
        """See `proposals.regions.MergeProposer`."""
        from tasutils.proposals.regions import MergeProposer

        return MergeProposer(self, overlap)


class UnionConfig(ProposerSettings):
    """Masks of several makers in one list, the later ones' doubles dropped; None leaves one out.

    The makers take turns, each giving its best mask first: sam, merge, free, sam again, and on.
    """

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

    def make(
        self, overlap: OverlapConfig, device: str = "cpu", compute: ComputeConfig = PLAIN
    ) -> "Proposer":
        """See `proposals.regions.UnionProposer`."""
        from tasutils.proposals.regions import UnionProposer

        members = [one for one in (self.sam, self.merge, self.free) if one is not None]
        makers = [one.make(overlap, device, compute) for one in members]
        return UnionProposer(makers, self, overlap)
