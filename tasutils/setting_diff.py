"""The settings in which two presets differ, each with the reason that one of them gives.

A preset comes as the dictionary that a run's record holds, so that records of any version compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any, NamedTuple

from tasutils.config import leaves_of
from tasutils.terminal import one_line

_NOTE_WIDTH = 110
_ABSENT = "-"


class Difference(NamedTuple):
    """A setting by its dotted name, its two values ("-" for one that is not there), and why."""

    name: str
    first: Any
    second: Any
    why: list[str]


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[Difference]:
    """Settings with different values, in the order of the presets.

    Args:
        one, other: from `Preset.model_dump`, or `RunRecord.config`.
    """
    first, second = leaves_of(one), leaves_of(other)
    names = [*first, *(name for name in second if name not in first)]
    pairs = [(name, first.get(name, _ABSENT), second.get(name, _ABSENT)) for name in names]
    return [Difference(*row, _notes(one, other, row[0])) for row in pairs if row[1] != row[2]]


def difference_lines(rows: Sequence[Difference], names: tuple[str, str]) -> list[str]:
    """Differences as aligned lines, each with its reasons below; names: of the two presets."""
    cells = [
        ("setting", *names),
        *((row.name, one_line(str(row.first)), one_line(str(row.second))) for row in rows),
    ]
    widths = [max(len(row[k]) for row in cells) for k in range(3)]
    lines: list[str] = []
    above: list[str] = []
    for row, notes in zip(cells, [[], *(row.why for row in rows)], strict=True):
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join(padded).strip())
        for note in ["as above"] if notes and notes == above else notes:
            lines.append(fill(note, _NOTE_WIDTH, initial_indent="    ", subsequent_indent="    "))
        above = notes
    return lines


def source_of(preset: Mapping[str, Any], field: str) -> str:
    """Where a setting's value is from; "assumed" where no source states it."""
    source = str(preset.get("sources", {}).get(field, ""))
    if field not in preset.get("assumed", ()):
        return source
    return f"assumed: {source}" if source else "assumed"


def _notes(one: Mapping[str, Any], other: Mapping[str, Any], field: str) -> list[str]:
    """The reason one of the presets gives, or where the values are from."""
    for preset in (other, one):
        if field in preset.get("reasons", {}):
            return [preset["reasons"][field]]
    told = ((preset["name"], source_of(preset, field)) for preset in (one, other))
    return [f"{name}: {source}" for name, source in told if source]
