"""Published data sets by name, in every layout in which they are published; their doctor."""

import hashlib
import re
import shutil
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pandas as pd
import published_trees as trees
import pytest
import yaml
from PIL import Image
from published_trees import OVERLAPPING, H, W

from tasutils import cli, paths
from tasutils.datasets import dataset, load_dataset
from tasutils.datasets.phrasecut import scores, subsets
from tasutils.datasets.published import FileSet, file_sets, get_data
from tasutils.errors import TasError
from tasutils.runs import read_run


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The published counts of the miniature trees."""
    return trees.small_counts(monkeypatch)


@pytest.mark.parametrize("name, split_by", [("refcoco", "google"), ("refcocog", "umd")])
def test_published_layout_by_name(tmp_path, name, split_by):
    trees.write_refcoco(tmp_path, name, split_by)
    data = load_dataset(name, "testA", split_by, root=tmp_path)
    assert (data.name, data.split, data.split_by) == (name, "testA", split_by)
    assert [s.sample_id for s in data.samples] == ["1-10", "2-20", "2-21"]
    assert data.image_path("2") == tmp_path / "coco" / "train2014" / trees.file_name(2)
    if split_by == dataset(name).entry.split_by:
        assert load_dataset(name, "testA", root=tmp_path).samples == data.samples


def test_where_it_may_lie(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "DATA", trees.write_refcoco(tmp_path))
    assert len(load_dataset("refcoco", "val")) == 2
    data = load_dataset("refcoco", "val", root=tmp_path / "refcoco")
    assert data.name == "refcoco" and data.image_path("1").is_file()
    elsewhere = load_dataset("refcoco", "val", root=tmp_path, images=tmp_path / "pictures")
    assert elsewhere.image_path("1") == tmp_path / "pictures" / trees.file_name(1)
    for folder in ("train2014", "images/mscoco/images/train2014"):
        (tmp_path / folder).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(data.image_path("1").parent, tmp_path / folder)
        data = load_dataset("refcoco", "val", root=tmp_path)
        assert data.image_path("1").parent == tmp_path / folder


def test_mistakes_name_what_there_is(tmp_path):
    trees.write_refcoco(tmp_path)
    for arguments, message in [
        (("refcoco", "dev"), "refcoco unc has no split 'dev'; it has val, testA, testB"),
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


# ---- mirrors


@pytest.mark.parametrize("folder, shards", [("refcoco", 1), ("refcoco/data", 2)])
def test_mirror_where_test_a_is_called_test(tmp_path, folder, shards, small):
    trees.write_refcoco(tmp_path / "published")
    place = trees.write_mirror(tmp_path / folder, shards=shards)
    images = tmp_path / "published" / "coco" / "train2014"
    for split in ("val", "testA", "testB", "test"):
        theirs = load_dataset("refcoco", split, root=tmp_path, images=images)
        ours = load_dataset("refcoco", split, root=tmp_path / "published")
        assert theirs.notes == ours.notes
        for a, b in zip(theirs.samples, ours.samples, strict=True):
            assert replace(a, category="dog") == b and a.category == "18"
            assert (theirs.gt_mask(a) == ours.gt_mask(b)).all()
            assert theirs.image_path(a.image_id).is_file()
    assert ours.notes == ("refcoco test: testA and testB together, as REFER takes it",)
    with pytest.raises(TasError, match="holds the splits by unc only"):
        load_dataset("refcoco", "val", "google", root=tmp_path)
    next(place.glob("test-*")).unlink()
    words = (
        r"1 of the 2 files of refcoco testA; get the others: test-|no test-\*.parquet for refcoco"
    )
    with pytest.raises(TasError, match=words):
        load_dataset("refcoco", "testA", root=tmp_path)


def test_the_mirror_of_refcocog_keeps_its_test(tmp_path, small):
    trees.write_mirror(tmp_path / "refcocog", named={"testA": "test"})
    small["refcocog"].splits["umd"]["test"] = small["refcocog"].splits["umd"]["testA"]
    assert len(load_dataset("refcocog", "test", root=tmp_path)) == 3


def test_damaged_mirror_and_published_files_before_it(tmp_path):
    place = trees.write_mirror(tmp_path / "refcoco", drop=("raw_anns",))
    with pytest.raises(TasError, match="no column raw_anns; this is no file of the mirror"):
        load_dataset("refcoco", "val", root=tmp_path)
    for path in place.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(TasError, match="damaged"):
        load_dataset("refcoco", "val", root=tmp_path)
    trees.write_refcoco(tmp_path)
    assert load_dataset("refcoco", "val", root=tmp_path).samples[0].category == "dog"


# ---- fetching


def bars(name):
    return nullcontext(lambda done, total: None)


def test_a_zip_that_lies_there_is_unpacked(tmp_path, capsys):
    trees.write_zip(tmp_path / "refcoco.zip")
    with pytest.raises(TasError, match="unpack its zip. with: tas data get refcoco"):
        load_dataset("refcoco", "val", root=tmp_path)
    assert cli.main(["data", "get", "refcoco", "--root", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "Apache-2.0" in out and "https://web.archive.org/" in out
    assert "as it lay there" in out and "not 53993993 as published" in out
    assert (tmp_path / "refcoco.zip").is_file() and not (tmp_path / "__MACOSX").exists()
    assert len(load_dataset("refcoco", "val", root=tmp_path)) == 2


def test_get_fetches_verifies_and_unpacks(tmp_path, monkeypatch):
    """From a file address, so that no network is needed."""
    source = trees.write_zip(tmp_path / "source.zip")
    part = {
        "url": source.as_uri(), "name": "refcoco.zip", "bytes": source.stat().st_size,
        "sha256": hashlib.sha256(source.read_bytes()).hexdigest(), "md5": None, "from": ["x"],
    }  # fmt: skip

    def publish(**changes):
        chosen = {"terms": "", "terms_from": "", "parts": [part | changes], "into": ".", "flat": 0}
        sets = {"refcoco": FileSet.model_validate(chosen)}
        monkeypatch.setattr("tasutils.datasets.published.file_sets", lambda: sets)

    publish()
    *terms, line = get_data("refcoco", bars, tmp_path / "data")
    assert (
        len(terms) == 2 and "2 files" in line and not (tmp_path / "data" / "refcoco.zip").exists()
    )
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
    for told in ("fetched", "there already"):
        *_, line = get_data("refcoco", bars, tmp_path / "third")
        assert line == f"refer_test.json: {told}"
    with pytest.raises(TasError, match="nothing is known of 'imagenet'; there are refcoco"):
        list(get_data("imagenet", bars))


def test_nothing_stands_without_a_source_and_counts_add_up():
    text = (paths.ROOT / "tasutils/datasets/published.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    sets, parts = (
        content["datasets"].values(),
        [p for f in content["files"].values() for p in f["parts"]],
    )
    named = {key for entry in sets for keys in entry["counts_from"].values() for key in keys}
    named |= {key for part in parts for key in part["from"]}
    named |= {files["terms_from"] for files in content["files"].values()}
    assert named == set(content["sources"]) and set(file_sets()) == set(content["files"])
    assert all(part["from"] for part in parts)
    for digest, n in (("sha256", 64), ("md5", 32)):
        stated = [part[digest] for part in parts if part[digest]]
        assert all(re.fullmatch(f"[0-9a-f]{{{n}}}", value) for value in stated)
    splits = {name: entry["splits"] for name, entry in content["datasets"].items()}
    totals = {  # Ref-L4 counts the sentences of val and test together
        ("refcoco", "unc"): 21586, ("refcoco+", "unc"): 21373, ("refcocog", "umd"): 14498,
    }  # fmt: skip
    for (name, by), total in totals.items():
        assert sum(c["sentences"] for s, c in splits[name][by].items() if s != "train") == total
    # 345,486 phrases in all, README of PhraseCutDataset; miniv is not part of val
    assert sum(splits["phrasecut"][""][s]["refs"] for s in ("train", "val", "test")) == 345486


# ---- PhraseCut


@pytest.mark.parametrize("folder", ["phrasecut", "VGPhraseCut_v0", "."])
def test_phrasecut_by_name(tmp_path, folder):
    trees.write_phrasecut(tmp_path, folder)
    data = load_dataset("phrasecut", "test", root=tmp_path)
    assert [s.sample_id for s in data.samples] == ["1__0", "1__1", "2__2", "3__3"]
    assert data.image_path("2").is_file() and data.name == "phrasecut"
    with pytest.raises(TasError, match=r"refer_miniv.json is not there; get it with: tas data g"):
        load_dataset("phrasecut", "miniv", root=tmp_path)
    with pytest.raises(TasError, match="phrasecut has no split 'dev'; it has test, miniv"):
        load_dataset("phrasecut", "dev", root=tmp_path)


def plain_union(task_):
    """Foreground of a task by plain loops: inside or on the outline of any upright rectangle."""
    mask = np.zeros((H, W), bool)
    for points in (points for polygons in task_["Polygons"] for points in polygons):
        if len(points) > 1:
            corners = [(int(x), int(y)) for x, y in points]
            (x0, y0), (x1, y1) = np.min(corners, 0), np.max(corners, 0)
            mask[y0 : y1 + 1, x0 : x1 + 1] = True
    return mask


def test_truth_is_the_union_with_outline_and_truncated_points(tmp_path):
    shifted = [[x + 0.9, y + 0.9] for x, y in trees.polygon(OVERLAPPING[0])]
    line = [[2.7, 20.2], [9.1, 20.9]]
    several = [
        trees.task(0, 1, "dog", [[trees.polygon(OVERLAPPING[0])], [trees.polygon(OVERLAPPING[1])]]),
        trees.task(1, 1, "dog", [[shifted]]), trees.task(2, 1, "dog", [[line, [[1.0, 1.0]], []]]),
    ]  # fmt: skip
    trees.write_phrasecut(tmp_path, test=several)
    data = load_dataset("phrasecut", "test", root=tmp_path)
    masks = [data.gt_mask(sample) for sample in data.samples]
    for mask, entry in zip(masks, several, strict=True):
        assert (mask == plain_union(entry)).all()
    assert masks[0].sum() == 11 * 17 and masks[1].sum() == 11 * 11  # overlap is foreground
    assert masks[2].sum() == 8 and masks[2][20, 2:10].all()  # two points are a line


def answered(data, masks):
    """A run's table of masks by task, a task without one missing."""
    rows = []
    for sample in data.samples:
        gt, mask = data.gt_mask(sample), masks.get(sample.sample_id)
        area, given = int(gt.sum()), np.zeros_like(gt) if mask is None else mask
        rows.append({
            "sample_id": sample.sample_id, **sample.flags, "chosen": -1 if mask is None else 0,
            "intersection_px": (given & gt).sum(), "union_px": (given | gt).sum(),
            "gt_area_px": area,
        })  # fmt: skip
    return pd.DataFrame(rows)


