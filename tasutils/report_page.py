"""The page of the report: numbers, examples, models and how it was made, in one HTML file."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasutils.offline_page import TEMPLATES

if TYPE_CHECKING:
    from datetime import datetime

    from pandas import DataFrame

    from tasutils.config import Preset
    from tasutils.report_notebooks import Outcome
    from tasutils.report_plan import Entry, Subject
    from tasutils.study import Part

TOOLS = (
    "jupyterlab", "ipykernel", "ipywidgets", "nbformat", "nbconvert", "papermill", "matplotlib",
    "pillow", "scipy", "timm", "scikit-image",
)  # fmt: skip


def page(
    parts: Sequence[Part],
    tables: Mapping[str, DataFrame],
    subject: Subject,
    created: datetime,
    outcomes: Sequence[Outcome],
    left_out: Sequence[Entry],
    folder: Path,
    workers: int,
) -> str:
    """Return index.html over the parts of a study and its tables; all text in it is escaped.

    Args:
        parts: one run each.
        tables: what `study.study_tables` computed over them.
        subject: what the report is about.
        created: when, UTC.
        outcomes: what became of the notebooks, whose pages lie in `folder`.
        left_out: the notebooks that were not run, with their reasons.
        folder: where the page will lie.
        workers: how many notebooks ran at a time.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from tasutils import report_pictures
    from tasutils.readable import scope_note

    preset, scope = subject.preset, scope_note(parts)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("index.html.j2").render(
        title=_title(subject),
        photographs=preset.photographs,
        world=subject.world,
        names=subject.names,
        preset=preset,
        scope=scope,
        extent=scope.split(";")[0],
        partial=any(part.run.record.partial for part in parts),
        numbers=[_numbers(part) for part in parts],
        figures=list(report_pictures.figures(parts, tables)),
        pieces=_pieces(parts, tables["contributions"]),
        rule=report_pictures.RULE,
        cards=list(report_pictures.cards(parts)),
        notebooks=[_notebook(outcome, folder) for outcome in outcomes],
        left_out=left_out,
        model_cards=list(_model_cards(preset)),
        settings=[_setting(preset, name, value) for name, value in preset.leaves().items()],
        made=list(_made(parts, preset, created, workers)),
        versions=_versions(parts),
        runs=[_run_row(part) for part in parts],
    )


def _title(subject: Subject) -> str:
    if subject.world:
        return "TAS on photographs" if subject.preset.photographs else "TAS on RefScenes"
    return f"TAS on {', '.join(subject.names)}"


def _notebook(outcome: Outcome, folder: Path) -> dict[str, Any]:
    """A notebook's card: title, its pages if there are any, a first look, time, and its error."""
    from tasutils.report_pictures import first_look

    entry = outcome.entry
    files = {kind: f"{entry.name}.{kind}" for kind in ("html", "ipynb")}
    there = {kind: name if (folder / name).is_file() else "" for kind, name in files.items()}
    look = first_look(folder / there["ipynb"]) if there["ipynb"] else ""
    seconds = f"{outcome.seconds:.0f} s"
    return {"title": entry.title, "look": look, "time": seconds, "error": outcome.error} | there


def _numbers(part: Part) -> dict[str, Any]:
    from tasutils.readable import percent

    record = part.run.record
    shown = [record.metrics[name] for name in ("miou", "oiou", "p@0.5", "oracle_miou")]
    cells = [percent(metric.value, metric.low, metric.high) for metric in shown]
    return {
        "family": part.family, "split": part.split, "cells": cells,
        "n": record.n_used, "images": record.n_images,
    }  # fmt: skip


def _pieces(parts: Sequence[Part], table: DataFrame) -> dict[str, Any]:
    """`study.contributions` with a line for each part and a column for each piece."""
    from tasutils.readable import percent

    names, rows = list(dict.fromkeys(table["piece"])), []
    for part in parts:
        of_part = table[(table["family"] == part.family) & (table["split"] == part.split)]
        found = {row["piece"]: row for row in of_part.to_dict("records")}
        cells = []
        for name in names:
            row = found.get(name)
            if row is None:
                cells.append({"text": "–", "n": 0, "firm": False})
                continue
            text = percent(row["mean"], row["low"], row["high"], signed=True)
            firm = row["low"] > 0 or row["high"] < 0
            cells.append({"text": text, "n": row["n"], "firm": firm})
        rows.append({"family": part.family, "split": part.split, "cells": cells})
    return {"names": names, "rows": rows}


