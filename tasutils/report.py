"""The report: evaluate, run the notebooks, and write one page to browse, without a network."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tasutils import paths
from tasutils.errors import TasError
from tasutils.execute import run_notebook

__all__ = ["build_report", "run_notebook"]


def build_report(
    limit_images: int | None = 40,
    splits: Sequence[str] | None = None,
    preset: str | Path = "tiny",
    out: Path | str | None = None,
) -> Path:
    """Evaluate the four families, run notebooks 00 and 06, and write a page over all of it.

    Args:
        limit_images: only the first so many images of each split; None: all of them.
        splits: which splits; None: val where images are limited, else all.
        preset: name or YAML file.
        out: folder of the runs and of the report; `paths.RESULTS` when None.

    Returns:
        results/<run_id>/index.html, self-contained; the folder appears whole or not at all.

    Raises:
        TasError: an unknown preset or split, missing data or weights, or an unwritable folder.
        RuntimeError: a cell of a notebook failed.
    """
    from tasutils.config import load_preset
    from tasutils.datasets import dataset_names
    from tasutils.datasets.doctor import SPLITS
    from tasutils.evaluate import evaluate_families
    from tasutils.report_page import page
    from tasutils.runs import read_run, run_folder
    from tasutils.study import Part, study_tables

    chosen, created = load_preset(preset), datetime.now(UTC)
    splits = splits or (SPLITS if limit_images is None else ("val",))
    for split in splits:
        if split not in SPLITS:
            raise TasError(f"no split {split!r}; there are {', '.join(SPLITS)}")
    results = paths.RESULTS if out is None else Path(out).resolve()
    with run_folder(results) as folder:
        runs = []
        for split in splits:
            families = dataset_names()
            runs += evaluate_families(
                families, split, chosen, limit_images=limit_images, out=results
            )
        names = ",".join(run.name for run in runs)
        place = Path(preset).resolve() if Path(preset).suffix else preset
        run_notebook("00_quickstart", {"preset": str(place)}, folder)
        study = {"preset": chosen.name, "runs": names}
        run_notebook("06_study", study | _elsewhere(results), folder)
        print("writing the page", file=sys.stderr)
        parts = [Part(read_run(run)) for run in runs]
        tables = study_tables(parts)
        for name, table in tables.items():
            table.to_csv(folder / f"{name}.csv", index=False)
        (folder / "index.html").write_text(page(parts, tables, chosen, created), encoding="utf-8")
        partial = any(part.run.record.partial for part in parts)
        limited = f"_partial{limit_images}" if partial else ""
        plain = "".join(c if c.isalnum() or c in "+.-" else "-" for c in chosen.name)
        name = f"{created:%Y%m%d-%H%M%S}_report_{plain}{limited}"
        return _keep(folder, results / name) / "index.html"


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