def test_phrasecut_numbers_by_hand(tmp_path):
    trees.write_phrasecut(tmp_path)
    data = load_dataset("phrasecut", "test", root=tmp_path)
    gts = {s.sample_id: data.gt_mask(s) for s in data.samples}
    strip = np.zeros((H, W), bool)
    strip[20:] = True
    # exact; one of two instances, 121 of 121 + 9 * 11; nothing shared; the last one is missing
    said = {"1__0": gts["1__0"], "1__1": gts["1__0"], "2__2": strip}
    table = answered(data, said)
    ours, published = scores(table), scores(table, as_published=True)
    union, area = 121 + 9 * 11, int(gts["3__3"].sum())
    wrong = int(gts["2__2"].sum()) + 4 * W
    assert ours.loc["all", ["n", "n_missing"]].tolist() == [4, 1]
    assert published.loc["all", ["n", "n_missing"]].tolist() == [3, 1]
    assert ours.loc["all", "mean_iou"] == pytest.approx((1 + 121 / union) / 4)
    assert published.loc["all", "mean_iou"] == pytest.approx((1 + 121 / union) / 3)
    assert published.loc["all", "cum_iou"] == pytest.approx(242 / (121 + union + wrong))
    assert ours.loc["all", "cum_iou"] == pytest.approx(242 / (121 + union + wrong + area))
    assert ours.loc["i_single", "mean_iou"] == pytest.approx(0.5)  # 1__0 and 2__2
    assert published.loc["all", "acc@0.5"] == pytest.approx(2 / 3)  # 0.55 is above .5
    assert published.loc["all", "acc@0.6"] == pytest.approx(1 / 3)
    assert ours.loc["p_rel", ["n", "mean_iou"]].tolist() == [0, 0]


