"""Published data sets by name, in every layout in which they are published."""

import json
import os
import pickle
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from published_trees import (
    OVERLAPPING,
    H,
    W,
    file_name,
    instances,
    load_seeing,
    polygon,
    python2_pickle,
    references,
    small_counts,
    task,
    write_mirror,
    write_phrasecut,
    write_refcoco,
    write_zip,
)

from tasutils import archives, cli, paths
from tasutils.datasets import default_preset, load_dataset
from tasutils.datasets.get_data import FileSet, file_sets, get_data
from tasutils.datasets.phrasecut_metrics import (
    prediction_files,
    predictions_table,
    scores,
    subsets,
)
from tasutils.datasets.pickles import loads_plain
from tasutils.datasets.published import published
from tasutils.errors import TasError
from tasutils.runs import read_run


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The published counts of the miniature trees."""
    return small_counts(monkeypatch)


@pytest.fixture
def seeing(monkeypatch):
    """`tas` with parts that see boxes and colours in place of networks."""
    monkeypatch.setattr("tasutils.tas.load", load_seeing)


def test_the_miniature_pickles_are_those_of_python_2():
    raw = python2_pickle(references())
    assert loads_plain(raw) == references()
    assert b"U\x06ref_id" in raw and b"U\x07left dog"[:1] in raw  # SHORT_BINSTRING
    assert b"X" + b"\x06\x00\x00\x00ref_id" not in raw


@pytest.mark.parametrize("name, split_by", [
    ("refcoco", "unc"), ("refcoco", "google"), ("refcoco+", "unc"), ("refcocog", "umd"),
    ("refcocog", "google"),
])  # fmt: skip
def test_published_layout_by_name(tmp_path, name, split_by):
    write_refcoco(tmp_path, name, split_by)
    data = load_dataset(name, "testA", split_by, root=tmp_path)
    assert (data.name, data.split, data.split_by) == (name, "testA", split_by)
    assert [s.sample_id for s in data.samples] == ["1-10", "2-20", "2-21"]
    assert data.samples[1].text == "far dog" and data.samples[1].category == "dog"
    assert data.image_path("2") == tmp_path / "coco" / "train2014" / file_name(2)
    assert data.gt_mask(data.samples[0]).sum() == 100
    if split_by == published()[name].split_by:
        usual = load_dataset(name, "testA", root=tmp_path)
        assert [s.sample_id for s in usual.samples] == [s.sample_id for s in data.samples]


def test_data_folder_of_the_project_is_the_usual_place(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "DATA", write_refcoco(tmp_path))
    assert len(load_dataset("refcoco", "val")) == 2


def test_the_folder_itself_may_be_given_and_its_images(tmp_path):
    write_refcoco(tmp_path)
    data = load_dataset("refcoco", "val", root=tmp_path / "refcoco")
    assert data.name == "refcoco" and data.image_path("1").is_file()
    elsewhere = load_dataset("refcoco", "val", root=tmp_path, images=tmp_path / "pictures")
    assert elsewhere.image_path("1") == tmp_path / "pictures" / file_name(1)


@pytest.mark.parametrize("folder", ["train2014", "images/mscoco/images/train2014"])
def test_images_in_the_other_published_places(tmp_path, folder):
    write_refcoco(tmp_path)
    (tmp_path / folder).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(tmp_path / "coco" / "train2014", tmp_path / folder)
    assert load_dataset("refcoco", "val", root=tmp_path).image_path("1").is_file()


def test_mistakes_name_what_there_is(tmp_path):
    write_refcoco(tmp_path)
    for arguments, message in [
        (("refcoco", "test"), "refcoco unc has no split 'test'; it has val, testA, testB"),
        (("refcoco", "val", "umd"), "refcoco has no splits by 'umd'; it has unc and google"),
        (("phrasecut", "test", "unc"), "phrasecut has no splits by 'unc'; leave out --split-by"),
        (("refcoco+", "val"), r"refcoco\+ is not at .*refcoco\+; .*tas data get refcoco\+"),
        (("refcoco", "val", "google"), r"refs\(google\)\.p: cannot be read"),
    ]:
        with pytest.raises(TasError, match=message):
            load_dataset(*arguments, root=tmp_path)
    with pytest.raises(TasError, match="photos7 takes no split_by"):
        load_dataset("photos7", "all", "unc")
    with pytest.raises(TasError, match="own takes no root"):
        load_dataset("own", "x.csv", root=tmp_path)


def test_a_malicious_pickle_runs_nothing(tmp_path, monkeypatch):
    class Shell:
        def __reduce__(self):
            return os.system, ("touch marker",)

    write_refcoco(tmp_path)
    (tmp_path / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps([Shell()], 2))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("code ran"))
    with pytest.raises(TasError, match="not plain data"):
        load_dataset("refcoco", "val", root=tmp_path)
    assert cli.main(["data", "check", "refcoco", "--root", str(tmp_path)]) == 1
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("folder", ["refcoco", "refcoco/data"])
def test_mirror_where_test_a_is_called_test(tmp_path, folder, small):
    write_refcoco(tmp_path / "published")
    write_mirror(tmp_path / folder)
    images = tmp_path / "published" / "coco" / "train2014"
    for split in ("val", "testA", "testB"):
        theirs = load_dataset("refcoco", split, root=tmp_path, images=images)
        ours = load_dataset("refcoco", split, root=tmp_path / "published")
        assert [(s.sample_id, s.text, s.raw) for s in theirs.samples] == [
            (s.sample_id, s.text, s.raw) for s in ours.samples
        ]
        for a, b in zip(theirs.samples, ours.samples, strict=True):
            assert (theirs.gt_mask(a) == ours.gt_mask(b)).all()
            assert theirs.image_path(a.image_id).is_file() and a.category == "18"
    with pytest.raises(TasError, match="no split 'test'"):
        load_dataset("refcoco", "test", root=tmp_path)
    with pytest.raises(TasError, match="holds the splits by unc only"):
        load_dataset("refcoco", "val", "google", root=tmp_path)
    splits = small["refcoco"].splits["unc"]
    splits["train"] = splits["val"]
    with pytest.raises(TasError, match=r"no train-\*\.parquet"):
        load_dataset("refcoco", "train", root=tmp_path)


def test_the_mirror_of_refcocog_keeps_its_test(tmp_path, small):
    write_mirror(tmp_path / "refcocog", named={"testA": "test"})
    splits = small["refcocog"].splits["umd"]
    splits["test"] = splits["testA"]
    assert len(load_dataset("refcocog", "test", root=tmp_path)) == 3
    write_mirror(tmp_path / "refcocoplus")
    assert len(load_dataset("refcoco+", "testA", root=tmp_path)) == 3


def test_damaged_mirror(tmp_path):
    place = write_mirror(tmp_path / "refcoco", drop=("raw_anns",))
    with pytest.raises(TasError, match="no column raw_anns; this is no file of the mirror"):
        load_dataset("refcoco", "val", root=tmp_path)
    for path in place.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(TasError, match="damaged"):
        load_dataset("refcoco", "val", root=tmp_path)


def test_published_files_go_before_the_mirror(tmp_path):
    write_mirror(write_refcoco(tmp_path) / "refcoco" / "data")
    assert load_dataset("refcoco", "val", root=tmp_path).samples[0].category == "dog"


# ---- zips


def bars(name):
    from contextlib import nullcontext

    return nullcontext(lambda done, total: None)


def test_a_zip_that_lies_there_is_unpacked(tmp_path, capsys):
    write_zip(tmp_path / "refcoco.zip")
    with pytest.raises(TasError, match="refcoco.zip lies there packed, unpack it with: tas data g"):
        load_dataset("refcoco", "val", root=tmp_path)
    assert cli.main(["data", "get", "refcoco", "--root", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "Apache-2.0" in out and "https://web.archive.org/" in out
    assert "as it lay there" in out and "not 53993993 as published" in out
    assert (tmp_path / "refcoco.zip").is_file() and not (tmp_path / "__MACOSX").exists()
    assert len(load_dataset("refcoco", "val", root=tmp_path)) == 2


@pytest.mark.parametrize("member", [
    "../outside.txt", "/outside.txt", "refcoco/../../outside.txt", "..\\outside.txt", "C:/x.txt",
])  # fmt: skip
def test_a_zip_that_leads_outside_is_refused(tmp_path, member):
    folder = tmp_path / "data"
    folder.mkdir()
    archive = write_zip(folder / "refcoco.zip", extra=[(member, "owned")])
    with pytest.raises(TasError, match="refused, its member .* leads out of the folder"):
        archives.unpack(archive, folder, progress=False)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["data", "refcoco.zip"]


def test_links_bombs_and_damage_are_refused(tmp_path, monkeypatch):
    import stat
    import zipfile

    link = zipfile.ZipInfo("refcoco/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive = write_zip(tmp_path / "link.zip", extra=[(link, "/etc/passwd")])
    with pytest.raises(TasError, match="leads out of the folder"):
        archives.unpack(archive, tmp_path / "to", progress=False)
    bomb = write_zip(tmp_path / "bomb.zip", extra=[("refcoco/zeros", bytes(20_000_000))])
    with pytest.raises(TasError, match="more than an archive of its size holds"):
        archives.unpack(bomb, tmp_path / "to", progress=False)
    monkeypatch.setattr(archives, "MAX_FILES", 1)
    with pytest.raises(TasError, match="more than an archive"):
        archives.unpack(write_zip(tmp_path / "many.zip"), tmp_path / "to", progress=False)
    monkeypatch.undo()
    half = tmp_path / "half.zip"
    half.write_bytes(bomb.read_bytes()[:500])
    with pytest.raises(TasError, match="cannot be unpacked"):
        archives.unpack(half, tmp_path / "to", progress=False)
    raw = bytearray(write_zip(tmp_path / "flipped.zip").read_bytes())
    at = raw.index(b"refs(unc).p") + 60
    raw[at] ^= 0xFF
    (tmp_path / "flipped.zip").write_bytes(raw)
    with pytest.raises(TasError, match="cannot be unpacked"):
        archives.unpack(tmp_path / "flipped.zip", tmp_path / "to", progress=False)
    assert not (tmp_path / "to").exists() or not list((tmp_path / "to").iterdir())


def test_flat_archives_and_earlier_files(tmp_path):
    archive = write_zip(tmp_path / "a.zip")
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "instances.json").write_text("old")
    files = archives.unpack(archive, tmp_path / "to", flat=True, progress=False)
    assert sorted(p.name for p in files) == ["instances.json", "refs(unc).p"]
    assert json.loads((tmp_path / "to" / "instances.json").read_text()) == instances()
    twice = write_zip(tmp_path / "b.zip", extra=[("other/instances.json", "{}")])
    with pytest.raises(TasError, match="holds 'instances.json' twice"):
        archives.unpack(twice, tmp_path / "to", flat=True, progress=False)


def test_get_fetches_verifies_and_unpacks(tmp_path, monkeypatch):
    """From a file address, so that no network is needed."""
    import hashlib

    source = write_zip(tmp_path / "source.zip")
    part = {
        "url": source.as_uri(), "name": "refcoco.zip", "bytes": source.stat().st_size,
        "sha256": hashlib.sha256(source.read_bytes()).hexdigest(), "md5": None, "from": ["x"],
    }  # fmt: skip

    def publish(**changes):
        chosen = {"terms": "", "terms_from": "", "parts": [part | changes], "into": ".", "flat": 0}
        sets = {"refcoco": FileSet.model_validate(chosen)}
        monkeypatch.setattr("tasutils.datasets.get_data.file_sets", lambda: sets)

    publish()
    (line,) = get_data("refcoco", bars, tmp_path / "data")
    assert "2 files" in line and not (tmp_path / "data" / "refcoco.zip").exists()
    assert len(load_dataset("refcoco", "val", root=tmp_path / "data")) == 2
    publish(sha256="0" * 64)
    with pytest.raises(TasError, match="SHA-256"):
        list(get_data("refcoco", bars, tmp_path / "other"))
    assert not list((tmp_path / "other").rglob("*.json"))
    page = tmp_path / "page.html"
    page.write_text("<html>confirm</html>")
    publish(name="refer_test.json", url=page.as_uri(), bytes=None, sha256=None)
    with pytest.raises(TasError, match="gave a page instead of refer_test.json; open it in a br"):
        list(get_data("refcoco", bars, tmp_path / "third"))
    assert not list((tmp_path / "third").rglob("*.*"))
    page.write_text("[]")
    assert list(get_data("refcoco", bars, tmp_path / "third")) == ["refer_test.json: fetched"]
    assert list(get_data("refcoco", bars, tmp_path / "third")) == ["refer_test.json: there already"]
    with pytest.raises(TasError, match="nothing is known of 'imagenet'; there are refcoco"):
        list(get_data("imagenet", bars))


def test_nothing_stands_without_a_source():
    text = (paths.ROOT / "tasutils/datasets/published.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    named = set()
    for name, entry in content["datasets"].items():
        assert set(entry["counts_from"]) == {"refs", "images", "sentences"}, name
        for keys in entry["counts_from"].values():
            assert keys
            named |= set(keys)
        assert set(entry["get"]) <= set(content["files"])
    for name, files in content["files"].items():
        named.add(files["terms_from"])
        for part in files["parts"]:
            assert part["from"], name
            named |= set(part["from"])
            assert part["sha256"] is None or re.fullmatch("[0-9a-f]{64}", part["sha256"])
            assert part["md5"] is None or re.fullmatch("[0-9a-f]{32}", part["md5"])
    assert named == set(content["sources"])
    assert set(file_sets()) == set(content["files"])


def test_published_counts_are_those_of_the_table():
    text = (paths.ROOT / "tasutils/datasets/published.yaml").read_text(encoding="utf-8")
    sets = yaml.safe_load(text)["datasets"]
    assert sets["refcoco"]["splits"]["unc"]["testA"] == {
        "refs": 1975, "images": 750, "sentences": 5657
    }  # fmt: skip
    totals = {  # Ref-L4 counts the sentences of val and test together
        ("refcoco", "unc"): 21586, ("refcoco+", "unc"): 21373, ("refcocog", "umd"): 14498,
    }  # fmt: skip
    for (name, split_by), total in totals.items():
        splits = sets[name]["splits"][split_by]
        assert sum(c["sentences"] for s, c in splits.items() if s != "train") == total
    assert sets["phrasecut"]["splits"][""]["test"]["refs"] == 14354
    # 345,486 phrases in all, README of PhraseCutDataset; miniv is not part of val
    rows = sets["phrasecut"]["splits"][""]
    assert sum(rows[s]["refs"] for s in ("train", "val", "test")) == 345486


# ---- PhraseCut


@pytest.mark.parametrize("folder", ["phrasecut", "VGPhraseCut_v0", "."])
def test_phrasecut_by_name(tmp_path, folder):
    write_phrasecut(tmp_path, folder)
    data = load_dataset("phrasecut", "test", root=tmp_path)
    assert [s.sample_id for s in data.samples] == ["1__0", "1__1", "2__2", "3__3"]
    assert data.image_path("2").is_file() and data.name == "phrasecut"
    with pytest.raises(TasError, match=r"refer_miniv.json is not there; get it with: tas data g"):
        load_dataset("phrasecut", "miniv", root=tmp_path)
    with pytest.raises(TasError, match="phrasecut has no split 'dev'; it has test, miniv"):
        load_dataset("phrasecut", "dev", root=tmp_path)


def plain_union(task_, truncate=True):
    """Foreground of a task by plain loops: inside or on the outline of any polygon."""
    mask = np.zeros((H, W), bool)
    for polygons in task_["Polygons"]:
        for points in polygons:
            if len(points) < 2:
                continue
            corners = [(int(x), int(y)) for x, y in points]
            (x0, y0), (x1, y1) = np.min(corners, 0), np.max(corners, 0)
            mask[y0 : y1 + 1, x0 : x1 + 1] = True  # for rectangles and level lines
    return mask


def test_ground_truth_is_the_union_with_outline_and_truncated_points(tmp_path):
    shifted = [[x + 0.9, y + 0.9] for x, y in polygon(OVERLAPPING[0])]
    line = [[2.7, 20.2], [9.1, 20.9]]
    several = [
        task(0, 1, "dog", [[polygon(OVERLAPPING[0])], [polygon(OVERLAPPING[1])]]),
        task(1, 1, "dog", [[shifted]]), task(2, 1, "dog", [[line, [[1.0, 1.0]], []]]),
    ]  # fmt: skip
    write_phrasecut(tmp_path, test=several)
    data = load_dataset("phrasecut", "test", root=tmp_path)
    masks = [data.gt_mask(sample) for sample in data.samples]
    for mask, entry in zip(masks, several, strict=True):
        assert (mask == plain_union(entry)).all()
    assert masks[0].sum() == 11 * 17 and masks[1].sum() == 11 * 11  # overlap is foreground
    assert masks[2].sum() == 8 and masks[2][20, 2:10].all()  # two points are a line


def test_phrasecut_numbers_by_hand(tmp_path):
    write_phrasecut(tmp_path)
    data = load_dataset("phrasecut", "test", root=tmp_path)
    gts = {s.sample_id: data.gt_mask(s) for s in data.samples}

    def predict(sample):
        mask = np.zeros((H, W), bool)
        if sample.sample_id == "1__0":  # exact: IoU 1
            return gts["1__0"]
        if sample.sample_id == "1__1":  # 121 of 121 + 9 * 11: single answers are capped
            return gts["1__0"]
        if sample.sample_id == "2__2":  # nothing shared
            mask[20:] = True
            return mask
        return None  # missing

    table = predictions_table(data, predict)
    union = 121 + 9 * 11
    counted, left_out = scores(table), scores(table, missing="left_out")
    area = int(gts["3__3"].sum())
    wrong = int(gts["2__2"].sum()) + 4 * W
    assert counted.loc["all", "n"] == 4 and counted.loc["all", "n_missing"] == 1
    assert left_out.loc["all", "n"] == 3 and left_out.loc["all", "n_missing"] == 1
    assert counted.loc["all", "mean_iou"] == pytest.approx((1 + 121 / union) / 4)
    assert left_out.loc["all", "mean_iou"] == pytest.approx((1 + 121 / union) / 3)
    assert left_out.loc["all", "cum_iou"] == pytest.approx(242 / (121 + union + wrong))
    assert counted.loc["all", "cum_iou"] == pytest.approx(242 / (121 + union + wrong + area))
    assert counted.loc["i_single", "mean_iou"] == pytest.approx(0.5)  # 1__0 and 2__2
    assert left_out.loc["all", "acc@0.5"] == pytest.approx(2 / 3)  # 0.55 is above .5
    assert left_out.loc["all", "acc@0.6"] == pytest.approx(1 / 3)
    assert counted.loc["all", "acc@0.9"] == pytest.approx(1 / 4)
    assert counted.loc["p_rel", "n"] == 0 and counted.loc["p_rel", "mean_iou"] == 0


def test_accuracy_is_strictly_above_the_threshold():
    rows = {
        "chosen": [0, 0], "intersection_px": [1, 3], "union_px": [2, 5], "gt_area_px": [2, 5],
        "n_instances": [1, 2], "n_attributes": [0, 0], "n_relations": [1, 2],
        "phrase_type": ["relation", "relation"], "image_area_px": [10, 10],
    }  # fmt: skip
    found = scores(pd.DataFrame(rows))
    assert found.loc["all", "acc@0.5"] == 0.5 and found.loc["all", "acc@0.6"] == 0
    assert found.loc["i_multi", "mean_iou"] == pytest.approx(0.6)


def test_subsets_as_they_are_described(tmp_path):
    write_phrasecut(tmp_path)
    data = load_dataset("phrasecut", "test", root=tmp_path)
    table = predictions_table(data, lambda sample: None)
    ids = table["sample_id"].to_numpy()
    found = {name: set(ids[mask]) for name, mask in subsets(table).items()}
    assert found["all"] == set(ids) and found["i_many"] == {"3__3"}
    assert found["i_single"] == {"1__0", "2__2"} and found["i_multi"] == {"1__1", "3__3"}
    assert found["p_att"] == {"1__0", "2__2"} and found["p_attm"] == {"2__2"}
    assert found["p_name"] == {"1__1"} and found["p_verbose"] == {"3__3"}
    assert found["p_att+"] == {"1__0", "2__2"} and not found["p_rel"]
    assert found["s_small"] | found["s_mid"] | found["s_large"] == set(ids)
    assert found["s_large"] == {"1__1", "2__2"} and found["s_small"] == set()
    by_code = {name: set(ids[mask]) for name, mask in subsets(table, disjoint=True).items()}
    assert by_code["i_multi"] == {"1__1"} and by_code["i_many"] == {"3__3"}
    with pytest.raises(TasError, match="no column n_instances"):
        subsets(table.drop(columns="n_instances"))


def test_refer_sums_layers_and_global_local_drops_what_overlaps():
    """REFER's mask is a sum of layers: 2 where polygons overlap; TAS keeps it, Global-Local not."""
    from pycocotools import mask as coco

    from tasutils.datasets.shapes import segmentation_mask

    layers = coco.decode(coco.frPyObjects([list(map(float, p)) for p in OVERLAPPING], H, W))
    summed = layers.sum(axis=2)
    assert summed.max() == 2
    assert (segmentation_mask(OVERLAPPING, (H, W), "x") == (summed > 0)).all()
    exclusive = segmentation_mask(OVERLAPPING, (H, W), "x", "exclusive")
    assert (exclusive == (summed == 1)).all() and exclusive.sum() == (summed > 0).sum() - 40


