"""Measure what things cost: `python tests/bench [SECTION ...] [--json FILE]`, or `make bench`.

Each row is a ratio against a plainly written loop, measured in the same run. Both sides' outputs
are compared first; where they differ, nothing is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
import torch

from bench.measure import Plan, Row, conditions
from bench.sections import busy, crops, describe, peers, sam, sentence
from bench.stores import ray, store, sweep
from tasutils.runs import cores

SECTIONS: dict[str, Callable[[Plan], Iterator[Row]]] = {
    found.__name__: found
    for found in (describe, crops, sam, sweep, sentence, store, peers, busy, ray)
}


def run(plan: Plan, sections: list[str]) -> dict[str, object]:
    """Measure sections one after another, print each; conditions and rows, as JSON takes them."""
    around, rows = conditions(plan), list[Row]()
    for name in sections:
        found = list[Row]()
        try:
            for row in SECTIONS[name](plan):
                found.append(row)
        except AssertionError as fault:
            reason = " ".join(str(fault).split())[:200]
            found.append(Row(name, name, skipped=f"the outputs differ: {reason}"))
        print(table(found), flush=True)
        rows += found
    around |= {"load_after": os.getloadavg()[0]}
    return {"conditions": around, "rows": [row.values() for row in rows]}


def table(rows: list[Row]) -> str:
    """One section as text."""

    def median(values: list[float]) -> str:
        return f"{np.median(values):.4g}" if values else ""

    lines = [
        {
            "section": row.section,
            "what": row.what,
            "ours, s": median(row.ours_s),
            "plain, s": median(row.plain_s),
            "ratio": median(row.ratio),
            "target": " ".join(map(str, row.target or ())),
            "": {True: "reached", False: "NOT reached", None: row.skipped}[row.met],
        }
        for row in rows
    ]
    told = [f"    {k} {v:.4g}" for row in rows for k, v in row.measures.items()]
    told += [f"    checked: {row.checked}" for row in rows if row.checked]
    told += [f"    {row.note}" for row in rows if row.note]
    shown = pd.DataFrame(lines).to_string(index=False, max_colwidth=None)
    return "\n".join([shown, *dict.fromkeys(told), ""])


def main() -> int:
    """Read the arguments; 1 where outputs differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", help=f"{', '.join(SECTIONS)}; none: all")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--images", type=int, help="pictures of each section")
    parser.add_argument("--threads", type=int, default=cores(), help="of torch and of children")
    parser.add_argument("--repeats", type=int, default=5, help="timings of each side")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="where rows and conditions go")
    given = parser.parse_args()
    if unknown := [name for name in given.sections if name not in SECTIONS]:
        parser.error(f"no section {unknown[0]!r}; there are {', '.join(SECTIONS)}")
    torch.set_num_threads(given.threads)
    plan = Plan(given.preset, given.device, given.images, given.threads, given.repeats)
    found = run(plan, given.sections or list(SECTIONS))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    rows: list[dict[str, str]] = found["rows"]  # type: ignore[assignment]
    return int(any(row["skipped"].startswith("the outputs differ") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
