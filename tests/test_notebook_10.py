"""Notebook 10: what things cost, measured and as a saved bench tells."""

import re

import pytest
from shown import outputs, pictures, tables

from tasutils.bench import rows
from tasutils.bench.conditions import conditions
from tasutils.config import load_preset
from tasutils.notebooks import run_notebook

pytestmark = pytest.mark.slow


def test_the_costs_are_measured_and_a_saved_bench_is_shown(tmp_path):
    ratio = rows.Spread.of([9.0, 8.5, 9.5])
    slow = rows.Target(number="ratio", at_least=10.0)
    row = rows.Row(section="describe", what="saved", checked="all", ratio=ratio, target=slow)
    missing = rows.Row(section="ray", what="actors", skipped="Ray is not here")
    saved = rows.Bench(conditions=conditions(load_preset("tiny"), "cpu"), rows=[row, missing])
    saved.write(tmp_path / "bench.json")
    given = {"images": 1, "bench": str(tmp_path / "bench.json")}
    page = run_notebook("10_cost_and_scale", given, tmp_path)
    executed = page.with_suffix(".ipynb")
    # stages, functions, what is kept, batches, the quick bench, the saved one
    assert len(pictures(executed)) == 6
    text = "".join(output.get("text", "") for output in outputs(executed))
    for section in ("crops", "sentence", "store"):
        assert re.search(rf"^{section}$", text, flags=re.M), section
    assert text.count("checked: ") == 3 and "the outputs differ" not in text
    assert "Ray is not here" in text and "describe, saved: target NOT reached" in text
    assert re.search(r"^\w+ takes \d+% of describing a picture", text, flags=re.M)
    functions = next(table for table in tables(executed) if "own_s" in table)
    assert functions["share"].astype(float).between(0, 1).all()
