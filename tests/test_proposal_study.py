"""What makers of masks miss and what their settings change: groups, gaps, knobs; notebook 01."""

import nbformat
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasutils import evaluate, proposal_charts, proposal_study
from tasutils.config import load_preset
from tasutils.notebooks import run_notebook
from tasutils.proposals.compare import crowding


def slow_crowding(masks):
    """The same by pixels, one at a time."""
    shares = []
    for k, mask in enumerate(masks):
        places = [(y, x) for y, x in np.ndindex(mask.shape) if mask[y, x]]
        if not places:
            shares.append(0.0)
            continue
        rows, columns = zip(*places, strict=True)
        covered = total = 0
        for y in range(min(rows), max(rows) + 1):
            for x in range(min(columns), max(columns) + 1):
                total += 1
                others = any(m[y, x] for j, m in enumerate(masks) if j != k)
                covered += others and not mask[y, x]
        shares.append(covered / total)
    return shares


@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_crowding_equals_a_plain_loop(n, seed):
    masks = list(np.random.default_rng(seed).random((n, 5, 6)) < 0.3)
    assert crowding(masks) == pytest.approx(slow_crowding(masks))


def made_table(seed=0, n=40):
    """An `oracle_table` of two makers, SAM ahead on hidden targets alone."""
    rng, rows = np.random.default_rng(seed), []
    for k in range(n):
        hidden = 0.3 if k % 2 else 0.0
        for name, inter in (("SAM", 80), ("FreeSOLO", 50 if hidden else 80)):
            found = inter + int(rng.integers(-3, 4))
            rows.append({
                "proposer": name, "image_id": str(k // 2), "ref_id": str(k),
                "share": (0.005, 0.02, 0.2)[k % 3], "hidden": hidden, "crowding": 0.0,
                "intersection_px": found, "union_px": 100, "oracle_iou": found / 100,
                "n_masks": 4, "time_s": 0.1,
            })  # fmt: skip
    return pd.DataFrame(rows)


def test_groups_part_the_targets_and_gaps_are_their_differences():
    table = made_table()
    groups = proposal_study.reach_by_group(table, n_boot=50)
    gaps = proposal_study.gap_by_group(table, "SAM", "FreeSOLO", n_boot=50)
    for _, part in groups[groups["proposer"] == "SAM"].groupby("question"):
        assert part["n"].sum() == 40
    wide = groups.pivot(index=["question", "group"], columns="proposer", values="mean")
    both = gaps.set_index(["question", "group"])["mean"]
    assert (wide["SAM"] - wide["FreeSOLO"]).loc[both.index].to_numpy() == pytest.approx(both)
    assert set(gaps["question"]) == {"all", "hidden", "overlapping", "size"}


def test_the_words_say_behind_only_where_intervals_are_apart():
    gaps = proposal_study.gap_by_group(made_table(), "SAM", "FreeSOLO", n_boot=100)
    hidden, size = proposal_study.gap_words(gaps, "SAM", "FreeSOLO")
    assert "further behind on the first." in hidden and "no clear difference" in size


def test_makers_and_settings_differ_in_one_thing():
    tiny = load_preset("tiny")
    makers = proposal_study.makers_of(tiny)
    assert list(makers) == ["SAM", "FreeSOLO"]
    for made in makers.values():
        unlike = {key.split(".")[0] for key, value in made.leaves().items()
                  if tiny.leaves().get(key) != value}  # fmt: skip
        assert unlike <= {"proposals"}
    for setting, presets in proposal_study.settings_of(tiny).items():
        own = [made for made in presets.values() if made.leaves() == tiny.leaves()]
        assert own, setting
        for made in presets.values():
            changed = {key for key, value in made.leaves().items() if tiny.leaves()[key] != value}
            assert all(key.startswith(("proposals.", "overlap.")) for key in changed)
            assert len({key.split(".")[0] for key in changed}) <= 1


def test_a_rival_without_weights_is_left_out():
    assert list(proposal_study.makers_of(load_preset("paper"))) == ["SAM"]
    photo = proposal_study.makers_of(load_preset("photo"))
    assert {"SAM", "free masks", "merged superpixels", "all three"} <= set(photo)


def test_settings_are_drawn_and_told():
    table = pd.DataFrame({
        "setting": ["points a side"] * 2 + ["nothing"] * 2, "value": ["6", "12"] * 2,
        "oracle_miou": [0.3, 0.7, 0.5, 0.5], "masks": [9.0, 23.0, 5.0, 5.0],
        "own": [False, True] * 2,
    })  # fmt: skip
    points, nothing = proposal_study.knob_words(table)
    assert "from 30.0 % at 6 (9 masks) to 70.0 % at 12 (23 masks); the preset has 12" in points
    assert nothing.startswith("nothing: changes nothing")
    assert len(proposal_charts.settings_plot(table).png()) > 5000


class NoModels:
    """A preset whose models must not be asked for."""

    def __init__(self, preset):
        self.preset = preset

    def __getattr__(self, name):
        raise AssertionError(name)


@pytest.mark.slow
def test_a_run_that_is_there_is_taken_and_a_missing_one_made(tmp_path):
    import tasutils

    tas = tasutils.load("tiny", device="cpu")
    made = evaluate.run_of("refscenes val", tas, 1, tmp_path)
    assert made.record.n_images == 1 and len(list((tmp_path / "scenes").iterdir())) == 1
    again = evaluate.run_of("refscenes val", NoModels(tas.preset), 1, tmp_path)
    assert again.run.folder == made.run.folder
    for other in (("refscenes val", 2), ("refscenes testA", 1)):
        with pytest.raises(AssertionError):
            evaluate.run_of(other[0], NoModels(tas.preset), other[1], tmp_path)
    changed = tas.preset.override({"terms.p.weight": 0.9})
    with pytest.raises(AssertionError):
        evaluate.run_of("refscenes val", NoModels(changed), 1, tmp_path)


@pytest.mark.slow
def test_the_notebook_sets_sam_beside_freesolo(tmp_path):
    given = {"limit": 2, "knob_limit": 1, "n_boot": 50}
    page = run_notebook("01_proposals", given, tmp_path)
    notebook = nbformat.read(page.with_suffix(".ipynb"), as_version=4)
    outputs = {cell.id: cell.get("outputs", []) for cell in notebook.cells}
    for name in ("grid", "recall", "groups", "gap", "knobs"):
        assert "image/png" in outputs[name][0].data, name
    said = outputs["words"][0].data["text/markdown"]
    assert "SAM: oracle mIoU" in said and "FreeSOLO: oracle mIoU" in said
    assert "partial: the first of 200" in said and "points a side" in said