def test_subsets_as_they_are_described(tmp_path):
    trees.write_phrasecut(tmp_path)
    data = load_dataset("phrasecut", "test", root=tmp_path)
    table = answered(data, {})
    ids = table["sample_id"].to_numpy()
    found = {name: set(ids[mask]) for name, mask in subsets(table).items()}
    one, two, three, many = ids
    assert found == {
        "all": {*ids}, "i_single": {one, three}, "i_multi": {two, many}, "i_many": {many},
        "p_name": {two}, "p_att": {one, three}, "p_att+": {one, three}, "p_rel": set(),
        "p_rel+": set(), "p_verbose": {many}, "p_attm": {three}, "p_relm": set(),
        "p_att_rel": set(), "s_small": set(), "s_mid": {one, many}, "s_large": {two, three},
    }  # fmt: skip
    by_code = subsets(table, as_published=True)
    assert ids[by_code["i_multi"]].tolist() == [two] and ids[by_code["i_many"]].tolist() == [many]
    with pytest.raises(TasError, match="n_instances.* those of PhraseCut"):
        subsets(table.drop(columns="n_instances"))


# ---- the doctor


@pytest.fixture
def doctor(tmp_path, capsys):
    """Run `tas data check` on the miniature; returns its exit code, stdout and stderr lines."""

    def run(*args):
        code = cli.main(["data", "check", *args, "--root", str(tmp_path)])
        streams = capsys.readouterr()
        return code, streams.out, streams.err.splitlines()

    return run


