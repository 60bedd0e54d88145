"""Notebook 07 on two pictures: every method beside the others, and one of one's own."""

import nbformat
import pytest
from shown import outputs, pictures, tables

from tasutils.baselines import method_names
from tasutils.notebooks import run_notebook

pytestmark = pytest.mark.slow


def test_the_peers_stand_side_by_side(tmp_path):
    given = {"limit": 2, "map_limit": 2, "results": str(tmp_path / "results")}
    executed = run_notebook("07_peers", given, tmp_path).with_suffix(".ipynb")
    shown, names = tables(executed), set(method_names())
    peers = next(table for table in shown if "won / lost" in table)
    assert set(peers["method"]) == names and len(peers) == len(names)
    assert peers["n"].nunique() == 1 and peers["oracle"].nunique() == 1  # the same masks
    oracle = float(peers["oracle"].iloc[0])
    assert all(float(text.split()[0]) <= oracle + 0.05 for text in peers["mIoU"])
    alone = next(table for table in shown if "pointing" in table)
    assert {"tseg", "grad_cam", "clip_surgery"} < set(alone.iloc[:, 0])
    published = next(table for table in shown if "RefCOCO val" in table).set_index("method")
    assert not "".join(published.loc["TAS (EMNLP 2023)"].iloc[3:])  # no number without a source
    own = [table for table in shown if "won / lost" in table][1]
    assert own["method"].tolist() == ["clip_only", "colored"]
    assert len(pictures(executed)) == len(names) + 2  # a row a method, the chart, one's own
    said = outputs(executed)[-1]["data"]["text/markdown"]
    assert peers["mIoU"].iloc[0] in said and "Colour of pixels on top of CLIP-only" in said
    words = next(c.source for c in nbformat.read(executed, as_version=4).cells if c.id == "own")
    assert len(words.splitlines()) < 30
