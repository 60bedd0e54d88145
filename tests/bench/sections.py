"""Sections that describe and answer: against the released shape, function by function, busy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import numpy as np
import torch
from segment_anything import SamPredictor

from bench import released_loop
from bench.measure import (
    DATASET,
    Plan,
    Row,
    compare,
    drawn_cases,
    near,
    noise_and_blobs,
    same_choices,
    seconds,
)
from tasutils.baselines import make_method
from tasutils.crops import masked_crops
from tasutils.datasets import load_dataset
from tasutils.masks import boxes_xyxy
from tasutils.refer import parse_expression
from tasutils.scene import Proposals, Scene

ROUNDED = 1e-3  # a scene's embeddings are rounded to float16
AT_ONCE = 4  # sentences of one timing, none of them seen before


def describe(plan: Plan) -> Iterator[Row]:
    """Pictures with 3 x 3 sentences, against the released shape and the same cached per image."""
    cases, tas = drawn_cases(plan.images or 2), plan.tas

    def ours() -> list[tuple[Any, list[Any]]]:
        scenes = tas.describe_all([case.image for case in cases])
        pairs = zip(scenes, cases, strict=True)
        return [(s, [tas.refer(s, t, dataset=DATASET) for t in c.sentences]) for s, c in pairs]

    for name, cached, least in (
        ("released shape", False, 8.0),
        ("the same, cached per image", True, 2.0),
    ):

        def plain(cached: bool = cached) -> list[released_loop.Found]:
            return [released_loop.answer(c.image, c.references, tas, cached) for c in cases]

        row = Row(
            "describe",
            f"{len(cases)} images x 3 references x 3 sentences, {name}",
            target=("ratio", "at_least", least),
            checked=f"masks, captions, embeddings (to {ROUNDED:g}), chosen masks of all sentences",
        )
        yield compare(plan, row, ours, plain, same_answers, len(cases), min(plan.repeats, 3))


def same_answers(ours: Any, plain: list[released_loop.Found]) -> None:
    """Masks, captions, embeddings and chosen masks of all pictures."""
    for (scene, answers), found in zip(ours, plain, strict=True):
        np.testing.assert_array_equal(scene.proposals.masks(), found.masks)
        assert list(scene.captions) == found.captions, "captions differ"
        near(scene.crop_embeddings, found.crops, ROUNDED)
        near(scene.caption_embeddings, found.words, ROUNDED)
        same_choices([a.best for a in answers], found.chosen, found.totals, ROUNDED)


def crops(plan: Plan, n_masks: int = 32) -> Iterator[Row]:
    """All masks of a picture at once, against one crop after another by Pillow."""
    image, masks = noise_and_blobs(n_masks)
    boxes, least = boxes_xyxy(masks), 20.0 if plan.device.startswith("cuda") else 3.0
    for fill in ("black", "blur", "mean"):
        changes = {"fill": fill, "geometry": "exact", "resize": "float"}
        config = plan.tas.preset.crop.model_copy(update=changes)

        def ours(config: Any = config) -> torch.Tensor:
            return masked_crops(image, masks, boxes, 224, config, plan.device)

        def plain(config: Any = config) -> torch.Tensor:
            outside = released_loop.background(image, config)
            made = [released_loop.crop_one(image, mask, 224, config, outside) for mask in masks]
            return torch.cat(made).to(plan.device)

        row = Row(
            "crops",
            f"{fill}, {n_masks} masks, 640 x 480",
            target=("ratio", "at_least", least),
            checked="pixels, to a step of 255: Pillow's fill colours are whole numbers",
        )
        yield compare(plan, row, ours, plain, lambda a, b: near(a.cpu(), b.cpu(), 4e-3))


def sam(plan: Plan) -> Iterator[Row]:
    """Our masks of a picture against segment-anything's own generator."""
    tas, images = plan.tas, [case.image for case in drawn_cases(plan.images or 2)]

    def ours() -> list[Any]:
        return [tas.proposer(image).masks() for image in images]

    def plain() -> list[Any]:
        return [released_loop.propose(image, tas) for image in images]

    def same(a: list[Any], b: list[Any]) -> None:
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)

    row = Row("sam", "image to proposals", checked="masks")
    yield compare(plan, row, ours, plain, same, len(images))
    images = images[:1] * len(images)
    with embedded(tas.proposer.model, images[0]):
        row = Row("sam", "the same, behind the image encoder", checked="masks")
        yield compare(plan, row, ours, plain, same, len(images))


@contextmanager
def embedded(model: Any, image: Any) -> Iterator[None]:
    """SAM whose image encoder gives at once what it gave for one picture."""
    predictor = SamPredictor(model)
    with torch.inference_mode():
        predictor.set_image(image)
    known, forward = predictor.features, model.image_encoder.forward
    model.image_encoder.forward = lambda pixels: known.expand(len(pixels), -1, -1, -1)
    try:
        yield
    finally:
        model.image_encoder.forward = forward


