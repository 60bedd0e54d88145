"""The shape of the authors' released code, written plainly: what our speed is measured against.

For every reference of a picture SAM proposes masks, BLIP-2 captions each crop, one at a time, and
for every sentence of the reference CLIP embeds each crop and each caption again, one pass a mask.
Crops are cut by Pillow. Parts, settings and arithmetic are the preset's, so that the answers are
ours; only the shape of the work is the released one. Generous to it: the whole picture is captioned
once (the released captions lie in a file), it is blurred once for all masks, and the
masked-feature branch that it computes and throws away is left out.

Source: TAS released code, last commit 606bb7f.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from segment_anything import SamAutomaticMaskGenerator

from tasutils import rectifier
from tasutils.captioners import clean_caption
from tasutils.crops import CLIP_MEAN_RGB
from tasutils.language.wordnet import mine_negatives
from tasutils.masks import runs_of
from tasutils.refer import parse_expression


@dataclass
class Found:
    """What the loop saw last of a picture, and its answers to all sentences; for the comparison."""

    masks: Any
    crops: Any
    captions: list[str]
    words: Any
    chosen: list[int | None] = field(default_factory=list)
    totals: list[Any] = field(default_factory=list)


def answer(image: Any, references: Sequence[Sequence[str]], tas: Any, cached: bool) -> Found:
    """Answer the sentences of each reference; cached: what is the picture's is computed once."""
    phrases, chosen, totals = phrases_of(image, tas), [], []
    size, config = tas.captioner.image_size, tas.preset.captioner.crop
    outside = background(image, config)
    for number, sentences in enumerate(references):
        if number == 0 or not cached:
            masks = propose(image, tas)
            cut = (crop_one(image, mask, size, config, outside) for mask in masks)
            captions = [said(crop, tas) for crop in cut]
        for place, sentence in enumerate(sentences):
            if number + place == 0 or not cached:
                embedded = embed_all(image, masks, captions, phrases, tas)
            best, sums = choose(masks, *embedded, phrases, sentence, tas)
            chosen.append(best)
            totals.append(sums)
    crops, words, _ = embedded
    return Found(masks, crops, captions, words, chosen, totals)


def embed_all(
    image: Any, masks: Any, captions: Sequence[str], phrases: Sequence[str], tas: Any
) -> tuple[Any, Any, list[Any]]:
    """Embeddings of crops, captions and phrases, one pass of a tower each."""
    config, encoder, written = tas.preset.crop, tas.encoder, tas.preset.language.negative_template
    outside = background(image, config)
    crops = [crop_one(image, mask, encoder.image_size, config, outside) for mask in masks]
    return (
        np.array([encoder.encode_images(crop.to(encoder.device))[0] for crop in crops]),
        np.array([embed_words(caption, tas) for caption in captions]),
        [encoder.encode_text([written.format(phrase)])[0] for phrase in phrases],
    )


def propose(image: Any, tas: Any) -> Any:
    """Masks bool (n, H, W) of segment-anything's own generator, filtered pair by pair."""
    settings = tas.proposer.config.model_dump(exclude={"kind", "size", "checkpoint"})
    records = SamAutomaticMaskGenerator(tas.proposer.model, **settings).generate(image)
    rules, masks = tas.preset.overlap, [record["segmentation"] for record in records]
    masks = [mask for mask in masks if mask.sum() >= rules.min_area_px]
    if rules.max_overlap is not None:
        masks = without_overlaps(masks, rules.max_overlap)
    return np.array(masks, dtype=bool).reshape(-1, *image.shape[:2])


def without_overlaps(masks: list[Any], most: float) -> list[Any]:
    """Of every pair that shares more than `most` of the smaller, the smaller is dropped."""
    dropped = set()
    for i in range(len(masks)):
        for j in range(i + 1, len(masks)):
            areas = masks[i].sum(), masks[j].sum()
            if (masks[i] & masks[j]).sum() / max(min(areas), 1) > most:
                dropped.add(i if areas[0] < areas[1] else j)
    return [mask for index, mask in enumerate(masks) if index not in dropped]


