"""The newest runs that a folder holds, or the one that is missing, made now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tasutils import paths
from tasutils.errors import TasError
from tasutils.runs import Run, list_runs, read_run
from tasutils.study import Part

if TYPE_CHECKING:
    from tasutils.datasets import RefDataset
    from tasutils.tas import TAS


def find_parts(out: Path | str, preset: str, names: str = "") -> list[Part]:
    """Open the runs of a study.

    Args:
        out: the folder that holds the runs.
        preset: name of the preset, where the newest runs are asked for.
        names: comma separated folder names; empty: the newest run of each family and split.

    Raises:
        TasError: there is no such run, or none at all.
    """
    if names.strip():
        return [Part(read_run(Path(out) / name.strip())) for name in names.split(",")]
    newest: dict[tuple[str, str], Run] = {}
    for run in sorted(list_runs(out), key=lambda run: run.record.created):
        if run.record.preset == preset and run.record.method == "tas":
            newest[run.record.dataset, run.record.split] = run
    if not newest:
        raise TasError(
            f"{out}: no run of preset {preset!r}; make one: tas evaluate refscenes val --limit 40"
        )
    return [Part(run) for run in newest.values()]


def part_of(
    data: str | RefDataset,
    tas: TAS,
    limit: int | None = None,
    results: Path | str = "",
    *,
    aside: str = "",
) -> Part:
    """The newest run of TAS over a split, or one made now over its first pictures and kept.

    Args:
        data: data set and split, such as "refscenes val", or the split itself.
        tas: the preset at work, from `tasutils.load`. Only runs with its very settings count.
        limit: pictures that the run must have, if the split has so many; None: the whole split.
        results: the folder of the runs and, in `scenes`, of described pictures; `paths.RESULTS`
            when empty.
        aside: a folder in `results` for runs that only one study needs.

    Raises:
        TasError: no such data set or split, missing weights, or an unwritable folder.
    """
    from tasutils.datasets import load_dataset
    from tasutils.evaluate import evaluate
    from tasutils.store import SceneStore

    dataset = load_dataset(*data.split(" ", 1)) if isinstance(data, str) else data
    out = Path(results or paths.RESULTS)
    wanted = min(limit or len(dataset.by_image()), len(dataset.by_image()))
    made = sorted(list_runs(out / aside), key=lambda run: run.record.created, reverse=True)
    for run in made:
        if _answers(run, dataset, tas) and run.record.n_images >= wanted:
            return Part(run)
    store = SceneStore(out / "scenes")
    folder = evaluate(
        dataset, tas, limit_images=limit, store=store, progress=False, out=out / aside
    )
    return Part(read_run(folder))


def _answers(run: Run, dataset: RefDataset, tas: TAS) -> bool:
    """Whether a run is one of TAS, with these settings, over this split as it is now."""
    record = run.record
    here = record.dataset == dataset.name and record.split == dataset.split
    same = record.index_digest == dataset.index_digest and record.method == "tas"
    return here and same and record.config_digest == tas.preset.digest()