# ---- evaluation, from the command line


def one_run(out):
    (record,) = out.glob("*/run.json")
    return read_run(record)


def test_evaluate_refcoco(tmp_path, seeing, capsys):
    write_refcoco(tmp_path, split_by="google")
    args = ["evaluate", "refcoco", "testA", "--split-by", "google", "--root", str(tmp_path)]
    args += ["--preset", "tiny", "--masks"]
    assert cli.main([*args, "--out", str(tmp_path / "runs")]) == 0
    run = one_run(tmp_path / "runs")
    record = run.record
    assert (record.dataset, record.split_by, record.split) == ("refcoco", "google", "testA")
    assert record.n_used == 3 and "refcoco-google-testA" in run.folder.name
    out = capsys.readouterr().out
    assert "testA tiny (n = 3 sentences, 1 images; 0 without a proposal): oIoU" in out
    assert sorted(p.name for p in (run.folder / "masks").iterdir()) == [
        "1-10.png", "2-20.png", "2-21.png"
    ]  # fmt: skip
    assert set(run.samples()["oracle_iou"]) == {1.0}


def test_evaluate_phrasecut_and_the_original_numbers(tmp_path, seeing, capsys):
    write_phrasecut(tmp_path)
    args = ["evaluate", "phrasecut", "test", "--root", str(tmp_path), "--masks"]
    assert cli.main([*args, "--preset", "tiny", "--out", str(tmp_path / "runs")]) == 0
    out = capsys.readouterr().out
    assert "i_single: mean IoU" in out and "i_multi: mean IoU" in out and "(n = 2, 0 with" in out
    run = one_run(tmp_path / "runs")
    data = load_dataset("phrasecut", "test", root=tmp_path)
    predicted = prediction_files(run.folder / "masks")
    again = scores(predictions_table(data, predicted))
    assert again.loc["all", "mean_iou"] == pytest.approx(run.record.metrics["miou"].value)
    pd.testing.assert_frame_equal(again, scores(run.samples()))
    (run.folder / "masks" / "1__0.png").unlink()
    fewer = scores(predictions_table(data, predicted), missing="left_out")
    assert fewer.loc["all", "n"] == 3 and fewer.loc["all", "n_missing"] == 1
    with pytest.raises(TasError, match="no folder of predictions"):
        prediction_files(tmp_path / "nowhere")


