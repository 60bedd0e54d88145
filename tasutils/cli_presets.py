"""The commands `tas presets`; heavy imports stay inside them, as in `cli`."""

from __future__ import annotations

from typing import Annotated

import typer

from tasutils.errors import one_line

presets_app = typer.Typer(no_args_is_help=True, help="The named configurations.")

PresetArgument = Annotated[str, typer.Argument(help="A preset's name or the path of its YAML.")]


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
    from tasutils.config import load_preset, source_of

    preset = load_preset(name)
    print(f"{preset.name}: {' '.join(preset.description.split())}\ndigest {preset.digest()}\n")
    leaves = preset.leaves()
    width = max(map(len, leaves))
    for field, value in leaves.items():
        source = source_of(preset.model_dump(), field)
        print(f"{field:{width}}  {one_line(str(value)):24}  {one_line(source)}".rstrip())


@presets_app.command("diff")
def presets_diff(first: PresetArgument, second: PresetArgument) -> None:
    """Print the settings in which two presets differ, each with the reason for it."""
    from tasutils.config import difference_lines, differences, load_preset

    one, other = load_preset(first), load_preset(second)
    rows = differences(one.model_dump(), other.model_dump())
    if not rows:
        print(f"{one.name} and {other.name} have the same settings")
        return
    for line in difference_lines(rows, (one.name, other.name)):
        print(line)
    print(f"\n{len(rows)} settings differ")