def _model_cards(preset: Preset) -> Iterator[dict[str, Any]]:
    """The cards that lie beside the weights, as HTML; markup inside them is escaped."""
    import mistune
    from markupsafe import Markup

    render = mistune.create_markdown(escape=True, plugins=["table"])
    folders = dict.fromkeys(path.parent for path in preset.weight_paths().values())
    for folder in folders:
        for card in sorted(folder.glob("*.md")):
            html = render(card.read_text(encoding="utf-8"))
            yield {"name": card.stem, "html": Markup(html)}


def _setting(preset: Preset, name: str, value: object) -> dict[str, str]:
    source = preset.sources.get(name, "")
    if name in preset.assumed:
        source = f"assumed: {source}" if source else "assumed"
    return {"name": name, "value": str(value), "source": source}


def _run_row(part: Part) -> dict[str, Any]:
    record = part.run.record
    shown = record.model_dump_json(indent=1, exclude={"config"})
    return {
        "run_id": record.run_id, "href": f"runs/{record.run_id}.json", "n": record.n_used,
        "images": record.n_images, "described": record.n_described, "wall": f"{record.wall_s:.0f}",
        "record": shown,
    }  # fmt: skip


def _made(
    parts: Sequence[Part], preset: Preset, created: datetime, workers: int
) -> Iterator[tuple[str, str]]:
    from tasutils.margins import TOLERANCE, close_calls
    from tasutils.provenance import cores, device_name

    record = parts[0].run.record
    commit = record.git_commit or "no repository"
    yield "made", f"{created:%Y-%m-%d %H:%M} UTC"
    yield "preset", f"{preset.name}, digest {preset.digest()[:12]}"
    yield "weights", ", ".join(f"{k} {m.sha256[:12]}" for k, m in record.models.items())
    yield (
        "α, λ",
        ", ".join(
            f"{p.family} {p.split}: {p.run.record.alpha:g}, {p.run.record.lam:g}" for p in parts
        ),
    )
    yield "commit", commit + (", with changes that are not committed" if record.git_dirty else "")
    machine = f"{platform.system()} {platform.machine()}, {device_name('cpu')}, {cores()} cores"
    yield "machine", f"{machine}; networks on {record.device}, {record.dtype}"
    peaks = [f"{max(p.run.record.peak_memory_mib.get(k, 0) for p in parts):.0f} MiB ({k})"
             for k in record.peak_memory_mib]  # fmt: skip
    yield "peak memory", ", ".join(peaks) or "unknown"
    yield "seconds an image", _pace(parts)
    two = "two at a time with a thread each, but 10, which measures seconds, alone"
    yield "notebooks", two if workers > 1 else "one at a time"
    yield "metrics", f"version {record.metric_version}; intervals over images, seeds {record.seeds}"
    calls = [close_calls(part.run) for part in parts]
    close, n = sum(call.n_close for call in calls), sum(call.n for call in calls)
    yield (
        "close choices",
        f"{close} of {n}: the best total is ahead of the second by {TOLERANCE:g} or less (100 "
        "times that with a logit scale), so that another device may choose otherwise",
    )


def _pace(parts: Sequence[Part]) -> str:
    """Time of describe() by stage over the images described in these runs."""
    records = [part.run.record for part in parts]
    n = sum(record.n_described for record in records)
    if n == 0:
        return "none was described anew, all came from the store"
    stages = {stage for record in records for stage in record.times_s}
    sums = {s: sum(record.times_s.get(s, 0.0) for record in records) / n for s in sorted(stages)}
    each = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in sums.items())
    return f"{sum(sums.values()):.2f} ({each}), n = {n} images"


def _versions(parts: Sequence[Part]) -> list[tuple[str, str]]:
    """Python and the libraries: those that results depend on, then those that draw and run."""
    from importlib import metadata

    found = dict(parts[0].run.record.versions)
    for name in TOOLS:
        try:
            found.setdefault(name, metadata.version(name))
        except metadata.PackageNotFoundError:
            continue
    return list(found.items())
