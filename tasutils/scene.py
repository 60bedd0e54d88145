"""What is known of an image without an expression: `Proposals`, `Scene`, describe()."""

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tasutils.config import Preset
from tasutils.masks import areas_px, boxes_xyxy, centers_xy, decode_rle, encode_rle

if TYPE_CHECKING:
    from tasutils.captioners import Captioner
    from tasutils.encoders import ImageTextEncoder
    from tasutils.proposals import Proposer

Floats = NDArray[np.float32]
STAGES = ("proposals", "crops", "encode", "caption", "language")


class Chunker(Protocol):
    """What describe() asks of the language side (`language.parse.Parser` has it)."""

    def noun_chunks(self, text: str, pronouns: bool = False) -> list[str]:
        """Noun phrases of a text in reading order, those of pronouns if asked; "" has none."""


@dataclass(frozen=True, eq=False)
class Proposals:
    """Candidate masks of one image, n of them, in the order of the generator.

    Attributes:
        rles: COCO run-length codes, see `masks.encode_rle`.
        size_hw: height and width of the image in px.
        boxes_xyxy: float32 (n, 4), px, end-exclusive, tight around the mask.
        centers_xy: float32 (n, 2), px, mean of the foreground coordinates.
        areas_px: int64 (n,).
        predicted_iou: float32 (n,), the generator's own guess of quality.
        stability: float32 (n,), the generator's stability score.
    """

    rles: list[dict[str, Any]]
    size_hw: tuple[int, int]
    boxes_xyxy: Floats
    centers_xy: Floats
    areas_px: NDArray[np.int64]
    predicted_iou: Floats
    stability: Floats

    @classmethod
    def from_masks(
        cls,
        masks: NDArray[np.bool_],
        predicted_iou: Floats | None = None,
        stability: Floats | None = None,
    ) -> "Proposals":
        """Proposals of bool masks (n, H, W); the two scores are ones when not given."""
        ones = np.ones(len(masks), dtype=np.float32)
        return cls(
            rles=encode_rle(masks),
            size_hw=(int(masks.shape[1]), int(masks.shape[2])),
            boxes_xyxy=boxes_xyxy(masks),
            centers_xy=centers_xy(masks),
            areas_px=areas_px(masks),
            predicted_iou=ones if predicted_iou is None else predicted_iou.astype(np.float32),
            stability=ones.copy() if stability is None else stability.astype(np.float32),
        )

    def masks(self) -> NDArray[np.bool_]:
        """The masks themselves, bool (n, H, W)."""
        return decode_rle(self.rles, self.size_hw)

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


@dataclass(frozen=True, eq=False)
class Scene:
    """All that refer() needs of an image; n proposals, k phrases, d embedding size.

    Attributes:
        image_id: name of the image, free text.
        size_hw: height and width in px.
        proposals: the candidate masks.
        crop_embeddings: float32 (n, d), L2-normalised, of the masked crops.
        captions: caption of each crop, cleaned unless the preset says not to ("" where the
            captioner said nothing).
        captions_raw: the same before cleaning.
        caption_embeddings: float32 (n, d), L2-normalised; a zero row for an empty caption, but for
            captions that are not cleaned.
        image_caption: cleaned caption of the whole image; image_caption_raw: before cleaning.
        phrases: noun phrases of the image caption, the candidates for negatives.
        phrase_embeddings: float32 (k, d), of the phrases inside the preset's negative_template.
        times_s: seconds by stage, see `STAGES`.
        describe_digest: digest of the configuration that made the scene.
    """

    image_id: str
    size_hw: tuple[int, int]
    proposals: Proposals
    crop_embeddings: Floats
    captions: list[str]
    captions_raw: list[str]
    caption_embeddings: Floats
    image_caption: str
    image_caption_raw: str
    phrases: list[str]
    phrase_embeddings: Floats
    times_s: dict[str, float]
    describe_digest: str


def describe(
    image: NDArray[np.uint8],
    *,
    proposer: "Proposer",
    encoder: "ImageTextEncoder",
    captioner: "Captioner",
    language: Chunker,
    preset: Preset,
    image_id: str = "",
) -> Scene:
    """Everything that depends on the image alone (uint8 (H, W, 3) RGB, see `images.read_image`).

    An image without proposals is a valid scene: n = 0, its arrays are (0, d).
    """
    from tasutils.captioners import clean_caption
    from tasutils.crops import masked_crops, whole_image

    clock = _Clock()
    proposals = proposer(image)
    clock.lap("proposals")
    masks, boxes = proposals.masks(), proposals.boxes_xyxy
    crops = masked_crops(image, masks, boxes, encoder.image_size, preset.crop, encoder.device)
    views = masked_crops(
        image, masks, boxes, captioner.image_size, preset.captioner.crop, captioner.device
    )
    whole = whole_image(image, captioner.image_size, captioner.device, preset.captioner.crop.resize)
    clock.lap("crops")
    crop_embeddings = encoder.encode_images(crops)
    clock.lap("encode")
    captions_raw = captioner.caption(views)
    # a captioner may have other words for a whole picture than for a masked crop
    caption_image = getattr(captioner, "caption_image", None)
    image_caption_raw = caption_image(whole) if caption_image else captioner.caption(whole)[0]
    clock.lap("caption")
    rules = preset.language
    captions, image_caption = list(captions_raw), image_caption_raw
    if rules.clean_captions:
        captions = [clean_caption(raw) for raw in captions_raw]
        image_caption = clean_caption(image_caption_raw)
    phrases = language.noun_chunks(image_caption, rules.pronoun_chunks) if image_caption else []
    caption_embeddings = encoder.encode_text(captions)
    if rules.clean_captions:
        caption_embeddings[[not caption for caption in captions]] = 0.0
    texts = [rules.negative_template.format(phrase) for phrase in phrases]
    phrase_embeddings = encoder.encode_text(texts)
    clock.lap("language")
    return Scene(
        image_id=image_id,
        size_hw=proposals.size_hw,
        proposals=proposals,
        crop_embeddings=crop_embeddings,
        captions=captions,
        captions_raw=captions_raw,
        caption_embeddings=caption_embeddings,
        image_caption=image_caption,
        image_caption_raw=image_caption_raw,
        phrases=phrases,
        phrase_embeddings=phrase_embeddings,
        times_s=clock.times_s,
        describe_digest=preset.describe_digest(),
    )


class _Clock:
    """Seconds between laps, by name."""

    def __init__(self) -> None:
        self.times_s: dict[str, float] = {}
        self._last = perf_counter()

    def lap(self, name: str) -> None:
        now = perf_counter()
        self.times_s[name] = now - self._last
        self._last = now