def sentence(plan: Plan) -> Iterator[Row]:
    """A further sentence on a described scene; and one whose parse and embedding are known."""
    tas, image = plan.tas, drawn_cases(1)[0].image
    scene = tas.describe(image)
    masks, phrases = scene.proposals.masks(), scene.phrases
    texts = new_sentences(2 * plan.repeats + 1)
    stored = scene.crop_embeddings, scene.caption_embeddings, list(scene.phrase_embeddings)

    def same(a: list[Any], b: list[Any]) -> None:
        chosen, totals = zip(*b, strict=True)
        same_choices([found.best for found in a], chosen, totals, ROUNDED)

    def rows(ours_texts: Iterator[Any], plain_texts: Iterator[Any], new: bool) -> Row:
        def ours() -> list[Any]:
            return [tas.refer(scene, text, dataset=DATASET) for text in next(ours_texts)]

        def plain() -> list[Any]:
            found = []
            for text in next(plain_texts):
                if new:  # as released: CLIP sees every crop and every caption again
                    seen = released_loop.embed_all(image, masks, scene.captions, phrases, tas)
                else:
                    seen = stored
                found.append(released_loop.choose(masks, *seen, phrases, text, tas))
            return found

        name = "new sentence: text tower and parser included"
        row = Row(
            "sentence",
            name if new else "known sentence: its embedding and parse are looked up",
            per="sentence",
            measures={"masks": len(masks), "phrases": len(phrases)},
            target=("ours_s", "at_most", 0.02 if new else 0.001),
            checked="chosen masks",
        )
        return compare(plan, row, ours, plain, same, AT_ONCE)

    yield rows(iter(texts), iter([texts[0], *reversed(texts[1:])]), new=True)
    with known_texts(tas.encoder, tas.preset.encoder.template, texts[0]):
        yield rows(cycle(texts[:1]), cycle(texts[:1]), new=False)


def new_sentences(n_chunks: int) -> list[list[str]]:
    """Chunks of sentences of RefScenes val, no sentence twice."""
    texts = list(dict.fromkeys(sample.text for sample in load_dataset(DATASET, "val").samples))
    return [texts[k * AT_ONCE : (k + 1) * AT_ONCE] for k in range(n_chunks)]


@contextmanager
def known_texts(encoder: Any, template: str, texts: list[str]) -> Iterator[None]:
    """An encoder that looks the embeddings of these sentences up."""
    written = [template.format(text) for text in texts]
    known = dict(zip(written, encoder.encode_text(written), strict=True))
    encoder.encode_text = lambda asked: np.stack([known[text] for text in asked])
    try:
        yield
    finally:
        del encoder.encode_text


def peers(plan: Plan, n_masks: int = 32) -> Iterator[Row]:
    """Region Token and Global-Local over all masks at once, against a mask at a time."""
    image, masks = noise_and_blobs(n_masks)
    expression = parse_expression("the red thing", plan.tas.language, plan.tas.preset)
    scenes = [scene_of(masks), *(scene_of(mask[None]) for mask in masks)]
    for name in ("region_token", "global_local", "global_local_rn"):
        method = make_method(name, plan.tas)
        method.prepare([expression])

        def ours(method: Any = method) -> Any:
            return method.score(scenes[0], expression, image.copy())

        def plain(method: Any = method) -> Any:
            found = [method.score(scene, expression, image.copy()) for scene in scenes[1:]]
            return np.concatenate(found)

        row = Row("peers", f"{name}, {n_masks} masks", checked="scores, to 1e-4 of the largest")
        if name == "region_token":
            row.target = ("ratio", "at_least", 10.0)
        yield compare(plan, row, ours, plain, lambda a, b: near(a, b, 1e-4 * np.abs(b).max()))


def scene_of(masks: Any) -> Scene:
    """A scene of masks alone."""
    none = np.zeros((len(masks), 1), np.float32)
    said = [""] * len(masks)
    return Scene(
        image_id="noise",
        size_hw=masks.shape[1:],
        proposals=Proposals.from_masks(masks),
        views={"crop": none},
        captions=said,
        captions_raw=said,
        caption_embeddings=none,
        image_caption="",
        image_caption_raw="",
        phrases=[],
        phrase_embeddings=none[:0],
        times_s={},
        describe_digest="",
    )


def busy(plan: Plan) -> Iterator[Row]:
    """Describing and answering beside one process that never rests, and idle."""
    tas, (image, *_) = plan.tas, [case.image for case in drawn_cases(1)]
    scene, texts = tas.describe(image), iter(new_sentences(2 * plan.repeats))
    kinds = {
        "image": lambda: tas.describe(image),
        "sentence": lambda: [tas.refer(scene, text) for text in next(texts)],
    }
    idle = {name: [seconds(side) for _ in range(plan.repeats)] for name, side in kinds.items()}
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        beside = {name: [seconds(s) for _ in range(plan.repeats)] for name, s in kinds.items()}
    finally:
        other.kill()
        other.wait()
    for name, count in (("image", 1), ("sentence", AT_ONCE)):
        times = [[value / count for value in found[name]] for found in (beside, idle)]
        yield Row(
            "busy",
            f"one {name}, beside one process that never rests; the other side: idle",
            per=name,
            ours_s=times[0],
            plain_s=times[1],
            measures={"times_slower": float(np.median(times[0]) / np.median(times[1]))},
            note="busy: nothing else should run; on two cores",
        )
