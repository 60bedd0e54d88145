"""The report: evaluate, run the notebooks, and write one page to browse, without a network."""

from __future__ import annotations

import errno
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tasutils import paths
from tasutils.execute import run_notebook
from tasutils.report_plan import Subject, choose, make_subject, plan

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.study import Part

__all__ = ["Report", "build_report", "run_notebook"]


class Report(NamedTuple):
    """Where the page lies, and the errors of the notebooks that failed, by their names."""

    page: Path
    failed: dict[str, str]


def build_report(
    limit_images: int | None = 40,
    splits: Sequence[str] | None = None,
    preset: str | Path | None = None,
    out: Path | str | None = None,
    *,
    families: Sequence[str] | None = None,
    only: str = "",
) -> Report:
    """Evaluate data sets, run the numbered notebooks, and write a page over all of it.

    Args:
        limit_images: only the first so many images of each split; None: all of them. `photos7`
            beside RefScenes is always whole.
        splits: which splits; None: all of each data set, or its first where images are limited.
        preset: name or YAML file; None: the one that fits the data.
        out: folder of the runs and of the report; `paths.RESULTS` when None.
        families: names of data sets; None: the four families of RefScenes, and with a preset for
            photographs (encoder `conse`) `photos7` before them.
        only: numbers of the notebooks to run, such as "01,05"; empty: all that suit the preset.

    Returns:
        results/<run_id>/index.html, self-contained, and what failed: a notebook that fails does not
        stop the others, and its page shows how far it came. The folder appears whole or not at all;
        of a report that is ended, the notebooks that have run are kept in one named `_unfinished`.

    Raises:
        TasError: an unknown preset, data set, split or notebook, all known before any work; missing
            data or weights, or an unwritable folder.
    """
    from tasutils.datasets.refscenes import FAMILIES
    from tasutils.run_writer import run_folder
    from tasutils.runs import read_run
    from tasutils.study import Part

    created, chosen = datetime.now(UTC), choose(only)
    subject = make_subject(families or FAMILIES, splits, preset, limit_images)
    results = paths.RESULTS if out is None else Path(out).resolve()
    with run_folder(results) as folder:
        parts = [Part(read_run(run)) for run in _evaluate(subject, results)]
        partial = any(part.run.record.partial for part in parts)
        target = results / _name(subject, created, partial)
        try:
            failed = _write(folder, parts, subject, chosen, created)
        except BaseException:
            _keep_pages(folder, target.with_name(f"{target.name}_unfinished"))
            raise
        return Report(_keep(folder, target) / "index.html", failed)


def _write(
    folder: Path, parts: list[Part], subject: Subject, chosen: list[str], created: datetime
) -> dict[str, str]:
    """Run the notebooks, and write the page over them and the runs; returns what failed."""
    from tasutils.report_notebooks import at_once, run_all
    from tasutils.report_page import page

    ids = [part.run.record.run_id for part in parts]
    entries = plan(subject, chosen, ids, folder.parent)
    workers = at_once(subject.preset, parts[0].run.record.device)
    outcomes = run_all([entry for entry in entries if not entry.left_out], folder, workers)
    print("writing the page", file=sys.stderr)
    tables = _write_tables(parts, folder)
    left_out = [entry for entry in entries if entry.left_out]
    html = page(parts, tables, subject, created, outcomes, left_out, folder, workers)
    (folder / "index.html").write_text(html, encoding="utf-8")
    return {outcome.entry.name: outcome.error for outcome in outcomes if outcome.error}


def _write_tables(parts: Sequence[Part], folder: Path) -> dict[str, pd.DataFrame]:
    """Write the tables, and copies of the records that they rest on; returns the tables."""
    from tasutils.runs import RECORD_FILE
    from tasutils.study import study_tables

    tables = study_tables(parts)
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    for part in parts:
        copy = folder / "runs" / f"{part.run.record.run_id}.json"
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(part.run.folder / RECORD_FILE, copy)
    return tables


def _evaluate(subject: Subject, results: Path) -> list[Path]:
    """The runs of a report, one a data set and split; images of a split are described together."""
    from tasutils.evaluate import evaluate_all
    from tasutils.store import SceneStore
    from tasutils.tas import load

    tas, store, runs = load(subject.preset), SceneStore(results / "scenes"), []
    for _, group in groupby(subject.data, key=lambda data: data.split):
        datasets = list(group)
        extra = datasets[0].name == "photos7" and subject.chief.split()[0] != "photos7"
        limit = None if extra else subject.limit
        runs += evaluate_all(datasets, tas, limit_images=limit, store=store, out=results)
    return runs


def _name(subject: Subject, created: datetime, partial: bool) -> str:
    """Such as `20261123-101500_report_tiny_partial40`; data but RefScenes's whole are named."""
    from tasutils.datasets.refscenes import FAMILIES

    rest = [name for name in subject.names if name != "photos7" or len(subject.names) == 1]
    data = [] if set(rest) == set(FAMILIES) else ["-".join(rest)]
    name = "".join(c if c.isalnum() or c in "+.-" else "-" for c in subject.preset.name)
    plain = paths.name_part(name, 50)
    limited = [f"partial{subject.limit}"] if partial else []
    return "_".join([f"{created:%Y%m%d-%H%M%S}", "report", *data, plain, *limited])


def _keep(folder: Path, target: Path) -> Path:
    """Rename a finished folder; beside an earlier one of the same second it gets a number."""
    from tasutils.permissions import share

    share(folder)
    place, count = target, 1
    while True:
        try:
            return folder.rename(place)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        count += 1
        place = target.with_name(f"{target.name}-{count}")


def _keep_pages(folder: Path, target: Path) -> None:
    """Of a report that was ended keep the pages of notebooks, if some have run to their end."""
    done = {page.stem for page in folder.glob("*.html")} - {"index"}
    if not done:
        return
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.stem not in done:
            path.unlink()
    kept = _keep(folder, target)
    print(f"the notebooks that have run are kept in {kept}", file=sys.stderr)
