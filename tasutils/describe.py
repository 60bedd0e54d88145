"""describe(): everything that depends on an image alone, for one image or several together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils.captioners import captions as checked_captions
from tasutils.captioners import check_captioner, clean_caption
from tasutils.compute import FEWEST
from tasutils.config import CropConfig, Preset, lookup
from tasutils.encoders import check_encoder, embeddings
from tasutils.proposals import propose
from tasutils.scene import Floats, Proposals, Scene

if TYPE_CHECKING:
    import torch

    from tasutils.captioners import Captioner
    from tasutils.encoders import ImageTextEncoder
    from tasutils.language import Parser
    from tasutils.proposals import Proposer

Image = NDArray[np.uint8]


def describe_all(
    images: Sequence[Image], *, proposer: Proposer, encoder: ImageTextEncoder,
    captioner: Captioner, language: Parser, preset: Preset, image_ids: Sequence[str] = (),
) -> list[Scene]:  # fmt: skip
    """All that depends on images alone; their crops and texts go through the networks together.

    An image without proposals is a valid scene: n = 0, its arrays are (0, d). A scene does not hang
    on the images beside it: on the CPU bit for bit, on a GPU, where the kernel of a matrix product
    is chosen by its size, within rounding.

    images: uint8 (H, W, 3) RGB, of any sizes; so many together as `preset.compute` says; image_ids:
    as many names, or none. Returns scenes in the order of the images; embeddings are rounded to
    what float16 can hold, as the store keeps them. A stage's time is shared evenly by the images
    that had it together.
    """
    check_encoder(encoder)
    check_captioner(captioner)
    names = list(image_ids) or [""] * len(images)
    if len(names) != len(images):
        raise ValueError(f"{len(images)} images have {len(names)} names")
    step = preset.compute.image_batch
    scenes: list[Scene] = []
    for start in range(0, len(images), step):
        few, clock = images[start : start + step], _Clock(len(images[start : start + step]))
        found = []
        for index, image in enumerate(few):
            found.append(propose(proposer, image))
            clock.lap("proposals", [index])
        seen = _look(few, found, encoder, captioner, preset, clock)
        scenes += _read(seen, names[start : start + step], encoder, language, preset, clock)
    return scenes


@dataclass(frozen=True)
class _Seen:
    """What the networks see in several images; captions as generated, masks one after the other."""

    proposals: list[Proposals]
    views: dict[str, Floats]  # (sum of n, d) each
    captions: list[str]
    image_captions: list[str]


def _look(
    images: Sequence[Image], found: Sequence[Proposals], encoder: ImageTextEncoder,
    captioner: Captioner, preset: Preset, clock: _Clock,
) -> _Seen:  # fmt: skip
    """The pixels of masks and whole images, through both networks."""
    import torch

    from tasutils.crops import masked_crops, whole_image

    device, config = getattr(encoder, "device", "cpu"), preset.captioner.crop
    pixels = _views(images, found, encoder, preset)
    crops = pixels.get("crop")
    if crops is None or (config, captioner.image_size) != (preset.crop, encoder.image_size):
        crops = _pixels(masked_crops, images, found, captioner.image_size, config, device)
    wholes = torch.cat(
        [whole_image(image, captioner.image_size, device, config.resize) for image in images]
    )
    clock.lap("crops")
    views = {name: _embedded(shown, encoder) for name, shown in pixels.items()}
    clock.lap("encode")
    # a captioner may have other words for a whole picture than for a masked crop
    if caption_image := getattr(captioner, "caption_image", None):
        captions = checked_captions(captioner.caption(crops), len(crops))
        image_captions = [caption_image(whole[None]) for whole in wholes]
    else:
        together = torch.cat([crops, wholes])
        texts = checked_captions(captioner.caption(together), len(together))
        captions, image_captions = texts[: len(crops)], texts[len(crops) :]
    clock.lap("caption")
    return _Seen([proposals.released() for proposals in found], views, captions, image_captions)


def _views(
    images: Sequence[Image], found: Sequence[Proposals], encoder: ImageTextEncoder, preset: Preset
) -> dict[str, torch.Tensor]:
    """The pixels of each view that the preset's terms name, see `crops.VIEWS`."""
    rest = images, found, encoder.image_size, preset.crop, getattr(encoder, "device", "cpu")
    return {name: _pixels(lookup("tasutils.crops:VIEWS", name), *rest) for name in preset.views()}


