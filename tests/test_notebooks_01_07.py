"""Notebooks 01 and 07 on few pictures; the steps that they write out, taken from their cells."""

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shown import outputs, pictures, tables
from small_peers import random_masks, small_clip
from torchvision.ops import nms as torchs_nms

from tasutils import paths
from tasutils.baselines import METHODS
from tasutils.baselines.global_local import RegionToken
from tasutils.crops import whole_image
from tasutils.notebooks import run_notebook


def definitions(name, tag):
    """What the cell with a tag defines, beside numpy and torch."""
    notebook = nbformat.read(paths.NOTEBOOKS / f"{name}.ipynb", as_version=4)
    (cell,) = [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]
    found = {"np": np, "torch": torch, "normalize": torch.nn.functional.normalize}
    exec(cell.source, found)
    return found


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 12), st.floats(0.1, 0.9))
def test_suppression_is_torchs(seed, n, thresh):
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 20, (n, 2)).astype("f4")
    boxes = np.concatenate([corners, corners + rng.integers(1, 12, (n, 2))], axis=1).astype("f4")
    scores = rng.permutation(n).astype("f4")
    wanted = torchs_nms(torch.from_numpy(boxes), torch.from_numpy(scores), thresh).tolist()
    assert definitions("01_proposals", "nms")["nms"](boxes, scores, thresh) == wanted


def test_region_tokens_are_the_packages(picture, rng):
    clip, masks = small_clip("vit"), random_masks(rng, 5, (60, 80))
    pixels = clip.pixel_values(whole_image(picture, clip.image_size))
    with torch.inference_mode():
        written = definitions("07_peers", "region-token")["region_tokens"](clip, pixels, masks)
    ours = RegionToken(clip).embed_masks(picture, masks)
    ours /= np.linalg.norm(ours, axis=1, keepdims=True)
    np.testing.assert_allclose(written.numpy(), ours, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_sam_stands_beside_freesolo(tmp_path):
    given = {"limit": 2, "knob_limit": 1, "n_boot": 50}
    executed = run_notebook("01_proposals", given, tmp_path).with_suffix(".ipynb")
    found = next(table for table in tables(executed) if "oracle_miou" in table)
    assert len(found) == 2 and found["oracle_miou"].astype(float).between(0, 1).all()
    assert len(pictures(executed)) == 5  # a picture, its makers, recall, groups, knobs
    said = outputs(executed)[-1]["data"]["text/markdown"]
    assert "SAM: oracle mIoU" in said and "FreeSOLO: oracle mIoU" in said
    assert "partial: the first of 200" in said and "points_per_side: from" in said


@pytest.mark.slow
def test_the_peers_stand_side_by_side(tmp_path):
    folder = tmp_path / "results"
    given = {"limit": 2, "map_limit": 2, "n_boot": 50, "results": str(folder)}
    executed = run_notebook("07_peers", given, tmp_path).with_suffix(".ipynb")
    shown = tables(executed)
    peers = next(table for table in shown if "won" in table)
    assert list(peers["method"]) == list(METHODS)
    assert peers["n"].nunique() == 1 and peers["oracle"].nunique() == 1  # the same masks
    alone = next(table for table in shown if "pointing" in table)
    assert {"tseg", "grad_cam", "clip_surgery"} < set(alone.iloc[:, 0])
    published = next(table for table in shown if "RefCOCO val" in table).set_index("method")
    assert not "".join(published.loc["TAS (EMNLP 2023)"].iloc[4:])  # no number without a source
    own = [table for table in shown if "won" in table][1]
    assert own["method"].tolist() == ["clip_only", "colored"]
    assert len(pictures(executed)) == len(METHODS) + 2  # a row a method, the chart, one's own
    said = outputs(executed)[-1]["data"]["text/markdown"]
    assert peers["mIoU"].iloc[0] in said and "Colour of pixels on top of CLIP-only" in said
    assert [path.name for path in folder.iterdir()] == ["scenes"]  # no run is written


def test_published_numbers_leave_blank_what_has_no_source():
    path = paths.ROOT / "tasutils" / "published.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False).set_index("method")
    tas = table.loc["TAS (EMNLP 2023)"]
    assert "not sourced" in tas["source"] and not "".join(tas.drop(["proposals", "source"]))
    assert set(table["kind"].drop("TAS (EMNLP 2023)")) == {"P", "S"}  # no secondary summaries
    assert table.loc["Global-Local CLIP (CVPR 2023)", "RefCOCO val"] == "26.20"
    assert not table.index.str.contains("Ref-Diff|SAM-CLIP").any()
