"""The commands `tas presets`; heavy imports stay inside them, as in `cli`."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tasutils.config import Preset

presets_app = typer.Typer(no_args_is_help=True, help="The named configurations.")

PresetArgument = Annotated[str, typer.Argument(help="A preset's name or the path of its YAML.")]
_NOTE_WIDTH = 110


@presets_app.command("list")
def presets_list() -> None:
    """Name each preset with its description and digest."""
    from tasutils.config import load_preset, preset_names

    for name in preset_names():
        preset = load_preset(name)
        print(f"{name:10} {preset.digest()[:12]}  {' '.join(preset.description.split())}")


@presets_app.command("show")
def presets_show(name: PresetArgument) -> None:
    """Print every value of preset NAME with its source; `assumed` marks what no source states."""
    from tasutils.config import load_preset

    preset = load_preset(name)
    print(f"{preset.name}: {' '.join(preset.description.split())}\ndigest {preset.digest()}\n")
    leaves = preset.leaves()
    width = max(map(len, leaves))
    for field, value in leaves.items():
        print(f"{field:{width}}  {value!s:24}  {_source(preset, field)}".rstrip())


@presets_app.command("diff")
def presets_diff(first: PresetArgument, second: PresetArgument) -> None:
    """Print the settings in which two presets differ, each with the reason for it."""
    from tasutils.config import load_preset

    one, other = load_preset(first), load_preset(second)
    rows = differences(one, other)
    if not rows:
        print(f"{one.name} and {other.name} have the same settings")
        return
    table = [("setting", one.name, other.name), *((name, str(a), str(b)) for name, a, b in rows)]
    widths = [max(len(row[k]) for row in table) for k in range(3)]
    above: list[str] = []
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).strip())
        notes = _notes(one, other, row[0])
        for note in ["as above"] if notes and notes == above else notes:
            print(fill(note, _NOTE_WIDTH, initial_indent="    ", subsequent_indent="    "))
        above = notes
    print(f"\n{len(rows)} settings differ")


def differences(one: Preset, other: Preset) -> list[tuple[str, object, object]]:
    """Settings with different values, by dotted name, in the order of the presets.

    "-" stands for a setting that the other preset has and this one does not.
    """
    first, second = one.leaves(), other.leaves()
    names = [*first, *(name for name in second if name not in first)]
    pairs = [(name, first.get(name, "-"), second.get(name, "-")) for name in names]
    return [row for row in pairs if row[1] != row[2]]


def _notes(one: Preset, other: Preset, field: str) -> list[str]:
    """The reason one of the presets gives, or where the values are from."""
    for preset in (other, one):
        if field in preset.reasons:
            return [preset.reasons[field]]
    told = ((preset.name, _source(preset, field)) for preset in (one, other))
    return [f"{name}: {source}" for name, source in told if source]


def _source(preset: Preset, field: str) -> str:
    source = preset.sources.get(field, "")
    if field not in preset.assumed:
        return source
    return f"assumed: {source}" if source else "assumed"