def _pixels(
    view: Callable[..., torch.Tensor], images: Sequence[Image], found: Sequence[Proposals],
    size: int, config: CropConfig, device: str,
) -> torch.Tensor:  # fmt: skip
    """One view of the masks of all images, float32 (n, 3, size, size)."""
    import torch

    pairs = zip(images, found, strict=True)
    return torch.cat(
        [view(i, m.mask_tensor(device), m.boxes_xyxy, size, config, device) for i, m in pairs]
    )


def _embedded(crops: torch.Tensor, encoder: ImageTextEncoder) -> Floats:
    """Embeddings of crops, (n, d); never of too few at a time."""
    import torch

    missing = max(FEWEST - len(crops), 0) if len(crops) else 0
    filled = torch.cat([crops, crops.new_zeros(missing, *crops.shape[1:])]) if missing else crops
    rows = embeddings(encoder.encode_images(filled), len(filled), "crops")
    return _stored(rows[: len(crops)])


def describe_again(
    scene: Scene, image: Image, *, encoder: ImageTextEncoder, language: Parser, preset: Preset,
    read_only: bool = False,
) -> Scene:  # fmt: skip
    """`describe_all` of a preset that differs in encoder, crop or the reading of captions alone.

    Masks and captions as generated are those of `scene`, which the rest of the preset made.
    With `read_only` only the reading differs, and so the views stay.
    """
    proposals, clock, views = scene.proposals, _Clock(1), scene.views
    if not read_only:
        pixels = _views([image], [proposals], encoder, preset)
        clock.lap("crops")
        views = {name: _embedded(shown, encoder) for name, shown in pixels.items()}
        clock.lap("encode")
    seen = _Seen([proposals], views, scene.captions_raw, [scene.image_caption_raw])
    again = _read(seen, [scene.image_id], encoder, language, preset, clock)[0]
    return replace(again, times_s=scene.times_s | again.times_s)


def _read(
    seen: _Seen, names: Sequence[str], encoder: ImageTextEncoder, language: Parser, preset: Preset,
    clock: _Clock,
) -> list[Scene]:  # fmt: skip
    """Scenes of what was seen: captions cleaned, noun phrases found, both embedded."""
    rules = preset.language
    tidy = clean_caption if rules.clean_captions else str
    captions = [tidy(raw) for raw in seen.captions]
    image_captions = [tidy(raw) for raw in seen.image_captions]
    phrases = [
        language.noun_chunks(text, rules.pronoun_chunks) if text else [] for text in image_captions
    ]
    written = [[rules.negative_template.format(phrase) for phrase in some] for some in phrases]
    caption_rows, *phrase_rows = _text_rows(encoder, [captions, *written])
    if rules.clean_captions:
        caption_rows[[not caption for caption in captions]] = 0.0
    clock.lap("language")
    ends = np.cumsum([0, *map(len, seen.proposals)])
    digest, scenes = preset.describe_digest(), []
    for index, proposals in enumerate(seen.proposals):
        mine = slice(*ends[index : index + 2])
        scenes.append(Scene(
            image_id=names[index], size_hw=proposals.size_hw, proposals=proposals,
            views={name: rows[mine].copy() for name, rows in seen.views.items()},
            captions=captions[mine], captions_raw=seen.captions[mine],
            caption_embeddings=caption_rows[mine].copy(),
            image_caption=image_captions[index], image_caption_raw=seen.image_captions[index],
            phrases=phrases[index], phrase_embeddings=phrase_rows[index],
            times_s=clock.times_s[index], describe_digest=digest,
        ))  # fmt: skip
    return scenes


def _text_rows(encoder: ImageTextEncoder, texts: Sequence[list[str]]) -> list[Floats]:
    """Embeddings of several lists of texts, each text that occurs embedded once."""
    place = {text: index for index, text in enumerate(dict.fromkeys(t for ts in texts for t in ts))}
    missing = max(FEWEST - len(place), 0) if place else 0
    written = [*place, *[""] * missing]
    rows = _stored(embeddings(encoder.encode_text(written), len(written), "texts"))
    return [rows[np.array([place[text] for text in some], np.intp)] for some in texts]


def _stored(rows: Floats) -> Floats:
    """Rounded to what float16 can hold: a scene is the same before and after it was stored."""
    return rows.astype(np.float16).astype(np.float32)


class _Clock:
    """Seconds between laps, by image and name."""

    def __init__(self, n_images: int) -> None:
        self.times_s: list[dict[str, float]] = [{} for _ in range(n_images)]
        self._last = perf_counter()

    def lap(self, name: str, images: Sequence[int] = ()) -> None:
        """Share the time since the last lap evenly among some of the images, or all."""
        now = perf_counter()
        shared = [self.times_s[index] for index in images] or self.times_s
        for times_s in shared:
            times_s[name] = (now - self._last) / len(shared)
        self._last = now
