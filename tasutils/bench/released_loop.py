"""The shape of the authors' released code, written plainly: what our speed is measured against.

For every reference of a picture SAM proposes masks, BLIP-2 captions each crop, one at a time, and
for every sentence of the reference CLIP embeds each crop and each caption again, one pass a mask.
Crops are cut by Pillow. Parts, settings and arithmetic are the preset's, so that the answers are
ours; only the shape of the work is the released one. Generous to it: the whole picture is captioned
once (the released captions lie in a file), it is blurred once for all masks, and the
masked-feature branch that it computes and throws away is left out.

Source: TAS released code, last commit 606bb7f. One line differs in `answer_cached`: there, what
does not depend on the sentence is kept for the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils import rectifier
from tasutils.bench.released_crops import background, crop_one, whole_one
from tasutils.captioners import clean_caption
from tasutils.errors import TasError
from tasutils.language.wordnet import mine_negatives
from tasutils.masks import centers_xy
from tasutils.proposals.sam import SamProposer
from tasutils.refer import Expression, parse_expression

if TYPE_CHECKING:
    from tasutils.config import Preset
    from tasutils.tas import TAS

Floats = NDArray[np.float32]


@dataclass
class Found:
    """What the loop saw last of a picture, and its answers to all sentences; for the comparison."""

    masks: NDArray[np.bool_]
    crop_embeddings: Floats
    captions: list[str]
    caption_embeddings: Floats
    chosen: list[int | None] = field(default_factory=list)
    totals: list[NDArray[np.float64]] = field(default_factory=list)


@dataclass
class Outside:
    """What encoder and captioner see outside a mask, see `background`."""

    encoder: NDArray[np.uint8]
    captioner: NDArray[np.uint8]

    @classmethod
    def of(cls, image: NDArray[np.uint8], preset: Preset) -> Outside:
        """Of a picture, by the preset's two fills."""
        return cls(background(image, preset.crop), background(image, preset.captioner.crop))


def answer_released(
    image: NDArray[np.uint8], references: Sequence[Sequence[str]], tas: TAS, dataset: str | None
) -> Found:
    """Answer the sentences of each reference, everything anew for each as the released code does.

    image: uint8 (H, W, 3); references: sentences by reference; dataset: picks lambda.
    """
    chunks, outside = phrases_of(image, tas), Outside.of(image, tas.preset)
    chosen: list[int | None] = []
    totals: list[NDArray[np.float64]] = []
    for sentences in references:
        masks = propose(image, tas)
        captions = [caption_one(image, mask, outside, tas) for mask in masks]
        for sentence in sentences:
            crops = np.array([embed_one(image, mask, outside, tas) for mask in masks])
            words = np.array([embed_words(caption, tas) for caption in captions])
            negatives = [embed_text(phrase, tas) for phrase in templated(chunks, tas)]
            answer = choose(masks, crops, words, negatives, chunks, sentence, tas, dataset)
            chosen.append(answer[0])
            totals.append(answer[1])
    return Found(masks, crops, captions, words, chosen, totals)


def answer_cached(
    image: NDArray[np.uint8], references: Sequence[Sequence[str]], tas: TAS, dataset: str | None
) -> Found:
    """The same loop, but what depends on the picture alone is computed once a picture."""
    chunks, outside = phrases_of(image, tas), Outside.of(image, tas.preset)
    masks = propose(image, tas)
    captions = [caption_one(image, mask, outside, tas) for mask in masks]
    crops = np.array([embed_one(image, mask, outside, tas) for mask in masks])
    words = np.array([embed_words(caption, tas) for caption in captions])
    negatives = [embed_text(phrase, tas) for phrase in templated(chunks, tas)]
    found = Found(masks, crops, captions, words)
    for sentences in references:
        for sentence in sentences:
            answer = choose(masks, crops, words, negatives, chunks, sentence, tas, dataset)
            found.chosen.append(answer[0])
            found.totals.append(answer[1])
    return found


def propose(image: NDArray[np.uint8], tas: TAS) -> NDArray[np.bool_]:
    """Masks bool (n, H, W) of segment-anything's own generator, filtered pair by pair."""
    if not isinstance(tas.proposer, SamProposer):
        return tas.proposer(image).masks()
    records = stock_generator(tas.proposer).generate(image)
    masks = [record["segmentation"] for record in records]
    rules = tas.preset.overlap
    masks = [mask for mask in masks if mask.sum() >= rules.min_area_px]
    if rules.max_overlap is not None:
        masks = without_overlaps(masks, rules.max_overlap)
    return np.array(masks, dtype=bool).reshape(-1, *image.shape[:2])


def stock_generator(proposer: SamProposer) -> Any:
    """segment-anything's generator with the proposer's settings, its masks as arrays."""
    from segment_anything import SamAutomaticMaskGenerator

    settings = proposer.config.model_dump(exclude={"kind", "size", "checkpoint"})
    return SamAutomaticMaskGenerator(proposer.model, **settings)


