"""The words and the table of a `View` as HTML; whatever a person or a model wrote is escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tasutils.explore import View

TABLE_STYLE = """
.widget-html-content:has(> .tas-view) { min-width: 0; }
.tas-view { container-type: inline-size; max-width: 44rem; font-size: 13px; line-height: 1.4;
  color: var(--jp-ui-font-color1, #212121); }
.tas-view p { margin: .45rem 0; overflow-wrap: anywhere; }
.tas-view s { color: var(--jp-ui-font-color2, #616161); }
.tas-view .tas-rows { max-height: 22rem; overflow: auto; }
.tas-view .tas-rows table { display: table; width: 100%; border-collapse: collapse; margin: 0;
  font-size: 12px; table-layout: auto; border: none; }
.tas-view .tas-rows th, .tas-view .tas-rows td { text-align: right; padding: 2px 5px; border: none;
  vertical-align: top; white-space: nowrap; font-variant-numeric: tabular-nums; }
.tas-view .tas-rows th.said, .tas-view .tas-rows td.said { text-align: left; white-space: normal;
  width: 60%; min-width: 5rem; overflow-wrap: anywhere; }
.tas-view .tas-rows tbody tr { background: none; }
.tas-view .tas-rows tbody tr:hover { box-shadow: inset 0 0 0 2px #e69f00; }
.tas-view .tas-rows tbody tr.first { background: #fff3d6; color: #212121; font-weight: bold; }
.tas-view .tas-rows tbody tr.out { color: #8a8a8a; }
.tas-view .tas-rows tbody tr.picked { box-shadow: inset 0 0 0 2px #009e73; }
@container (max-width: 26rem) {
  .tas-view .tas-rows .rank { display: none; }
  .tas-view .tas-rows table { font-size: 11px; }
  .tas-view .tas-rows th, .tas-view .tas-rows td { padding: 2px 3px; }
}
@media print { .tas-view .tas-rows { max-height: none; } }
"""
_HEADS = {"v": "V", "p": "P", "n": "N"}


def mask_words(view: View, i: int) -> str:
    """All that is known of one mask, in plain text: caption, numbers, place; not escaped."""
    caption = view.scene.captions[i] or "(no caption)"
    numbers = ", ".join(f"{_HEADS.get(k, k)} {column[i]:.3f}" for k, column in view.columns.items())
    place = f"rank {view.rank[i]} of {len(view.rank)}"
    if view.answer is not None:
        place += f", {'inside' if view.inside[i] else 'outside'} the region"
    return f"mask {i}, “{caption}”: {numbers}; {place}"


def reason_words(view: View) -> str:
    """Why this mask won, and how the picked one fared."""
    words = f"<p><b>{escape(view.reason)}</b></p>"
    if view.picked is not None:
        words += f"<p>{escape(mask_words(view, view.picked))}</p>"
    return words


def sentence_words(view: View) -> str:
    """The sentence as it was read: its head phrase and its direction words."""
    read = view.expression
    words = ", ".join(word.token for word in read.directions) or "none"
    return escape(f"“{read.text}”: head phrase “{read.phrase}”, direction words: {words}")


def reading_words(view: View) -> str:
    """What was read: the sentence, the picture's caption, its phrases (struck out: no negatives).

    A peer reads no more than the sentence.
    """
    if view.answer is None:
        return f"<p>{escape(f'“{view.expression.text}”')}</p>"
    phrases = [
        f'<{tag} title="{escape(c.reason)}">{escape(c.phrase)}</{tag}>'
        for c in view.answer.candidates
        for tag in ["span" if c.kept else "s"]
    ]
    caption = escape(view.scene.image_caption or "(no caption)")
    negatives = f"picture: “{caption}”<br>negatives: {', '.join(phrases) or 'none'}"
    return f"<p>{sentence_words(view)}<br>{negatives}</p>"


def ranking(view: View) -> str:
    """The masks best first, the answer shaded, those outside the region grey."""
    *terms, decisive = view.columns
    names = [decisive, *terms]  # what decides stays in sight where the table is wide
    heads = "".join(f"<th>{_HEADS.get(name, name)}</th>" for name in names)
    head = f'<tr><th class="rank">rank</th><th>mask</th><th class="said">caption</th>{heads}</tr>'
    rows = []
    for i in np.argsort(view.rank).tolist():
        looks = {"first": i == view.best, "out": not view.inside[i], "picked": i == view.picked}
        look = " ".join([f"m{i}", *(name for name, on in looks.items() if on)])
        caption = escape(view.scene.captions[i] or "(no caption)")
        cells = f'<td class="rank">{view.rank[i]}</td><td>{i}</td><td class="said">{caption}</td>'
        cells += "".join(f"<td>{view.columns[name][i]:.3f}</td>" for name in names)
        rows.append(f'<tr class="{look}">{cells}</tr>')
    table = f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<div class="tas-rows">{table}</div>'