def crop_one(image: Any, mask: Any, size: int, config: Any, outside: Any) -> torch.Tensor:
    """Mask, cut to the box, pad to a square, resample: float32 (1, 3, size, size) RGB in 0..1.

    Pillow resamples floats here, bytes in the released code: as slow, but rounding turns captions.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    filled = np.where(mask[:, :, None], image, outside)
    cut = Image.fromarray(filled).crop((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    if config.pad_square:
        side = max(cut.size)
        border = tuple(round(255 * c) for c in CLIP_MEAN_RGB) if config.fill == "mean" else 0
        square = Image.new("RGB", (side, side), border)
        square.paste(cut, ((side - cut.width) // 2, (side - cut.height) // 2))
        cut = square
    return resampled(cut, size)


def background(image: Any, config: Any) -> Any:
    """What is seen outside a mask: uint8 (H, W, 3), or (3,) of one colour."""
    if config.fill == "blur":
        kernel = (config.blur_kernel_px, config.blur_kernel_px)
        return cv2.GaussianBlur(image, kernel, 0).reshape(image.shape)
    colour = CLIP_MEAN_RGB if config.fill == "mean" else (0.0, 0.0, 0.0)
    return np.array([round(255 * c) for c in colour], np.uint8)


def resampled(picture: Image.Image, size: int) -> torch.Tensor:
    """A picture stretched, float32 (1, 3, size, size) RGB in 0..1."""
    how = Image.Resampling.BICUBIC
    bands = [band.convert("F").resize((size, size), how) for band in picture.split()]
    pixels = np.stack([np.array(band) for band in bands])[None]
    return torch.from_numpy(pixels / np.float32(255)).clamp(0, 1)


def said(pixels: torch.Tensor, tas: Any, whole: bool = False) -> str:
    """The captioner's words for one crop, or for the whole picture, as the preset keeps them."""
    captioner, pixels = tas.captioner, pixels.to(tas.device)
    if whole and hasattr(captioner, "caption_image"):
        words = captioner.caption_image(pixels)
    else:
        words = captioner.caption(pixels)[0]
    return clean_caption(words) if tas.preset.language.clean_captions else words


def phrases_of(image: Any, tas: Any) -> list[str]:
    """Noun phrases of the caption of the whole picture."""
    words = said(resampled(Image.fromarray(image), tas.captioner.image_size), tas, whole=True)
    rules = tas.preset.language
    return tas.language.noun_chunks(words, rules.pronoun_chunks) if words else []


def embed_words(caption: str, tas: Any) -> Any:
    """The embedding of a caption; zeros for an empty one that was cleaned."""
    words = tas.encoder.encode_text([caption])[0]
    return words if caption or not tas.preset.language.clean_captions else np.zeros_like(words)


def choose(
    masks: Any, crops: Any, words: Any, negatives: Any, phrases: Any, sentence: str, tas: Any
) -> tuple[int | None, Any]:
    """The chosen mask of one sentence (None without masks), and the sums S, float64 (n,)."""
    preset, weights = tas.preset, tas.preset.weights("refscenes")
    expression = parse_expression(sentence, tas.language, preset)
    text = tas.encoder.encode_text([preset.encoder.template.format(expression.text)])[0]
    threshold = preset.language.synonym_threshold
    judged = mine_negatives(phrases, expression.parse, tas.language, threshold)
    kept = [candidate.index for candidate in judged if candidate.kept]
    totals = []
    for crop, caption in zip(crops, words, strict=True):
        cosines = [float(crop @ negatives[index]) for index in kept]
        total = float(crop @ text) + weights["p"] * float(caption @ text)
        totals.append(total - weights["n"] * sum(cosines) / max(1, len(kept)))
    places, cut = runs_of(masks).centers_xy(), preset.rectifier.cut
    inside = rectifier.in_region(places, masks.shape[1:], expression.directions, cut)
    return rectifier.rectify(totals, inside), np.array(totals)
