"""The loop of an evaluation: describe each image once, refer to it with each of its sentences."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from tasutils.datasets.sample import RefDataset, Sample
from tasutils.errors import TasError
from tasutils.metrics import METRIC_VERSION
from tasutils.provenance import git_state, library_versions, peak_memory_mib
from tasutils.run_tables import BOOTSTRAP_SEED, RunTables, metrics_of
from tasutils.runs import ModelFile, RunRecord, keep_run, run_folder

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.config import Preset
    from tasutils.refer import Answer
    from tasutils.scene import Scene
    from tasutils.store import SceneStore


class Segmenter(Protocol):
    """What an evaluation asks of `loading.TAS`."""

    preset: Preset

    @property
    def device(self) -> str:
        """Where the networks run."""

    def describe(self, image: Any, image_id: str = "") -> Scene:
        """The scene of uint8 (H, W, 3)."""

    def refer(self, scene: Scene, sentence: str, dataset: str | None = None) -> Answer:
        """The answer to one sentence."""


def evaluate(
    dataset: RefDataset,
    tas: Segmenter,
    *,
    limit_images: int | None = None,
    store: SceneStore | None = None,
    progress: bool = True,
    out: Path | None = None,
) -> Path:
    """Answer every sentence of a data set and write the run.

    Args:
        dataset: one split; see `tasutils.datasets`.
        tas: the method, from `tasutils.load`; lambda is the preset's for `dataset.name`.
        limit_images: only the first so many images; the run is then marked partial.
        store: where described scenes are kept and read back. An interrupted evaluation loses none.
        progress: whether a bar on stderr counts images.
        out: folder of runs; `paths.RESULTS` when None.

    Returns:
        The run's folder, for `runs.read_run`.

    Raises:
        TasError: an image, an annotation or weights are missing or damaged, `out` cannot be
            written, or `limit_images` is not positive. Nothing is left half-written.
    """
    from tqdm import tqdm

    from tasutils import paths

    if limit_images is not None and limit_images < 1:
        raise TasError(f"limit_images is {limit_images}; give a number from 1 on, or none")
    created, start = datetime.now(UTC).isoformat(timespec="seconds"), perf_counter()
    groups = list(dataset.by_image().items())[:limit_images]
    tables = RunTables()
    with run_folder(paths.RESULTS if out is None else Path(out)) as folder:
        bar = tqdm(
            groups, desc=f"{dataset.name} {dataset.split}", unit="image", disable=not progress
        )
        for image_id, samples in bar:
            scene = _scene(dataset, image_id, tas, store, tables)
            _answer(dataset, scene, samples, tas, tables)
        samples_table, scores_table = tables.frames()
        record = _record(dataset, tas, samples_table, tables, created)
        record = record.model_copy(update={"wall_s": round(perf_counter() - start, 3)})
        return keep_run(folder, record, samples_table, scores_table)


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


def evaluate_families(
    families: Sequence[str],
    split: str,
    preset: Preset,
    *,
    limit_images: int | None = None,
    out: Path | None = None,
    device: str | None = None,
    progress: bool = True,
) -> list[Path]:
    """Evaluate a preset on several data sets that share images, each described once: one run each.

    Scenes are kept in `<out>/scenes`. Arguments and errors otherwise as in `evaluate`.
    """
    from tasutils import paths
    from tasutils.datasets import load_dataset
    from tasutils.loading import load
    from tasutils.store import SceneStore

    datasets = [load_dataset(family, split) for family in families]
    out = paths.RESULTS if out is None else Path(out)
    tas, store = load(preset, device=device), SceneStore(out / "scenes")
    return [
        evaluate(data, tas, limit_images=limit_images, store=store, progress=progress, out=out)
        for data in datasets
    ]


def _scene(
    dataset: RefDataset, image_id: str, tas: Segmenter, store: SceneStore | None, tables: RunTables
) -> Scene:
    """The scene of an image, read back from the store if it is there, else made and put there."""
    from tasutils.images import read_image
    from tasutils.store import scene_key

    path = dataset.image_path(image_id)
    image = read_image(path)
    if image.shape[:2] != dataset.size_hw(image_id):
        raise TasError(
            f"{path}: the picture is {image.shape[0]} x {image.shape[1]} px (H x W), "
            f"its annotations say {dataset.size_hw(image_id)}; get the picture again"
        )
    key = scene_key(image, tas.preset.describe_digest())
    scene = store.get(key) if store is not None else None
    if scene is None:
        scene = tas.describe(image, image_id=image_id)
        tables.count_times(scene.times_s)
        if store is not None:
            store.put(key, scene)
    return scene


def _answer(
    dataset: RefDataset, scene: Scene, samples: list[Sample], tas: Segmenter, tables: RunTables
) -> None:
    """Add the answers to all sentences of one image."""
    tables.dtype = str(scene.crop_embeddings.dtype)
    masks = scene.proposals.masks()
    for sample in samples:
        # a sentence that cannot be read counts like one without proposals
        fault = unreadable(sample.text)
        answer = None if fault else tas.refer(scene, sample.text, dataset=dataset.name)
        tables.add(sample, masks, dataset.gt_mask(sample), answer, fault)


def _record(
    dataset: RefDataset, tas: Segmenter, samples: pd.DataFrame, tables: RunTables, created: str
) -> RunRecord:
    """The record of a finished evaluation, but for its name and wall time."""
    from tasutils import paths

    preset = tas.preset
    settings = preset.leaves()
    commit, dirty = git_state(paths.ROOT)
    n_images = samples["image_id"].nunique()
    return RunRecord(
        run_id="",
        created=created,
        preset=preset.name,
        config=preset.model_dump(mode="json"),
        config_digest=preset.digest(),
        alpha=preset.scores.alpha,
        lam=preset.scores.lambda_for(dataset.name),
        dataset=dataset.name,
        split=dataset.split,
        index_digest=dataset.index_digest,
        n_total=len(dataset),
        n_used=len(samples),
        n_images_total=len(dataset.image_ids),
        n_images=n_images,
        n_without_proposals=int((samples["n_proposals"] == 0).sum()),
        partial=n_images < len(dataset.image_ids),
        models={
            field: ModelFile(name=Path(str(settings[field])).as_posix(), sha256=digest)
            for field, digest in preset.weight_digests().items()
        },
        versions=library_versions(),
        git_commit=commit,
        git_dirty=dirty,
        device=str(tas.device),
        dtype=tables.dtype,
        seeds={"bootstrap": BOOTSTRAP_SEED},
        wall_s=0.0,
        times_s={stage: round(seconds, 3) for stage, seconds in tables.times_s.items()},
        n_described=tables.n_described,
        peak_memory_mib=peak_memory_mib(),
        metrics=metrics_of(samples),
        metric_version=METRIC_VERSION,
    )
