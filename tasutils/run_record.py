"""The record of a finished evaluation."""

from __future__ import annotations

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

    leaves = preset.leaves()
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
        alpha=preset.scores.alpha,
        lam=preset.scores.lambda_for(dataset.name),
        dataset=dataset.name,
        split=dataset.split,
        split_by=dataset.split_by,
        index_digest=dataset.index_digest,
        n_total=len(dataset),
        n_used=len(samples),
        n_images_total=len(dataset.image_ids),
        n_images=n_images,
        n_without_proposals=int((samples["n_proposals"] == 0).sum()),
        n_without_mask=int(samples["gt_area_px"].isna().sum()),
        partial=n_images < len(dataset.image_ids),
        models={
            field: ModelFile(name=Path(str(leaves[field])).as_posix(), sha256=digest)
            for field, digest in preset.weight_digests().items()
        },
        versions=library_versions(),
        git_commit=commit,
        git_dirty=dirty,
        device=device,
        dtype=tables.dtype,
        seeds={"bootstrap": BOOTSTRAP_SEED},
        wall_s=round(tables.wall_s, 3),
        answer_s=round(tables.answer_s, 3),
        times_s={stage: round(seconds, 3) for stage, seconds in tables.times_s.items()},
        n_described=tables.n_described,
        peak_memory_mib=peak_memory_mib(),
        metrics=metrics_of(samples, preset.metrics.epsilon),
        metric_version=METRIC_VERSION,
    )