def test_complete_trees_are_sound(tmp_path, doctor):
    trees.write_refcoco(tmp_path)
    trees.write_refcoco(tmp_path, split_by="google")
    trees.write_phrasecut(tmp_path)
    code, out, err = doctor("refcoco")
    lines = out.splitlines()
    assert code == 0 and err == []
    assert lines[0].startswith("refcoco unc in ") and lines[0].endswith("coco/train2014")
    assert lines[3].split() == ["testA", "2", "2", "1", "1", "3", "3", "1"]
    assert lines[4].split()[-2] == "unknown"  # no source states it: not compared
    assert lines[5] == "  sound" and lines[6].startswith("refcoco google in ")
    code, out, err = doctor("phrasecut")
    assert code == 0 and err == [] and "sound" in out and "miniv" not in out


def test_without_a_name_all_that_is_here_is_examined(tmp_path, doctor, monkeypatch):
    monkeypatch.setattr("tasutils.datasets.doctor.shipped", lambda: iter(()))
    trees.write_refcoco(tmp_path, "refcoco+")
    trees.write_mirror(tmp_path / "refcocog", named={"val": "validation"})
    code, out, _ = doctor()
    assert "refcoco+ unc" in out and "(mirror jxu124/refcocog)" in out and "refcoco unc" not in out
    assert out.endswith("0 sentences checked, 0 faults\n") and code == 1


