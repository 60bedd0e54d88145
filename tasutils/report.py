"""The report: evaluate, run the notebooks, and write one page to browse, without a network."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasutils import paths
from tasutils.errors import TasError
from tasutils.execute import run_notebook

if TYPE_CHECKING:
    from tasutils.config import Preset

__all__ = ["build_report", "run_notebook"]

DRAWN_PICTURE = {"data": "refscenes val", "number": 5, "sentence": "the dog on the right"}
PROPOSAL_IMAGES = 4  # notebook 01 runs every maker of masks on each of its pictures
PEER_IMAGES = 8  # that notebook 07 answers by every method


def build_report(
    limit_images: int | None = 40,
    splits: Sequence[str] | None = None,
    preset: str | Path = "tiny",
    out: Path | str | None = None,
) -> Path:
    """Evaluate the four families, run the notebooks, and write a page over all of it.

    A preset for photographs (encoder `conse`) is also evaluated on the seven photographs of
    `photos7`, and its report has notebook 01 besides 00 and 06; another one's has 07.

    Args:
        limit_images: only the first so many images of each split; None: all of them. `photos7` is
            always whole.
        splits: which splits; None: val (valP for photographs) where images are limited, else all
            drawn ones (all photographic ones).
        preset: name or YAML file.
        out: folder of the runs and of the report; `paths.RESULTS` when None.

    Returns:
        results/<run_id>/index.html, self-contained; the folder appears whole or not at all.

    Raises:
        TasError: an unknown preset or split, missing data or weights, or an unwritable folder.
        RuntimeError: a cell of a notebook failed.
    """
    from tasutils.config import load_preset
    from tasutils.datasets.refscenes import PHOTO_SPLITS, SPLITS
    from tasutils.report_page import page
    from tasutils.runs import read_run, run_folder
    from tasutils.study import Part, study_tables

    chosen, created = load_preset(preset), datetime.now(UTC)
    whole = PHOTO_SPLITS if chosen.photographs else SPLITS
    splits = splits or (whole if limit_images is None else whole[:1])
    for split in splits:
        if split not in (*SPLITS, *PHOTO_SPLITS):
            raise TasError(f"no split {split!r}; there are {', '.join((*SPLITS, *PHOTO_SPLITS))}")
    results = paths.RESULTS if out is None else Path(out).resolve()
    with run_folder(results) as folder:
        runs = _evaluate(chosen, splits, limit_images, results)
        place = str(Path(preset).resolve() if Path(preset).suffix else preset)
        notebooks = _notebooks(chosen, place, limit_images)
        study = {"preset": chosen.name, "runs": ",".join(run.name for run in runs)}
        notebooks["06_study"] = study | _elsewhere(results)
        if not chosen.photographs:
            few = min(limit_images or PEER_IMAGES, PEER_IMAGES)
            peers = {"preset": place, "data": f"refscenes {splits[0]}", "limit": few}
            notebooks["07_peers"] = peers | _elsewhere(results)
        for name, parameters in notebooks.items():
            run_notebook(name, parameters, folder)
        print("writing the page", file=sys.stderr)
        parts = [Part(read_run(run)) for run in runs]
        tables = study_tables(parts)
        for name, table in tables.items():
            table.to_csv(folder / f"{name}.csv", index=False)
        html = page(parts, tables, chosen, created, tuple(notebooks))
        (folder / "index.html").write_text(html, encoding="utf-8")
        partial = any(part.run.record.partial for part in parts)
        limited = f"_partial{limit_images}" if partial else ""
        plain = "".join(c if c.isalnum() or c in "+.-" else "-" for c in chosen.name)
        name = f"{created:%Y%m%d-%H%M%S}_report_{plain}{limited}"
        return _keep(folder, results / name) / "index.html"


def _evaluate(
    preset: Preset, splits: Sequence[str], limit: int | None, results: Path
) -> list[Path]:
    """The runs of a report, one a family and split; for photographs `photos7` first."""
    from tasutils.datasets.refscenes import FAMILIES
    from tasutils.evaluate import evaluate_families

    runs = evaluate_families(["photos7"], "all", preset, out=results) if preset.photographs else []
    for split in splits:
        runs += evaluate_families(FAMILIES, split, preset, limit_images=limit, out=results)
    return runs


def _notebooks(preset: Preset, place: str, limit: int | None) -> dict[str, dict[str, Any]]:
    """The notebooks that show the preset, with their parameters; ``place`` is its name or file."""
    if not preset.photographs:
        return {"00_quickstart": {"preset": place, **DRAWN_PICTURE}}
    few = min(limit or PROPOSAL_IMAGES, PROPOSAL_IMAGES)
    return {"00_quickstart": {"preset": place}, "01_proposals": {"preset": place, "limit": few}}


def _keep(folder: Path, target: Path) -> Path:
    """Rename a finished folder; beside an earlier one of the same second it gets a number."""
    count = 1
    place = target
    while place.exists():
        count += 1
        place = target.with_name(f"{target.name}-{count}")
    return folder.rename(place)


def _elsewhere(results: Path) -> dict[str, str]:
    """The parameter that tells notebook 06 where the runs lie, if not where it looks by itself."""
    return {} if results == paths.RESULTS else {"results": str(results)}
