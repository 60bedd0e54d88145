"""The record of a finished evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasutils.metrics import METRIC_VERSION
from tasutils.provenance import git_state, library_versions, peak_memory_mib
from tasutils.run_tables import BOOTSTRAP_SEED, RunTables, metrics_of
from tasutils.runs import ModelFile, RunRecord

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.config import Preset
    from tasutils.datasets.sample import RefDataset

SEEDS = {"bootstrap": BOOTSTRAP_SEED}


def make_record(
    dataset: RefDataset,
    preset: Preset,
    device: str,
    samples: pd.DataFrame,
    tables: RunTables,
    created: str,
    method: str,
    settings: dict[str, Any],
) -> RunRecord:
    """The record of a run, but for its name.

    Args:
        dataset, preset, device: what was evaluated, with what, and where the networks ran.
        samples: the table of samples, from `tables.frames`.
        tables: with their times.
        created: ISO 8601, UTC.
        method, settings: the method's name and its switches.
    """
    from tasutils import paths

    commit, dirty = git_state(paths.ROOT)
    n_images = samples["image_id"].nunique()
    return RunRecord(
        run_id="",
        created=created,
        preset=preset.name,
        method=method,
        method_settings=settings,
        config=preset.model_dump(mode="json"),
        config_digest=preset.digest(),
        alpha=preset.weights()["p"],
        lam=preset.weights(dataset.name)["n"],
        dataset=dataset.name,
        split=dataset.split,
        split_by=dataset.split_by,
        index_digest=dataset.index_digest,
        pictures_digest=pictures_digest(samples),
        n_total=len(dataset),
        n_used=len(samples),
        n_images_total=len(dataset.image_ids),
        n_images=n_images,
        n_without_proposals=int((samples["n_proposals"] == 0).sum()),
        n_without_mask=int(samples["gt_area_px"].isna().sum()),
        partial=n_images < len(dataset.image_ids),
        models=model_files(preset, method, settings),
        versions=library_versions(),
        git_commit=commit,
        git_dirty=dirty,
        device=device,
        dtype=tables.dtype,
        seeds=SEEDS,
        wall_s=round(tables.wall_s, 3),
        answer_s=round(tables.answer_s, 3),
        times_s={stage: round(seconds, 3) for stage, seconds in tables.times_s.items()},
        n_described=tables.n_described,
        peak_memory_mib=peak_memory_mib(),
        metrics=metrics_of(samples, preset.metrics.epsilon),
        metric_version=METRIC_VERSION,
    )


def pictures_digest(samples: pd.DataFrame) -> str:
    """SHA-256 (hex) of the names of the pictures of a table of samples and of their digests."""
    pairs = samples[["image_id", "image_digest"]].drop_duplicates().astype(str)
    lines = sorted(f"{digest} {name}" for name, digest in pairs.to_numpy())
    return sha256("\n".join(lines).encode()).hexdigest()


def model_files(preset: Preset, method: str, settings: Mapping[str, Any]) -> dict[str, ModelFile]:
    """All that was learned or collected by others and has a say: weights, parser, WordNet.

    By the dotted name of the preset's setting, or of the method's.
    """
    from tasutils import paths
    from tasutils.language.parse import model_folder

    leaves = preset.leaves()
    files = {
        field: ModelFile(name=Path(str(leaves[field])).as_posix(), sha256=digest)
        for field, digest in preset.weight_digests().items()
    }
    if weights := settings.get("checkpoint"):
        digest = paths.content_digest(paths.weights_path(weights))
        files[f"{method}.checkpoint"] = ModelFile(name=str(weights), sha256=digest)
    parser, wordnet = model_folder(preset.language.spacy_model), "corpora/wordnet.zip"
    return files | {
        "language.spacy_model": ModelFile(name=parser.name, sha256=paths.content_digest(parser)),
        "wordnet": ModelFile(name=wordnet, sha256=paths.content_digest(paths.NLTK_DATA / wordnet)),
    }