def test_missing_images_are_capped_with_their_total(tmp_path, doctor):
    refs = [trees.reference(0) | {"ref_id": k, "image_id": k, "ann_id": k} for k in range(1, 13)]
    content = {
        "images": [trees.image_record(k) for k in range(1, 13)], "categories": [],
        "annotations": [trees.annotation(0, id=k, image_id=k) for k in range(1, 13)],
    }  # fmt: skip
    trees.write_refcoco(tmp_path, refs=refs, content=content, images=False)
    code, out, err = doctor("refcoco")
    missing = [line for line in err if line.startswith("missing image: ")]
    assert code == 1 and missing[0] == f"missing image: {trees.file_name(1)}" and len(missing) == 5
    assert "... and 7 more, 12 in all: missing image" in err
    assert f"missing image: 12; tas data get coco-train2014 --root {tmp_path}, or name" in out
    assert out.splitlines()[2].split()[-1] == "0"  # on disk


def test_sizes_that_disagree_and_files_that_are_no_pictures(tmp_path, doctor):
    trees.write_refcoco(tmp_path)
    folder = tmp_path / "coco" / "train2014"
    Image.new("RGB", (W + 1, H)).save(folder / trees.file_name(1))
    (folder / trees.file_name(2)).write_bytes(b"<html>not found</html>")
    turned = Image.new("RGB", (H, W))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(folder / trees.file_name(3), exif=exif)  # upright it is W x H, as annotated
    _, _, err = doctor("refcoco")
    assert len(err) == 2 and all(line.startswith("image of another size: ") for line in err)
    assert err[0].endswith(f"{trees.file_name(1)} is {W + 1} x {H} px, annotated as {W} x {H}")


@pytest.mark.parametrize("tree, words", [
    ({"refs": trees.references()[:2] + [trees.reference(3)]},
     "split with other counts: testA: 1 refs (2), 1 sentences (3)"),
    ({"content": trees.changed(3, segmentation="abc")}, "missing or damaged file: "),
    ({"content": trees.changed(3, segmentation=[[1, 2, 3]])}, "truth that cannot be drawn: "),
    ({"content": trees.changed(3, segmentation=[])}, "target without a pixel: refcoco testB: ref"),
])  # fmt: skip
def test_wrong_counts_and_shapes_that_cannot_be_drawn(tmp_path, doctor, tree, words):
    trees.write_refcoco(tmp_path, **tree)
    code, out, err = doctor("refcoco")
    assert code == 1 and len(err) == 1 and err[0].startswith(words)
    assert "content" not in tree or "ref 3" in err[0]
    assert f"{words.partition(':')[0]}: 1; " in out


@pytest.mark.parametrize("name, raw, words", [
    ("refs(unc).p", b"\x80\x02", "damaged pickle"), ("refs(unc).p", b"cos\nsystem\n.", "refused"),
    ("instances.json", b"\xff\xfe", "damaged JSON"), ("instances.json", b"{}", "no list under 'im"),
    ("instances.json", b"[" * 10**5, "damaged JSON"),
    ("refs(unc).p", b"}.", "no list at its top"), ("", b"", "refcoco is not at"),
    ("refs(unc).p", "refs_unc.p", "refs_unc.p is there: rename it if it is the same file"),
    ("instances.json", "instances (1).json", r"instances \(1\).json is there: rename it"),
])  # fmt: skip
def test_missing_and_damaged_files_have_one_command(tmp_path, doctor, name, raw, words):
    if name:
        path = trees.write_refcoco(tmp_path) / "refcoco" / name
        path.write_bytes(raw) if isinstance(raw, bytes) else path.rename(path.with_name(raw))
    code, out, err = doctor("refcoco")
    assert code == 1 and len(err) == 1 and re.search(words, err[0]) and name in err[0]
    assert f"missing or damaged file: 1; tas data get refcoco --root {tmp_path}" in out


def test_phrasecut_without_its_files(tmp_path, doctor):
    place = trees.write_phrasecut(tmp_path, name="image_data.json", images=False) / "phrasecut"
    assert "image_data.json is there" in doctor("phrasecut")[2][0]
    (place / "image_data.json").rename(place / "image_data_split.json")
    code, out, err = doctor("phrasecut")
    assert code == 1 and "missing image: 3; tas data get visual-genome" in out
    (place / "refer_test.json").write_text("{")
    assert "damaged JSON" in doctor("phrasecut")[2][0]


