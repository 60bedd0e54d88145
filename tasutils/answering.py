"""Answering all sentences about one image, by TAS or by a peer of it."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from tasutils.datasets.sample import RefDataset, Sample
from tasutils.images import pixel_digest
from tasutils.run_tables import Choice, Overlaps, RunTables, write_mask
from tasutils.runs import MASKS_FOLDER

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tasutils.baselines import Method
    from tasutils.config import Preset
    from tasutils.refer import TasAnswer
    from tasutils.scene import Scene
    from tasutils.store import SceneStore


class Segmenter(Protocol):
    """What an evaluation asks of `loading.TAS`."""

    preset: Preset

    @property
    def device(self) -> str:
        """Where the networks run."""

    @property
    def language(self) -> Any:
        """The parser of sentences, `language.parse.Parser`."""

    @property
    def encoder(self) -> Any:
        """The image-text encoder, of which the scale of its cosines is asked."""

    def describe(self, image: Any, image_id: str = "") -> Scene:
        """The scene of uint8 (H, W, 3)."""

    def refer(self, scene: Scene, sentence: str, dataset: str | None = None) -> TasAnswer:
        """The answer to one sentence."""


@dataclass
class Task:
    """One run in the making: a data set, the method that answers (None: TAS), its tables.

    folder: where it will be written; used: the samples of the images that it uses, by image id.
    """

    dataset: RefDataset
    method: Method | None
    tables: RunTables
    folder: Path
    used: dict[str, list[Sample]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The method's name."""
        return "tas" if self.method is None else self.method.name

    @property
    def settings(self) -> dict[str, Any]:
        """The method's switches; none of TAS, whose preset has them."""
        return dict(getattr(self.method, "settings", {}))


def unreadable(sentence: str) -> str:
    """Why `refer` would refuse a sentence; empty if it would not.

    >>> unreadable("the dog"), unreadable(" ")
    ('', 'the sentence is empty')
    """
    from tasutils.refer import MAX_CHARACTERS

    if not any(unicodedata.category(character)[0] not in "ZC" for character in sentence):
        return "the sentence is empty"
    if len(sentence) > MAX_CHARACTERS:
        return f"the sentence is longer than {MAX_CHARACTERS} characters"
    return ""


def answer_image(
    path: Path,
    here: list[tuple[Task, str]],
    tas: Segmenter,
    store: SceneStore | None,
    keep_masks: bool,
) -> None:
    """Answer all sentences about one image in all tasks that have it."""
    start = perf_counter()
    scene, image = _scene(path, here, tas, store)
    here[0][0].tables.wall_s += perf_counter() - start
    proposals, picture = scene.proposals.masks(), pixel_digest(image)
    overlaps: dict[tuple[str, str], Overlaps] = {}
    for task, image_id in here:
        start = perf_counter()
        task.tables.dtype = str(scene.crop_embeddings.dtype)
        choices = _choices(task, task.used[image_id], scene, image, tas)
        task.tables.answer_s += perf_counter() - start
        for sample, choice in zip(task.used[image_id], choices, strict=True):
            key = (task.dataset.name, sample.sample_id)
            if key not in overlaps:
                overlaps[key] = overlaps_of(proposals, task.dataset, sample)
            task.tables.add(sample, overlaps[key], choice, picture)
            if keep_masks and choice.chosen >= 0:
                write_mask(task.folder / MASKS_FOLDER, sample.sample_id, proposals[choice.chosen])
        task.tables.wall_s += perf_counter() - start


def overlaps_of(proposals: NDArray[np.bool_], dataset: RefDataset, sample: Sample) -> Overlaps:
    """Masks against a sample's ground truth, also by REFER's overlap rule where that may differ."""
    if sample.sample_id in dataset.without_mask:
        return Overlaps.of(proposals, None)
    found = Overlaps.of(proposals, dataset.gt_mask(sample))
    if dataset.refer_truth is None:
        return found
    other = dataset.refer_truth(sample)
    return replace(found, refer=found if other is None else Overlaps.of(proposals, other))


def _scene(
    path: Path, here: list[tuple[Task, str]], tas: Segmenter, store: SceneStore | None
) -> tuple[Scene, NDArray[np.uint8]]:
    """The scene of an image, read from the store if it is there, else made and put there."""
    from tasutils.images import read_image, require_annotated_size
    from tasutils.store import scene_key

    image = read_image(path)
    for task, image_id in here:
        require_annotated_size(path, image, task.dataset.size_hw(image_id))
    key = scene_key(image, tas.preset.describe_digest())
    scene = None if store is None else store.get(key)
    if scene is None:
        task, image_id = here[0]
        scene = tas.describe(image, image_id=image_id)
        task.tables.count_times(scene.times_s)
        if store is not None:
            store.put(key, scene)
    return scene, image


def _choices(
    task: Task, samples: list[Sample], scene: Scene, image: NDArray[np.uint8], tas: Segmenter
) -> list[Choice]:
    """What the task's method chooses for each sentence about one image."""
    from tasutils.baselines import scores_of
    from tasutils.refer import parse_expression

    raw = getattr(task.method, "field", tas.preset.language.field) == "raw"
    texts = [sample.raw if raw else sample.text for sample in samples]
    faults = [unreadable(text) for text in texts]  # such count like one without proposals
    if task.method is None:
        return [
            Choice.refused(fault) if fault else _choice(task, scene, text, tas)
            for text, fault in zip(texts, faults, strict=True)
        ]
    read = [
        None if fault else parse_expression(text, tas.language, tas.preset)
        for text, fault in zip(texts, faults, strict=True)
    ]
    if hasattr(task.method, "prepare"):
        task.method.prepare([expression for expression in read if expression is not None])
    return [
        Choice.refused(fault)
        if expression is None
        else Choice.of_scores(task.name, scores_of(task.method, scene, expression, image))
        for expression, fault in zip(read, faults, strict=True)
    ]


def _choice(task: Task, scene: Scene, text: str, tas: Segmenter) -> Choice:
    """What TAS chooses, with what other rules and forms would have it choose from."""
    from tasutils.alternatives import alternatives
    from tasutils.refer import cosine_scale

    answer = tas.refer(scene, text, dataset=task.dataset.name)
    start = perf_counter()
    scale = cosine_scale(tas.encoder, tas.preset)
    others = alternatives(answer, text, tas.language, scale)
    task.tables.answer_s -= perf_counter() - start  # no answer needs it, only a sweep
    return Choice.of_answer(answer, others)
