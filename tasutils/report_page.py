"""The page of the report: numbers, examples, models and how it was made, in one HTML file."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tasutils.execute import TEMPLATES

if TYPE_CHECKING:
    from datetime import datetime

    from pandas import DataFrame

    from tasutils.canvas import Picture
    from tasutils.config import Preset
    from tasutils.gallery import Gallery
    from tasutils.study import Part

NOTEBOOK_TITLES = {
    "00_quickstart": "00 Quickstart: one picture, one sentence, one mask",
    "01_proposals": "01 Proposals: what the masks allow at best, on photographs",
    "06_study": "06 Study: what V, P, N and the rectifier each contribute",
    "07_peers": "07 Peers: the methods that TAS is compared with, on the same masks",
}
EXAMPLES = {"right": 4, "wrong": 4, "moved": 3, "unproposed": 1}
RULE = "spread evenly over the images of the runs, four right, four wrong, three that the " \
    "rectifier moved, one for which no good mask was proposed"  # fmt: skip


def page(
    parts: Sequence[Part],
    tables: Mapping[str, DataFrame],
    preset: Preset,
    created: datetime,
    notebooks: Sequence[str],
) -> str:
    """Return index.html over the parts of a study and its tables; all text in it is escaped.

    Args:
        parts: one run each.
        tables: what `study.study_tables` computed over them.
        preset: the configuration of the runs.
        created: when, UTC.
        notebooks: names of those that were run, from `NOTEBOOK_TITLES`.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from tasutils.readable import scope_note

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("index.html.j2").render(
        title="TAS on photographs" if preset.photographs else "TAS on RefScenes",
        photographs=preset.photographs,
        preset=preset,
        scope=scope_note(parts),
        extent=scope_note(parts).split(";")[0],
        partial=any(part.run.record.partial for part in parts),
        numbers=[_numbers(part) for part in parts],
        figures=list(_figures(parts, tables)),
        pieces=_pieces(parts, tables["contributions"]),
        rule=RULE,
        cards=list(_cards(parts)),
        pages=[
            {"href": f"{name}.html", "notebook": f"{name}.ipynb", "title": NOTEBOOK_TITLES[name]}
            for name in notebooks
        ],
        study_page="06_study.html",
        model_cards=list(_model_cards(preset)),
        settings=[_setting(preset, name, value) for name, value in preset.leaves().items()],
        made=list(_made(parts, preset, created)),
        runs=[_run_row(part) for part in parts],
    )


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


def _figures(parts: Sequence[Part], tables: Mapping[str, DataFrame]) -> Iterator[dict[str, str]]:
    from tasutils.charts import ablation_plot, breakdown_plot
    from tasutils.readable import scope_note

    note = scope_note(parts)
    caption = (
        f"mIoU of the variants, each without and with the rectifier, beside the oracle; {note}."
    )
    alt = "Points with intervals: mIoU of V, V+P, V+N and V+P+N; the numbers are in notebook 06."
    yield _figure(ablation_plot(tables["ablation"], note=note), alt, caption)
    groups = tables["breakdown"]
    if len(groups):
        alt = "Points with intervals: mIoU by group of sentences; the numbers are in notebook 06."
        caption = f"mIoU of the whole method by group of sentences, all families together; {note}."
        yield _figure(breakdown_plot(groups, note=note), alt, caption)


def _figure(picture: Picture, alt: str, caption: str) -> dict[str, str]:
    return {"src": _data_uri(picture), "alt": alt, "caption": caption}


def _data_uri(picture: Picture) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.png()).decode("ascii")


def _cards(parts: Sequence[Part]) -> Iterator[dict[str, str]]:
    """Examples of each kind: parts take turns, and no picture comes twice."""
    from tasutils.gallery import Gallery

    galleries, used = [Gallery(part) for part in parts], set[str]()
    for kind, wanted in EXAMPLES.items():
        for turn in range(wanted):
            order = galleries[turn % len(galleries) :] + galleries[: turn % len(galleries)]
            places = [(gallery, row) for gallery in order for row in gallery.rows(kind, 8)]
            fresh = [place for place in places if place[0].part.images[place[1]] not in used]
            for gallery, row in fresh[:1]:
                used.add(gallery.part.images[row])
                yield _card(gallery, kind, int(row))


def _card(gallery: Gallery, kind: str, row: int) -> dict[str, str]:
    from tasutils.show import thumbnail

    example = gallery.example(row)
    sentence = example.answer.expression.text
    return {
        "kind": kind, "sentence": sentence, "note": example.note,
        "src": _data_uri(thumbnail(example)),
        "alt": f"the answer to “{sentence}” drawn over its picture; {example.note}",
    }  # fmt: skip


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
    return {
        "run_id": record.run_id, "href": f"../{record.run_id}/run.json", "n": record.n_used,
        "images": record.n_images, "described": record.n_described, "wall": f"{record.wall_s:.0f}",
    }  # fmt: skip


def _made(parts: Sequence[Part], preset: Preset, created: datetime) -> Iterator[tuple[str, str]]:
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
    yield "device", f"{record.device}, {record.dtype}"
    yield "seconds an image", _pace(parts)
    yield "versions", ", ".join(f"{name} {v}" for name, v in record.versions.items())
    yield "metrics", f"version {record.metric_version}; intervals over images, seeds {record.seeds}"


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