def test_list_has_the_published_counts_beside_the_found(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tasutils.datasets.doctor.shipped", lambda: iter(()))
    trees.write_refcoco(tmp_path)
    trees.write_mirror(tmp_path / "refcocog", named={"testA": "test"})
    (tmp_path / "phrasecut").mkdir()
    (tmp_path / "phrasecut" / "refer_test.json").write_text("{")
    assert cli.main(["data", "list", "--root", str(tmp_path)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    cells = {tuple(line.split()[:3]): line.split()[3:] for line in lines}
    assert cells[("refcoco", "unc", "testA")] == ["2", "2", "1", "1", "3", "3"]
    assert cells[("refcoco", "google", "val")] == ["-", "1", "-", "1", "-", "2"]
    assert cells[("refcoco+", "unc", "testB")] == ["-", "1", "-", "1", "-", "unknown"]
    assert f"phrasecut is damaged: tas data check phrasecut --root {tmp_path}" in lines
    absent = "refcoco+ | grefcoco | refcoco-m"
    assert lines[-1] == f"- is not here; to fetch it: tas data get {absent} --root {tmp_path}"


# ---- evaluation, from the command line


def one_run(out):
    (record,) = out.glob("*/run.json")
    return read_run(record)


def test_evaluate_refcoco(tmp_path, seeing, capsys):
    content = trees.changed(1, segmentation=[[]])
    trees.write_refcoco(tmp_path, split_by="google", content=content)
    args = ["evaluate", "refcoco", "testA", "--split-by", "google", "--root", str(tmp_path)]
    args += ["--preset", "tiny", "--masks"]
    assert cli.main([*args, "--out", str(tmp_path / "runs")]) == 0
    run = one_run(tmp_path / "runs")
    record = run.record
    assert (record.dataset, record.split_by, record.split) == ("refcoco", "google", "testA")
    assert record.n_used == 3 and "refcoco-google-testA" in run.folder.name
    out, err = capsys.readouterr()
    assert "note: refcoco testA: a target without a pixel" in err and "1 sentence (1-10)" in err
    assert "testA tiny (n = 3 sentences, 1 images; 0 without a proposal): oIoU" in out
    assert sorted(p.name for p in (run.folder / "masks").iterdir()) == [
        "1-10.png", "2-20.png", "2-21.png"
    ]  # fmt: skip
    assert run.samples["oracle_iou"].tolist() == [0.0, 1.0, 1.0]


def test_evaluate_phrasecut_and_the_original_numbers(tmp_path, seeing, capsys):
    trees.write_phrasecut(tmp_path)
    args = ["evaluate", "phrasecut", "test", "--root", str(tmp_path), "--masks"]
    assert cli.main([*args, "--preset", "tiny", "--out", str(tmp_path / "runs")]) == 0
    out = capsys.readouterr().out
    assert "i_single: mean IoU" in out and "i_multi: mean IoU" in out and "(n = 2, 0 with" in out
    run = one_run(tmp_path / "runs")
    assert cli.main(["compare", str(run.folder)]) == 0
    assert "by PhraseCut's own evaluator" in capsys.readouterr().out
    data = load_dataset("phrasecut", "test", root=tmp_path)
    masks = {
        path.stem: np.asarray(Image.open(path)) > 0 for path in (run.folder / "masks").iterdir()
    }
    again = scores(answered(data, masks))
    assert again.loc["all", "mean_iou"] == pytest.approx(run.record.metrics["miou"].value)
    pd.testing.assert_frame_equal(again, scores(run.samples))


def test_photographs_are_for_the_preset_photo():
    assert dataset("refcoco").preset("val") == dataset("phrasecut").preset("test") == "photo"
    assert dataset("refscenes").preset("val") == "tiny"
    assert dataset("refscenes").preset("valP") == dataset("photos7").preset("all") == "photo"
