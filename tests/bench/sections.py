"""Sections that describe and answer: against the released shape, function by function, busy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from small_peers import scene_of

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

ROUNDED = 1e-3  # a scene's embeddings are rounded to float16
AT_ONCE = 4  # sentences of one timing, none of them seen before


def describe(plan: Plan) -> Iterator[Row]:
    """Pictures with 3 x 3 sentences, against the released shape and the same cached per image."""
    cases, tas = drawn_cases(plan.images or 2), plan.tas

    def ours() -> list[tuple[Any, list[Any]]]:
        scenes = tas.describe_all([case.image for case in cases])
        pairs = zip(scenes, cases, strict=True)
        return [
            (scene, [tas.refer(scene, t, dataset=DATASET) for ts in case.references for t in ts])
            for scene, case in pairs
        ]

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
            "crops", f"{fill}, {n_masks} masks, 640 x 480", target=("ratio", "at_least", least)
        )
        row.checked = "pixels, to a step of 255: Pillow's fill colours are whole numbers"
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


def sentence(plan: Plan) -> Iterator[Row]:
    """A further sentence on a described scene, text tower and parser included."""
    tas, image = plan.tas, drawn_cases(1)[0].image
    scene = tas.describe(image)
    masks, phrases = scene.proposals.masks(), scene.phrases
    texts = new_sentences(2 * plan.repeats + 1)
    ours_texts, plain_texts = iter(texts), iter([texts[0], *reversed(texts[1:])])

    def ours() -> list[Any]:
        return [tas.refer(scene, text, dataset=DATASET) for text in next(ours_texts)]

    def plain() -> list[Any]:
        found = []
        for text in next(plain_texts):  # as released: CLIP sees every crop and caption again
            seen = released_loop.embed_all(image, masks, scene.captions, phrases, tas)
            found.append(released_loop.choose(masks, *seen, phrases, text, tas))
        return found

    def same(a: list[Any], b: list[Any]) -> None:
        same_choices([found.best for found in a], *zip(*b, strict=True), ROUNDED)

    row = Row("sentence", "new sentence: text tower and parser included", per="sentence")
    row.measures, row.checked = {"masks": len(masks), "phrases": len(phrases)}, "chosen masks"
    row.target = ("ours_s", "at_most", 0.02)
    yield compare(plan, row, ours, plain, same, AT_ONCE)


def new_sentences(n_chunks: int) -> list[list[str]]:
    """Chunks of sentences of RefScenes val, no sentence twice."""
    texts = list(dict.fromkeys(sample.text for sample in load_dataset(DATASET, "val").samples))
    return [texts[k * AT_ONCE : (k + 1) * AT_ONCE] for k in range(n_chunks)]


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


def busy(plan: Plan) -> Iterator[Row]:
    """Beside a busy process: `tas segment`, a picture, a sentence over a stored scene; or idle."""
    image = drawn_cases(1)[0].image
    tas, scene, texts = plan.tas, plan.tas.describe(image), iter(new_sentences(2 * plan.repeats))
    with TemporaryDirectory() as name:
        Image.fromarray(image).save(Path(name) / "picture.png")
        command = [sys.executable, "-m", "tasutils.cli", "segment", f"{name}/picture.png",
                   "the red thing", "--preset", plan.preset, "--out", f"{name}/out"]  # fmt: skip

        def segment() -> None:
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr

        kinds = {
            "tas segment": (segment, 1, min(plan.repeats, 3)),
            "image": (lambda: tas.describe(image), 1, plan.repeats),
            "sentence": (lambda: [tas.refer(scene, t) for t in next(texts)], AT_ONCE, plan.repeats),
        }

        def measured() -> list[list[float]]:
            return [[seconds(side) / per for _ in range(n)] for side, per, n in kinds.values()]

        idle = measured()
        other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            beside = measured()
        finally:
            other.kill()
            other.wait()
    for kind, ours_s, plain_s in zip(kinds, beside, idle, strict=True):
        row = Row("busy", f"beside a busy process: one {kind}", kind, ours_s, plain_s)
        row.ratio = [float(np.median(plain_s) / np.median(ours_s))]
        row.measures = {f"{kind}, times slower than idle": 1 / row.ratio[0]}
        row.note = "busy: ours is beside one process that never rests, plain is idle; on two cores"
        yield row
