"""The bench: nothing is timed unless both sides give the same; every section runs, small."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from bench import released_loop, sections, stores
from bench.__main__ import SECTIONS, run, table
from bench.gpu import gpu
from bench.measure import Plan, Row, compare, in_child, noise_and_blobs, same_choices
from hypothesis import given, settings
from hypothesis import strategies as st

from tasutils import paths
from tasutils.masks import areas_px, encode_rle, overlap_filter


@cache
def small():
    return Plan(images=1, repeats=1)


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
    found = run(small(), ["crops"])
    (row,) = found["rows"]
    assert row["skipped"].startswith("the outputs differ") and not row["ours_s"]
    same_choices([1], [0], [np.array([0.5, 0.4999])], 1e-3)  # a tie
    with pytest.raises(AssertionError, match="masks 1 and 0"):
        same_choices([1], [0], [np.array([0.5, 0.4])], 1e-3)


@pytest.mark.parametrize("name", ["crops", "sentence", "sam", "peers", "busy"])
def test_a_section_on_one_picture(name):
    rows = list(SECTIONS[name](small()))
    assert rows and all(row.ours_s and row.section == name for row in rows)
    assert name in table(rows)
    json.dumps([row.values() for row in rows])


@pytest.mark.slow
def test_the_released_shape_gives_our_answers():
    rows = list(sections.describe(small()))
    assert [len(row.ratio) for row in rows] == [1, 1]


def test_stored_scenes_and_swept_settings():
    rows = list(stores.store(Plan(images=20, repeats=1)))
    assert rows[2].measures["bytes_a_scene"] > 1000 and len(rows) == 4
    (row,) = stores.sweep(small(), sentences=50)
    assert row.checked == "mIoU of the loop's 4 settings" and "1,000 settings, 50" in row.what


@pytest.mark.slow
def test_more_pictures_in_their_own_processes():
    rows = list(stores.scale(small()))
    assert [row.what.split()[0] for row in rows] == ["1", "10"] and rows[0].ratio


@pytest.mark.slow
def test_the_published_architectures_run_dry_on_the_cpu():
    rows = list(gpu(small()))
    assert "DRY RUN" in rows[0].note and rows[0].ratio
    assert rows[1].measures["share_of_floor"] > 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 0.9))
def test_the_loops_pairwise_filter_is_ours(seed, most):
    masks = noise_and_blobs(6, seed)[1]
    ours = overlap_filter(encode_rle(masks), areas_px(masks), 0, most)
    assert len(released_loop.without_overlaps(list(masks), most)) == len(ours)


def test_a_child_tells_its_own_memory():
    found = in_child(big, 1, mib=200)
    assert found["done"] and found["peak_mib"] > 200


def big(mib):
    return {"done": bool(np.ones(mib << 20, np.uint8).all())}


def test_the_command_line(tmp_path):
    command = [sys.executable, str(paths.ROOT / "tests/bench"), "crops", "--repeats", "1"]
    target = tmp_path / "bench.json"
    done = subprocess.run([*command, "--json", str(target)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "blur, 32 masks" in done.stdout
    shipped = json.loads(Path(paths.DATA / "bench.json").read_text(encoding="utf-8"))
    fresh = json.loads(target.read_text(encoding="utf-8"))
    for found in (shipped, fresh):
        assert found["conditions"]["device_name"] and found["rows"]
    assert fresh["rows"][0].keys() == shipped["rows"][0].keys()
    assert subprocess.run([*command, "nothing"], capture_output=True).returncode == 2
