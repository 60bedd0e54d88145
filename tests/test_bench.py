"""The bench: nothing is timed unless both sides give the same; sections run, small."""

import json
import sys

import numpy as np
import pytest
from bench import __main__ as program
from bench import released_loop, sections, stores
from bench.measure import (
    DATASET,
    Plan,
    Row,
    compare,
    drawn_cases,
    noise_and_blobs,
    same_choices,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tasutils import paths
from tasutils.masks import areas_px, encode_rle, overlap_filter

SMALL = Plan(images=1, repeats=1)


def test_both_sides_are_timed_in_turn_and_divided():
    calls = []
    row = compare(
        Plan(repeats=2),
        Row("s", "w", target=("ratio", "at_least", 0.0)),
        lambda: calls.append("ours"),
        lambda: calls.append("plain"),
        lambda a, b: calls.append("same"),
        per=4,
    )
    assert calls == ["ours", "plain", "same", "ours", "plain", "plain", "ours"]
    pairs = zip(row.ours_s, row.plain_s, strict=True)
    assert row.ratio == [plain / ours for ours, plain in pairs] and row.met
    assert Row("s", "w", measures={"MiB": 3}, target=("MiB", "at_most", 2)).met is False


def test_outputs_that_differ_are_said_and_not_timed(monkeypatch):
    real = sections.masked_crops
    monkeypatch.setattr(sections, "masked_crops", lambda *given: real(*given) * 0.9)
    (row,) = program.run(SMALL, ["crops"])["rows"]
    assert row["skipped"].startswith("the outputs differ") and not row["ours_s"]
    same_choices([1], [0], [np.array([0.5, 0.4999])], 1e-3)  # a tie
    with pytest.raises(AssertionError, match="masks 1 and 0"):
        same_choices([1], [0], [np.array([0.5, 0.4])], 1e-3)


def test_the_command_line(tmp_path, monkeypatch, capsys):
    target, given = tmp_path / "bench.json", ["--images", "1", "--repeats", "1", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", ["bench", "crops", *given, "--json", str(target)])
    assert program.main() == 0
    assert "blur, 32 masks" in capsys.readouterr().out
    shipped = json.loads((paths.DATA / "bench.json").read_text(encoding="utf-8"))
    fresh = json.loads(target.read_text(encoding="utf-8"))
    for found in (shipped, fresh):
        assert found["conditions"]["device_name"] and found["rows"]
    assert fresh["rows"][0].keys() == shipped["rows"][0].keys()
    assert all(row["ratio"] for row in fresh["rows"])
    monkeypatch.setattr(sys, "argv", ["bench", "nothing"])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 2


def test_the_released_shape_gives_our_answers():
    (case,), tas = drawn_cases(1, references=1, sentences=2), SMALL.tas
    scene = tas.describe(case.image)
    answers = [tas.refer(scene, text, dataset=DATASET) for text in case.references[0]]
    loop = released_loop.answer(case.image, case.references, tas, cached=True)
    sections.same_answers([(scene, answers)], [loop])


def test_swept_settings_are_the_loops(monkeypatch):
    monkeypatch.setattr(
        stores, "in_child", lambda task, _, **given: task(**given) | {"peak_mib": 1}
    )
    (row,) = stores.sweep(SMALL, sentences=20)
    assert row.checked == "mIoU of 4 settings" and "1,000 settings, 20" in row.what


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 0.9))
def test_the_loops_pairwise_filter_is_ours(seed, most):
    masks = noise_and_blobs(6, seed)[1]
    ours = overlap_filter(encode_rle(masks), areas_px(masks), 0, most)
    assert len(released_loop.without_overlaps(list(masks), most)) == len(ours)
