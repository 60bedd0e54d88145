"""Miniatures of the published data sets, and the study of what is here."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tasutils import real_data, study
from tasutils.datasets import load_dataset, overview
from tasutils.datasets.get_data import file_sets
from tasutils.datasets.miniature import STAND_INS, write_miniatures
from tasutils.datasets.published import published
from tasutils.errors import TasError
from tasutils.images import read_image


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_miniatures(tmp_path_factory.mktemp("miniatures"), pictures=2)


def test_a_miniature_is_read_as_the_published_set_and_holds_what_refscenes_holds(root):
    assert set(STAND_INS) == set(published())
    for name, family in STAND_INS.items():
        data, source = load_dataset(name, "val", root=root), load_dataset(family, "val")
        assert data.image_ids == source.image_ids[:2]
        first = [s for s in source.samples if s.image_id in data.image_ids]
        assert [(s.sample_id, s.text, s.raw, s.category) for s in data.samples] == [
            (s.sample_id, s.text, s.raw, s.category) for s in first
        ]
        for ours, theirs in zip(data.samples, first, strict=True):
            a, b = data.gt_mask(ours), source.gt_mask(theirs)
            same = (a & b).sum() / (a | b).sum()
            # PhraseCut's own evaluator draws polygons in another way
            assert same > 0.9 if name == "phrasecut" else same == 1
        for image_id in data.image_ids:
            picture = read_image(data.image_path(image_id))
            assert np.array_equal(picture, read_image(source.image_path(image_id)))


def test_the_doctor_finds_nothing_but_what_is_not_there(root):
    for name in STAND_INS:
        (findings,) = overview.examine(name, root=root)
        assert set(findings.faults) <= {"count", "file"}, findings.faults
        assert findings.counts["val"].images == 2
        assert not any("val" in fault for fault in findings.faults.get("file", []))


def test_a_miniature_overwrites_nothing_and_has_pictures(root, tmp_path):
    with pytest.raises(TasError, match="refcoco is there already"):
        write_miniatures(root)
    with pytest.raises(TasError, match="0 pictures are too few"):
        write_miniatures(tmp_path / "new", 0)
    assert not (tmp_path / "new").exists()
    one = real_data.open_sets("refcocog val", write_miniatures(tmp_path / "new", 1))
    assert [len(data.image_ids) for data in one] == [1]


def test_the_sets_of_a_study_are_those_asked_for_or_those_that_are_here(root, tmp_path):
    names = [(data.name, data.split) for data in real_data.open_sets("refscenes val", root)]
    assert names == [(name, "val") for name in published()]
    (one,) = real_data.open_sets("refcoco+ val", root)
    assert (one.name, one.split_by) == ("refcoco+", "unc")
    assert real_data.open_sets("refcoco val", tmp_path) == []
    with pytest.raises(TasError, match="testX"):
        real_data.open_sets("refcoco testX", root)
    first = real_data.first_pictures(one, 1)
    assert first.image_ids == one.image_ids[:1] == tuple(first.images)
    assert first.samples == tuple(one.by_image()[one.image_ids[0]])
    assert first.gt_mask(first.samples[0]).any()


def test_the_table_names_every_command_its_size_and_its_terms(root, tmp_path):
    table = real_data.fetch_table(tmp_path).set_index("command")
    wanted = {f"tas data get {files}" for entry in published().values() for files in entry.get}
    assert set(table.index) == wanted and len(table) == len(wanted)
    assert table.loc["tas data get coco-train2014", "GB"] == "13.51"
    assert table.loc["tas data get coco-train2014", "needed for"] == "refcoco, refcoco+, refcocog"
    assert table.loc["tas data get phrasecut", "GB"] == "unknown"
    for name in ("refcoco", "visual-genome"):
        assert table.loc[f"tas data get {name}", "terms"] == file_sets()[name].terms
    here = real_data.fetch_table(root).set_index("command")["needed for"]
    assert here["tas data get phrasecut"] == "phrasecut (here)"


def part_of(**columns):
    """A run of three sentences with one mask each, all right."""
    n = 3
    samples = pd.DataFrame({
        "sample_id": list("abc"), "image_id": "1", "gt_area_px": 10, "chosen": [0, 0, -1],
        "text": ["left dog", "dog", "dog left of the tall red cat by the door"],
        "oracle_intersection_px": 10, "oracle_union_px": 10, **columns,
    })  # fmt: skip
    scores = pd.DataFrame({
        "sample_id": list("abc"), "proposal": 0, "v": 1.0, "p": 0.0, "n": 0.0, "region": True,
        "intersection_px": [10, 5, 0], "union_px": 10,
    })  # fmt: skip
    record = SimpleNamespace(
        dataset="phrasecut", split="val", alpha=0.1, lam=0.1, config={"captioner": {"kind": "x"}},
        n_used=n, n_total=30, n_images=1, partial=True, method="tas",
    )  # fmt: skip
    run = SimpleNamespace(record=record, samples=samples.copy, scores=scores.copy)
    return real_data.WordedPart(run)


def test_groups_come_from_the_words_where_the_data_set_has_no_flags():
    part = part_of(multi=[False, True, True])
    assert part.samples["has_direction"].tolist() == [True, False, False]
    assert part_of(has_direction=False).samples["has_direction"].sum() == 0
    table = study.breakdown([part], n_boot=20, asked=real_data.GROUPS).set_index("group")
    assert table["n"].to_dict() == {
        "with a direction word": 1, "without a direction word": 2,
        "up to 3 words": 2, "7 words and more": 1,
        "the phrase names one thing": 1, "it names several": 2,
    }  # fmt: skip
    assert table.loc["up to 3 words", "mean"] == pytest.approx(0.75)
    bare = study.breakdown([part_of()], n_boot=20, asked=real_data.GROUPS)
    assert set(bare["question"]) == {"direction", "length"}


def test_a_miniature_says_that_it_is_one_and_nothing_of_scores():
    note = real_data.real_note([part_of()], real=False)
    assert "mean nothing" in note and note.endswith("n = 3 sentences")
    assert real_data.real_note([part_of()], real=True) == "partial, n = 3 of 30 sentences"
    first, line = real_data.path_words([part_of()])
    assert "mean nothing" in first
    assert line.startswith("phrasecut val: 3 sentences about 1 pictures") and "2 were" in line