def test_photographs_are_for_the_preset_photo(tmp_path):
    assert default_preset("refcoco", "val") == default_preset("phrasecut", "test") == "photo"
    assert default_preset("refscenes", "val") == "tiny"
    assert default_preset("refscenes", "valP") == default_preset("photos7", "all") == "photo"


def test_evaluate_says_which_image_is_missing(tmp_path, seeing, capsys):
    write_refcoco(tmp_path)
    (tmp_path / "coco" / "train2014" / file_name(2)).unlink()
    args = ["evaluate", "refcoco", "testA", "--root", str(tmp_path), "--out", str(tmp_path / "r")]
    assert cli.main(args) == 2
    assert f"no picture at {tmp_path}" in capsys.readouterr().err
    assert not list((tmp_path / "r").glob("*/run.json"))


@pytest.mark.slow
def test_two_pictures_of_refscenes_as_refcoco_give_the_same_numbers(tmp_path):
    """The whole way through the shipped tiny networks."""
    data = load_dataset("refscenes", "val")
    wanted = data.image_ids[:2]
    source = paths.REFSCENES / "refscenes"
    listed = json.loads((source / "instances.json").read_bytes())
    keep = [e for e in listed["images"] if str(e["id"]) in wanted]
    folder = tmp_path / "coco" / "train2014"
    folder.mkdir(parents=True)
    for entry in keep:
        shutil.copy(data.image_path(str(entry["id"])), folder / entry["file_name"])
    listed["images"] = keep
    ids = {entry["id"] for entry in keep}
    listed["annotations"] = [e for e in listed["annotations"] if e["image_id"] in ids]
    refs = loads_plain((source / "refs(tas).p").read_bytes())
    refs = [ref for ref in refs if ref["image_id"] in ids]
    write_refcoco(tmp_path, refs=refs, content=listed, images=False)
    out = str(tmp_path / "runs")
    common = ["--preset", "tiny", "--limit", "2", "--out", out]
    args = ["evaluate", "refcoco", "val", "--split-by", "unc", "--root", str(tmp_path)]
    assert cli.main([*args, *common]) == 0
    assert cli.main(["evaluate", "refscenes", "val", "--family", "refscenes", *common]) == 0
    runs = {r.record.dataset: r for r in map(read_run, (tmp_path / "runs").glob("*/run.json"))}
    assert runs["refcoco"].record.lam == runs["refscenes"].record.lam
    ours, theirs = (runs[name].samples() for name in ("refscenes", "refcoco"))
    assert len(ours) >= 4 and ours["iou"].max() > 0
    for column in ("sample_id", "chosen", "iou", "oracle_iou", "gt_area_px", "reason"):
        assert ours[column].tolist() == theirs[column].tolist(), column
    assert runs["refcoco"].record.metrics == runs["refscenes"].record.metrics
