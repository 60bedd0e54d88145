"""What things cost: each row a ratio against a plainly written loop, measured in the same run.

| section | what is compared |
|---|---|
| `describe` | pictures with 3 references of 3 sentences, against the released code's shape |
| `crops` | all masks of a picture at once, against Pillow one by one |
| `sam` | our masks, against segment-anything's own generator |
| `sweep` | a thousand settings over stored scores, against one after another |
| `sentence` | a further sentence on a described scene |
| `store` | scenes written and read, against a file each; bytes, memory |
| `ray` | two actors, against one process |
| `scale` | some pictures and ten times as many: seconds and memory |
| `peers` | Region Token and Global-Local over all masks, against a mask at a time |
| `gpu` | the published architectures with random weights; share of the arithmetic floor |

The loop (`released_loop`) uses the same parts, settings and device. Both outputs are compared
first; where they differ, nothing is timed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from tasutils.errors import TasError

if TYPE_CHECKING:
    from tasutils.bench.plan import Plan
    from tasutils.bench.rows import Bench, Row

__all__ = ["SECTIONS", "run_bench"]

SECTIONS = (
    "describe", "crops", "sam", "sweep", "sentence", "store", "ray", "scale", "peers", "gpu",
)  # fmt: skip


def run_bench(
    plan: Plan, sections: Sequence[str] = SECTIONS, tell: Callable[[str], object] = print
) -> Bench:
    """Measure the sections one after another.

    A section whose two sides do not give the same outputs has one row that says so, see `unequal`.

    Args:
        plan: preset, device, number of images, threads, repeats.
        sections: names of SECTIONS, in any order, each once.
        tell: takes the table of each section as soon as it is there, and at last the foot.

    Raises:
        TasError: an unknown section, or what a section needs is not here.
    """
    import torch

    from tasutils.bench.conditions import conditions, load_average
    from tasutils.bench.rows import Bench
    from tasutils.bench.table import foot_lines, section_lines

    for name in sections:
        if name not in SECTIONS:
            raise TasError(f"no section {name!r} of the bench; there are {', '.join(SECTIONS)}")
    before = torch.get_num_threads()
    torch.set_num_threads(plan.threads)
    try:
        around, rows = conditions(plan.preset, plan.device), list["Row"]()
        for name in dict.fromkeys(sections):
            found = list(_section(name, plan))
            tell("\n".join([*section_lines(found), ""]))
            rows += found
    finally:
        torch.set_num_threads(before)
    bench = Bench(conditions=around | {"load_after": load_average()}, rows=rows)
    tell("\n".join(foot_lines(bench)))
    return bench


def unequal(bench: Bench) -> list[str]:
    """The sections that were not timed since their outputs differ."""
    return [row.section for row in bench.rows if row.skipped.startswith(_DIFFERENT)]


_DIFFERENT = "the outputs differ: "


def _section(name: str, plan: Plan) -> Iterator[Row]:
    from tasutils.bench.equal import Unequal
    from tasutils.bench.rows import Row

    try:
        yield from import_module(f"tasutils.bench.{name}").rows(plan)
    except Unequal as fault:
        yield Row(section=name, what=name, skipped=f"{_DIFFERENT}{fault}")
