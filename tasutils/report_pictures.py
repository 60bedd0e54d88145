"""Pictures of the report's page: charts, examples, and a first look at each notebook."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

    from tasutils.canvas import Picture
    from tasutils.gallery import Gallery
    from tasutils.study import Part

EXAMPLES = {"right": 4, "wrong": 4, "moved": 3, "unproposed": 1}
RULE = "spread evenly over the images of the runs, four right, four wrong, three that the " \
    "rectifier moved, one for which no good mask was proposed"  # fmt: skip
_LOOK_PX = 560  # width of the first look at a notebook


def figures(parts: Sequence[Part], tables: Mapping[str, DataFrame]) -> Iterator[dict[str, str]]:
    """The charts of a study: source, alternative text and caption of each."""
    from tasutils.charts import ablation_plot, breakdown_plot
    from tasutils.readable import scope_note

    note = scope_note(parts)
    caption = (
        f"mIoU of the variants, each without and with the rectifier, beside the oracle; {note}."
    )
    alt = "Points with intervals: mIoU of V, V+P, V+N and V+P+N; the numbers are in ablation.csv."
    yield _figure(ablation_plot(tables["ablation"], note=note), alt, caption)
    groups = tables["breakdown"]
    if len(groups):
        alt = "Points with intervals: mIoU by group of sentences; the numbers: breakdown.csv."
        caption = f"mIoU of the whole method by group of sentences, all families together; {note}."
        yield _figure(breakdown_plot(groups, note=note), alt, caption)


def _figure(picture: Picture, alt: str, caption: str) -> dict[str, str]:
    return {"src": _data_uri(picture.png()), "alt": alt, "caption": caption}


def cards(parts: Sequence[Part]) -> Iterator[dict[str, str]]:
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
        "src": _data_uri(thumbnail(example).png()),
        "alt": f"the answer to “{sentence}” drawn over its picture; {example.note}",
    }  # fmt: skip


def first_look(notebook: Path) -> str:
    """The first picture that an executed notebook shows, small, as a data URI; "" without one."""
    import nbformat
    from PIL import Image

    outputs = [o for c in nbformat.read(notebook, 4).cells for o in c.get("outputs", [])]
    pictures = [data["image/png"] for o in outputs if "image/png" in (data := o.get("data", {}))]
    if not pictures:
        return ""
    with Image.open(BytesIO(base64.b64decode(pictures[0]))) as picture:
        opaque = Image.alpha_composite(
            Image.new("RGBA", picture.size, "white"), picture.convert("RGBA")
        )
    height = max(1, round(opaque.height * _LOOK_PX / opaque.width))
    small = opaque.convert("RGB").resize((_LOOK_PX, height), Image.Resampling.LANCZOS)
    file = BytesIO()
    small.save(file, "PNG", optimize=True)
    return _data_uri(file.getvalue())


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
