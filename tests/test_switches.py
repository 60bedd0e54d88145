"""The article's preset turned into the released code's, one switch at a time."""

import numpy as np
import pandas as pd
import pytest

import tasutils
from tasutils.config import load_preset
from tasutils.newest import part_of
from tasutils.runs import list_runs
from tasutils.switches import ALL, switch_effects, switch_words, switches


def test_the_switches_are_all_that_the_two_presets_differ_in():
    paper, official = load_preset("paper"), load_preset("official")
    changes = {}
    for one in switches(paper).values():
        assert not set(one) & set(changes)
        changes |= one
    assert paper.override(changes).digest() == official.digest()


def test_a_lambda_chosen_for_a_data_set_is_replaced_too():
    tiny = load_preset("tiny")
    changed = tiny.override(switches(tiny)["terms.n.weight"])
    assert {changed.weights(name)["n"] for name in (None, "refscenes", "refscenesg")} == {0.7}


def test_a_changed_preset_has_another_name():
    tiny = load_preset("tiny")
    once = tiny.override({"terms.p.weight": 0.9})
    assert (once.name, once.override({"terms.p.weight": 0.8}).name) == ("tiny*", "tiny*")
    assert tiny.override({"terms.p.weight": tiny.terms["p"].weight}).name == "tiny"


@pytest.mark.slow
def test_each_switch_is_flipped_alone(tmp_path):
    tas = tasutils.load("tiny", device="cpu")
    part = part_of("refscenes val", tas, 1, tmp_path)
    table = switch_effects(part, tas, 1, 20, tmp_path).set_index("switch")
    assert set(table.index) == {*switches(tas.preset), ALL}
    flipped = table[table["missing"] == ""]
    assert (flipped["n"] == part.run.record.n_used).all()
    assert flipped["changed"].between(0, 1).all() and np.isfinite(flipped["mean"]).all()
    for idle in ("scores.logit_scale", "scores.normalise"):  # the order of totals is kept
        assert (flipped.loc[idle, ["changed", "mean", "low", "high"]] == 0).all()
    assert "not installed" in table.loc["language.spacy_model", "missing"]
    assert [run.record.preset for run in list_runs(tmp_path)] == ["tiny"]


def test_only_clear_changes_are_told():
    columns = ["switch", "value", "changed", "mean", "low", "high", "n", "missing"]
    rows = [
        ["clear", "a", 0.5, -0.1, -0.2, -0.05, 20, ""],
        ["unclear", "a", 0.5, 0.1, -0.1, 0.3, 20, ""],
        ["idle", "a", 0.0, 0.0, 0.0, 0.0, 20, ""],
        ["absent", "a", None, None, None, None, None, "not here"],
    ]
    clear, idle, absent = switch_words(pd.DataFrame(rows, columns=columns))
    assert clear.startswith("clear as released: -10.0 [-20.0, -5.0] points")
    assert "idle" in idle and absent == "absent: not flipped, not here."