def without_overlaps(masks: list[NDArray[np.bool_]], most: float) -> list[NDArray[np.bool_]]:
    """Of every pair that shares more than `most` of the smaller, the smaller is dropped."""
    dropped = set()
    for i in range(len(masks)):
        for j in range(i + 1, len(masks)):
            areas = masks[i].sum(), masks[j].sum()
            if (masks[i] & masks[j]).sum() / max(min(areas), 1) > most:
                dropped.add(i if areas[0] < areas[1] else j)
    return [mask for index, mask in enumerate(masks) if index not in dropped]


def caption_one(
    image: NDArray[np.uint8], mask: NDArray[np.bool_], outside: Outside, tas: TAS
) -> str:
    """The captioner's words for one crop."""
    captioner, config = tas.captioner, tas.preset.captioner.crop
    crop = crop_one(image, mask, captioner.image_size, config, outside.captioner)
    words = captioner.caption(crop.to(tas.device))[0]
    return clean_caption(words) if tas.preset.language.clean_captions else words


def embed_one(
    image: NDArray[np.uint8], mask: NDArray[np.bool_], outside: Outside, tas: TAS
) -> Floats:
    """The image tower's embedding of one crop, float32 (d,)."""
    config = tas.preset.crop
    crop = crop_one(image, mask, tas.encoder.image_size, config, outside.encoder)
    return tas.encoder.encode_images(crop.to(tas.encoder.device))[0]


def phrases_of(image: NDArray[np.uint8], tas: TAS) -> list[str]:
    """Noun phrases of the caption of the whole picture."""
    captioner, rules = tas.captioner, tas.preset.language
    whole = whole_one(image, captioner.image_size).to(tas.device)
    caption_image = getattr(captioner, "caption_image", None)
    words = caption_image(whole) if caption_image else captioner.caption(whole)[0]
    words = clean_caption(words) if rules.clean_captions else words
    return tas.language.noun_chunks(words, rules.pronoun_chunks) if words else []


def templated(phrases: Sequence[str], tas: TAS) -> list[str]:
    """Candidate negatives as the text tower reads them."""
    return [tas.preset.language.negative_template.format(phrase) for phrase in phrases]


def embed_text(text: str, tas: TAS) -> Floats:
    """The text tower's embedding of one text, float32 (d,)."""
    return tas.encoder.encode_text([text])[0]


def embed_words(caption: str, tas: TAS) -> Floats:
    """The embedding of a caption; zeros for an empty one that was cleaned."""
    words = embed_text(caption, tas)
    return words if caption or not tas.preset.language.clean_captions else np.zeros_like(words)


def choose(
    masks: NDArray[np.bool_],
    crops: Floats,
    words: Floats,
    negatives: Sequence[Floats],
    phrases: Sequence[str],
    sentence: str,
    tas: TAS,
    dataset: str | None,
) -> tuple[int | None, NDArray[np.float64]]:
    """The chosen mask of one sentence (None without masks), and the sums S, float64 (n,)."""
    preset = tas.preset
    expression = parse_expression(sentence, tas.language, preset)
    text = embed_text(preset.encoder.template.format(expression.text), tas)
    kept = kept_negatives(phrases, expression, tas)
    alpha, lam = preset.weights()["p"], preset.weights(dataset)["n"]
    totals = []
    for crop, caption in zip(crops, words, strict=True):
        total = float(crop @ text) + alpha * float(caption @ text)
        if kept:
            total -= lam * sum(float(crop @ negatives[index]) for index in kept) / len(kept)
        totals.append(total)
    inside = rectifier.in_region(
        centers_xy(masks), masks.shape[1:], expression.directions, preset.rectifier.cut
    )
    return rectifier.rectify(totals, inside), np.array(totals)


def kept_negatives(phrases: Sequence[str], expression: Expression, tas: TAS) -> list[int]:
    """Which phrases are negatives of an expression."""
    threshold = tas.preset.language.synonym_threshold
    judged = mine_negatives(phrases, expression.parse, tas.language, threshold)
    return [candidate.index for candidate in judged if candidate.kept]


def require_plain(preset: Preset) -> None:
    """Raise TasError for the settings of preset `official` that this loop does not have."""
    plain = preset.language.synonym_rule == "nearest" and preset.language.head_rule == "reading"
    plain &= preset.rectifier.form != "official" and preset.rectifier.centers == "mean"
    plain &= preset.crop.geometry == "exact" and preset.captioner.crop.geometry == "exact"
    plain &= preset.crop.resize == "float" and preset.captioner.crop.resize == "float"
    plain &= preset.scores.normalise == "none" and not preset.scores.logit_scale
    if not plain:
        raise TasError(f"the bench's loop cannot answer as preset {preset.name}; choose tiny")
