"""What is known of an image without an expression: `Proposals`, `Scene`."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils.errors import TasError
from tasutils.masks import Runs, decode_rle, rle_ious, runs_of

if TYPE_CHECKING:
    import torch


Floats = NDArray[np.float32]
_ARRAYS = ("boxes_xyxy", "centers_xy", "areas_px", "predicted_iou", "stability")
STAGES = ("proposals", "crops", "encode", "caption", "language")


@dataclass(frozen=True, eq=False)
class Proposals:
    """Candidate masks of one image, n of them, in the order of the generator.

    rles: COCO run-length codes, see `masks.encode_rle`; size_hw: of the image, px; boxes_xyxy:
    float32 (n, 4), px, end-exclusive, tight; centers_xy: float32 (n, 2), px, mean of the foreground
    coordinates; areas_px: int64 (n,); predicted_iou, stability: float32 (n,), the generator's
    scores; device_masks: bool tensor (n, H, W) where the generator left the masks, see
    `mask_tensor`; never stored, pickled or compared.
    """

    rles: list[dict[str, Any]]
    size_hw: tuple[int, int]
    boxes_xyxy: Floats
    centers_xy: Floats
    areas_px: NDArray[np.int64]
    predicted_iou: Floats
    stability: Floats
    device_masks: "torch.Tensor | None" = field(default=None, repr=False)

    @classmethod
    def from_masks(
        cls, masks: NDArray[np.bool_], predicted_iou: Any = None, stability: Any = None
    ) -> "Proposals":
        """Proposals of bool masks (n, H, W); the two scores are ones when not given."""
        return cls.from_runs(runs_of(masks), predicted_iou, stability)

    @classmethod
    def from_runs(
        cls, runs: Runs, predicted_iou: Any = None, stability: Any = None,
        device_masks: "torch.Tensor | None" = None,
    ) -> "Proposals":  # fmt: skip
        """Proposals of masks given as their runs; the two scores are ones when not given."""
        iou, stable = (
            np.ones(runs.n, np.float32) if score is None else score.astype(np.float32)
            for score in (predicted_iou, stability)
        )
        shapes = runs.boxes_xyxy(), runs.centers_xy(), runs.areas_px()
        return cls(runs.rles(), runs.size_hw, *shapes, iou, stable, device_masks)

    @classmethod
    def joined(cls, parts: "Sequence[Proposals]") -> "Proposals":
        """Those of several makers, at least one, of the same image, one after the other."""
        arrays: Any = {n: np.concatenate([getattr(part, n) for part in parts]) for n in _ARRAYS}
        return cls([rle for part in parts for rle in part.rles], parts[0].size_hw, **arrays)

    def take(self, indices: NDArray[np.int64]) -> "Proposals":
        """The proposals of those indices, in their order."""
        arrays = {name: getattr(self, name)[indices] for name in _ARRAYS}
        masks = None if self.device_masks is None else self.device_masks[indices]
        rles = [self.rles[index] for index in indices]
        return Proposals(rles, self.size_hw, **arrays, device_masks=masks)

    def masks(self) -> NDArray[np.bool_]:
        """The masks themselves, bool (n, H, W)."""
        return decode_rle(self.rles, self.size_hw)

    def mask_tensor(self, device: "str | torch.device") -> "torch.Tensor":
        """The masks on a device, bool (n, H, W), not to be written to: as left, else decoded."""
        import torch

        tensor = self.device_masks
        return (torch.from_numpy(self.masks()) if tensor is None else tensor).to(device)

    def released(self) -> "Proposals":
        """The same without `device_masks`."""
        return self if self.device_masks is None else replace(self, device_masks=None)

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: value for name, value in vars(self).items() if name != "overlaps"}
        return kept | {"device_masks": None}

    @cached_property
    def overlaps(self) -> NDArray[np.float64]:
        """The share of the smaller of two masks that lies in the other, float64 (n, n)."""
        ious = rle_ious(self.rles)
        areas = np.maximum(self.areas_px, 1).astype(np.float64)
        shared = ious * (areas[:, None] + areas[None]) / (1 + ious)  # px
        return shared / np.minimum(areas[:, None], areas[None])

    def floored_centers_xy(self) -> Floats:
        """The centres rounded down to whole px, float32 (n, 2), exact (released code)."""
        floors = np.floor(self.centers_xy)
        # float32 may have rounded a mean up to a whole number: those are counted again
        near = np.abs(self.centers_xy - np.round(self.centers_xy)).min(axis=1, initial=1) < 1e-3
        for index in np.flatnonzero(near):
            y, x = np.nonzero(decode_rle([self.rles[index]])[0])
            if len(x):
                floors[index] = x.sum() // len(x), y.sum() // len(y)
        return floors

    def __len__(self) -> int:
        return len(self.rles)


def said(caption: str) -> str:
    """A caption for reading; what the captioner had no name for ("a red thing") is told as that.

    >>> said("a dog"), said("a red thing"), said("a thing"), said("")
    ('a dog', '(unnamed, red)', '(unnamed)', '(no caption)')
    """
    *words, last = caption.split() or [""]
    if last == "thing" and len(words) <= 2:
        return ", ".join(["(unnamed", *words[1:]]) + ")"
    return caption or "(no caption)"


@dataclass(frozen=True, eq=False)
class Scene:
    """All that refer() needs of an image; n proposals, k phrases, d embedding size.

    image_id: free text; size_hw: of the image, px; views: by name of `crops.VIEWS` float32 (n, d),
    L2-normalised, numbers of float16 as all embeddings here: each mask as the encoder saw it;
    captions: of each crop, cleaned unless the preset says not to, "" where the captioner said
    nothing; captions_raw: before cleaning; caption_embeddings: float32 (n, d), L2-normalised, a
    zero row for an empty caption that was cleaned; image_caption, image_caption_raw: of the whole
    image; phrases: its noun phrases, the candidates for negatives; phrase_embeddings: float32
    (k, d), inside the preset's negative_template; times_s: seconds by stage (`STAGES`);
    describe_digest: of the configuration that made the scene.

    Raises TasError for masks of another size than the picture's.
    """

    image_id: str
    size_hw: tuple[int, int]
    proposals: Proposals
    views: dict[str, Floats]
    captions: list[str]
    captions_raw: list[str]
    caption_embeddings: Floats
    image_caption: str
    image_caption_raw: str
    phrases: list[str]
    phrase_embeddings: Floats
    times_s: dict[str, float]
    describe_digest: str

    def __post_init__(self) -> None:
        masks_hw = self.proposals.size_hw
        if tuple(masks_hw) != tuple(self.size_hw):
            raise TasError(
                f"the masks are {' x '.join(map(str, masks_hw))} px (H x W), the picture is "
                f"{' x '.join(map(str, self.size_hw))}; give masks of the picture's size"
            )

    @property
    def crop_embeddings(self) -> Floats:
        """The view `crop`, float32 (n, d): of the masked crops."""
        return self.views["crop"]
