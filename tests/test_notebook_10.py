"""Notebook 10: what things cost, measured and as a saved bench tells."""

import json
import re

import pytest
from bench.measure import Plan, Row, conditions
from shown import outputs, pictures, tables

from tasutils.notebooks import run_notebook

pytestmark = pytest.mark.slow


def test_the_costs_are_measured_and_a_saved_bench_is_shown(tmp_path):
    rows = [
        Row("describe", "saved", ratio=[8.5, 9, 9.5], target=("ratio", "at_least", 10.0)),
        Row("store", "read", ours_s=[0.1], ratio=[1.0], measures={"scenes_per_s": 10.0},
            target=("scenes_per_s", "at_least", 500.0)),
        Row("ray", "actors", skipped="Ray is not here"),
    ]  # fmt: skip
    found = {"conditions": conditions(Plan()), "rows": [row.values() for row in rows]}
    (tmp_path / "bench.json").write_text(json.dumps(found))
    given = {"images": 1, "bench": str(tmp_path / "bench.json")}
    page = run_notebook("10_cost_and_scale", given, tmp_path)
    executed = page.with_suffix(".ipynb")
    # stages, operations, what is kept, batches, the saved bench
    assert len(pictures(executed)) == 5
    text = "".join(output.get("text", "") for output in outputs(executed))
    assert "describe: saved: target not reached" in text
    assert "store: read: target not reached" in text  # also where the ratio has none
    assert re.search(r"^\w+ takes \d+% of describing a picture", text, flags=re.M)
    measured, *_, bench = tables(executed)
    assert float(measured["times"].iloc[0]) > 0
    assert bench.iloc[:, -1].tolist()[-1] == "Ray is not here"
