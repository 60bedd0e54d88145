"""The doctor of published data sets on miniature trees: complete, damaged and renamed."""

import pytest
from PIL import Image
from published_trees import (
    SQUARE,
    H,
    W,
    annotation,
    file_name,
    image_record,
    instances,
    polygon,
    reference,
    references,
    small_counts,
    task,
    tasks,
    write_mirror,
    write_phrasecut,
    write_refcoco,
    write_zip,
)

from tasutils import cli
from tasutils.datasets.check_phrasecut import check_phrasecut
from tasutils.datasets.check_refcoco import check_refcoco
from tasutils.datasets.findings import KINDS, Findings, box_is_outside
from tasutils.datasets.published import Place


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The published counts of the miniature trees."""
    return small_counts(monkeypatch)


@pytest.fixture
def doctor(tmp_path, capsys):
    """Run `tas data check` on the miniature; returns its exit code, stdout and stderr lines."""

    def run(*args):
        code = cli.main(["data", "check", *args, "--root", str(tmp_path)])
        streams = capsys.readouterr()
        return code, streams.out, streams.err.splitlines()

    return run


def test_complete_trees_are_sound(tmp_path, doctor):
    write_refcoco(tmp_path)
    write_refcoco(tmp_path, split_by="google")
    write_phrasecut(tmp_path)
    code, out, err = doctor("refcoco")
    assert code == 0 and err == []
    lines = out.splitlines()
    assert lines[0].startswith("refcoco unc in ") and lines[0].endswith("coco/train2014")
    assert lines[1].split()[:4] == ["split", "refs", "published", "images"]
    assert lines[3].split() == ["testA", "2", "2", "1", "1", "1", "3", "3"]
    assert lines[4].split()[-1] == "unknown"  # no source states it: not compared
    assert len({len(line) for line in lines[1:4]}) == 1  # aligned
    assert lines[5] == "  sound" and lines[6].startswith("refcoco google in ")
    assert doctor("refcoco", "--split-by", "unc")[1].count("\n  sound\n") == 1
    code, out, err = doctor("phrasecut")
    assert code == 0 and err == [] and "sound" in out and "train" not in out


def test_without_a_name_all_that_is_here_is_examined(tmp_path, doctor, monkeypatch):
    monkeypatch.setattr("tasutils.datasets.doctor.all_splits", lambda: iter(()))
    write_refcoco(tmp_path, "refcoco+")
    write_mirror(tmp_path / "refcocog", named={"val": "validation"})
    code, out, _ = doctor()
    assert "refcoco+ unc" in out and "(mirror jxu124/refcocog)" in out and "refcoco unc" not in out
    assert out.endswith("0 sentences checked, 0 faults\n") and code == 1


def test_what_is_not_here_has_one_command(tmp_path, doctor):
    code, out, err = doctor("refcocog")
    assert code == 1 and len(err) == 2 and all("missing file" in line for line in err)
    assert "there is no folder" in err[0]
    assert f"2 missing files: tas data get refcocog --root {tmp_path}" in out


def test_a_packed_archive_is_seen(tmp_path, doctor):
    write_zip(tmp_path / "refcoco.zip")
    code, out, err = doctor("refcoco")
    assert code == 1
    assert f"unpack {tmp_path / 'refcoco.zip'} with: tas data get refcoco --root {tmp_path}" in out


def test_renamed_files_and_folders(tmp_path, doctor):
    folder = write_refcoco(tmp_path) / "refcoco"
    (folder / "refs(unc).p").rename(folder / "refs_unc.p")
    code, _, err = doctor("refcoco")
    assert code == 1 and "refs_unc.p is there: rename it if it is the same file" in err[0]
    (folder / "refs_unc.p").rename(folder / "refs(unc).p")
    (folder / "instances.json").rename(folder / "instances (1).json")
    code, out, err = doctor("refcoco")
    assert code == 1 and "instances (1).json is there" in err[0]
    assert "testA" in out  # what can be counted is counted
    (folder / "instances (1).json").unlink()
    assert "(there: refs(unc).p)" in doctor("refcoco")[2][0]


def test_images_missing_on_disk_are_capped_with_their_total(tmp_path, doctor):
    images = [image_record(k) for k in range(1, 13)]
    refs = [reference(0) | {"ref_id": k, "image_id": k, "ann_id": k} for k in range(1, 13)]
    content = {
        "images": images, "categories": [],
        "annotations": [annotation(0, id=k, image_id=k) for k in range(1, 13)],
    }  # fmt: skip
    write_refcoco(tmp_path, refs=refs, content=content, images=False)
    code, out, err = doctor("refcoco")
    missing = [line for line in err if line.startswith("missing image: ")]
    assert code == 1 and missing[0] == f"missing image: {file_name(1)}" and len(missing) == 5
    assert "... and 7 more, 12 missing images in all" in err
    assert f"12 missing images: tas data get coco-train2014 --root {tmp_path}, or name" in out
    assert out.splitlines()[2].split()[5] == "0"  # on disk


def test_wrong_counts_are_told_with_the_published_ones(tmp_path, doctor):
    write_refcoco(tmp_path, refs=references()[:2] + [reference(3, split="testC")])
    code, out, err = doctor("refcoco")
    assert code == 1
    assert err == [
        "split with other counts: testA: 1 refs (2), 1 sentences (3)",
        "split with other counts: testB: 0 refs (1), 0 images (1)",
        "split with other counts: testC: a split that was not published",
    ]
    assert "3 splits with other counts: tas data get refcoco" in out


def faults(tmp_path, refs=None, content=None):
    write_refcoco(tmp_path, refs=refs, content=content)
    return check_refcoco("refcoco", root=tmp_path).faults


def changed(ref_id, **changes):
    content = instances()
    content["annotations"] = [
        annotation(k, **(changes if k == ref_id else {})) for k in range(4)
    ]  # fmt: skip
    return content


@pytest.mark.parametrize("points", [0, 1, 2])
def test_polygons_with_too_few_points(tmp_path, points):
    shape = SQUARE[: 2 * points]
    found = faults(tmp_path, content=changed(1, segmentation=[shape, SQUARE]))
    plural = "" if points == 1 else "s"
    assert found == {"points": [f"annotation 101, ref 1 (testA): {points} point{plural}"]}
    found = faults(tmp_path, content=changed(1, segmentation=[shape]))
    assert found["empty"] == ["annotation 101, ref 1 (testA)"] and len(found["points"]) == 1


@pytest.mark.parametrize("box", [
    [-5, 0, 9, 9], [0, 0, W + 3, 5], [0, 0, 5, H + 3], [1, 1, -2, 3], [0, 0, 5], "box", [None] * 4,
])  # fmt: skip
def test_boxes_outside_the_image(tmp_path, box):
    found = faults(tmp_path, content=changed(2, bbox=box))
    assert list(found) == ["box"] and found["box"][0].startswith("annotation 102, ref 2 (testA): ")
    assert box_is_outside(box, (H, W))


def test_boxes_may_stick_out_by_rounding():
    assert not box_is_outside([0.0, -0.3, W + 0.4, H], (H, W))
    assert box_is_outside([float("nan")] * 4, (H, W))


def test_annotations_without_image_and_refs_without_annotation(tmp_path):
    content = instances()
    content["annotations"].append(annotation(0, id=999, image_id=77))
    refs = [*references(), reference(0, ann_id=555, sentences=[]) | {"ref_id": 9}]
    found = faults(tmp_path, refs, content)
    assert found["no_image"] == ["annotation 999 names image 77"]
    assert found["no_annotation"] == ["ref 9 (val) names annotation 555"]


def test_sizes_that_disagree_and_files_that_are_no_pictures(tmp_path):
    write_refcoco(tmp_path)
    folder = tmp_path / "coco" / "train2014"
    Image.new("RGB", (W + 1, H)).save(folder / file_name(1))
    (folder / file_name(2)).write_bytes(b"<html>not found</html>")
    turned = Image.new("RGB", (H, W))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(folder / file_name(3), exif=exif)  # upright it is W x H, as annotated
    found = check_refcoco("refcoco", root=tmp_path).faults
    assert list(found) == ["size"] and len(found["size"]) == 2
    assert f"{file_name(1)} is {W + 1} x {H} px, annotated as {W} x {H}" in found["size"]


@pytest.mark.parametrize("kind, change", [
    ("record", {"ann_id": None}), ("record", {"image_id": 2}), ("record", {"image_id": 99}),
])  # fmt: skip
def test_damaged_references_are_named_and_the_others_examined(tmp_path, kind, change):
    refs = [reference(0, **change), *references()[1:]]
    content = changed(1, segmentation=[SQUARE[:4]])
    found = faults(tmp_path, refs, content)
    assert found[kind] and "points" in found


@pytest.mark.parametrize("shape", ["abc", [[1, 2, 3]], [["a"] * 6], {"size": [H, W]}, [[1e9] * 6]])
def test_shapes_that_cannot_be_drawn(tmp_path, shape):
    found = faults(tmp_path, content=changed(3, segmentation=shape))
    assert list(found) == ["shape"] and "ref 3 (testB)" in found["shape"][0]
    assert "\n" not in found["shape"][0]


def test_a_path_that_leaves_the_image_folder(tmp_path):
    content = instances()
    content["images"][0]["file_name"] = "../../etc/passwd"
    assert "image 1 is not listed with file name" in faults(tmp_path, content=content)["record"][0]


@pytest.mark.parametrize("name, raw", [
    ("refs(unc).p", b"\x80\x02"), ("refs(unc).p", b"cos\nsystem\n."), ("instances.json", b"{"),
    ("instances.json", b"{}"), ("refs(unc).p", b"}."),
])  # fmt: skip
def test_damaged_files(tmp_path, doctor, name, raw):
    write_refcoco(tmp_path)
    (tmp_path / "refcoco" / name).write_bytes(raw)
    code, out, err = doctor("refcoco")
    assert code == 1 and any(name in line for line in err) and "tas data get refcoco" in out


def test_mirror(tmp_path, doctor):
    write_refcoco(tmp_path / "other")
    write_mirror(tmp_path / "refcoco")
    images = str(tmp_path / "other" / "coco" / "train2014")
    code, out, err = doctor("refcoco", "--images", images)
    assert code == 0, err
    assert "(mirror jxu124/refcoco)" in out and "sound" in out
    next((tmp_path / "refcoco").glob("test-*")).write_bytes(b"PAR1")
    code, out, err = doctor("refcoco", "--images", images)
    assert code == 1 and "damaged" in err[0]


def test_phrasecut_faults_all_at_once(tmp_path):
    near = [polygon(SQUARE)]
    test = [
        *tasks(),
        task(4, 1, "far", [near], instance_boxes=[[0, 0, 99, 5]]),
        task(5, 1, "two boxes", [near], instance_boxes=[[0, 0, 1, 1], [0, 0, 2, 2]]),
        task(6, 1, "no points", [[[], [[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]]]]),
        task(7, 1, "one point", [[[[1.0, 2.0]]]]),
        task(8, 42, "unknown image", [near]),
        task(9, 1, "damaged", [near], Polygons=[[[[1, 2, 3]]]]),
        task(10, 1, "damaged", [near], Polygons=[7]),
        {"task_id": "x"},
    ]
    write_phrasecut(tmp_path, test=test)
    found = check_phrasecut(root=tmp_path).faults
    assert found["box"] == [f"task 1__4: [0, 0, 99, 5] in {W} x {H} px"]
    assert "task 1__5: 2 boxes but 1 instances" in found["record"]
    assert "task 42__8: image 42 is not listed with its size" in found["record"]
    assert "test task 11 of the file has no image_id" in found["record"]
    assert [line for line in found["points"] if "1__6" in line] == [
        "task 1__6: 0 points", "task 1__6: 1 point", "task 1__6: 2 points"
    ]  # fmt: skip
    assert found["empty"] == ["task 1__7"]  # two points are a line, so 1__6 has pixels
    assert len(found["shape"]) == 2
    assert found["count"] == ["test: 12 refs (4), 5 images (3), 12 sentences (4)"]


def test_phrasecut_without_its_files(tmp_path, doctor):
    write_phrasecut(tmp_path, name="image_data.json", images=False)
    code, out, err = doctor("phrasecut")
    assert code == 1 and "image_data_split3000.json; image_data.json is there" in err[0]
    (tmp_path / "phrasecut" / "image_data.json").rename(
        tmp_path / "phrasecut" / "image_data_split.json"
    )
    code, out, err = doctor("phrasecut")
    assert code == 1 and [line for line in err if line.startswith("missing image: ")]
    assert "3 missing images: tas data get visual-genome" in out
    (tmp_path / "phrasecut" / "refer_test.json").write_text("{")
    assert "damaged JSON" in doctor("phrasecut")[2][0]
    (tmp_path / "phrasecut" / "refer_test.json").unlink()
    assert "missing file: " in doctor("phrasecut")[2][0]


def test_mistakes_of_the_command(tmp_path, capsys):
    assert cli.main(["data", "check", "imagenet"]) == 2
    assert "no published data set 'imagenet'; there are refcoco" in capsys.readouterr().err
    assert cli.main(["data", "check", "refcoco", "--split-by", "umd"]) == 2
    assert "refcoco has no splits by 'umd'" in capsys.readouterr().err
    assert cli.main(["data", "get", "imagenet"]) == 2
    assert "nothing is known of 'imagenet'" in capsys.readouterr().err


def test_list_has_the_published_counts_beside_the_found(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tasutils.datasets.doctor.all_splits", lambda: iter(()))
    write_refcoco(tmp_path)
    write_mirror(tmp_path / "refcocog", named={"testA": "test"})
    (tmp_path / "phrasecut").mkdir()
    (tmp_path / "phrasecut" / "refer_test.json").write_text("{")
    assert cli.main(["data", "list", "--root", str(tmp_path)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    cells = {tuple(line.split()[:3]): line.split()[3:] for line in lines}
    assert cells[("refcoco", "unc", "testA")] == ["2", "2", "1", "1", "3", "3"]
    assert cells[("refcoco", "google", "val")] == ["-", "1", "-", "1", "-", "2"]
    assert cells[("refcoco+", "unc", "testB")] == ["-", "1", "-", "1", "-", "unknown"]
    assert f"phrasecut is damaged: tas data check phrasecut --root {tmp_path}" in lines
    assert lines[-1].startswith("- is not here; to fetch it: tas data get refcoco | refcoco+ | ref")


def test_every_kind_of_fault_has_its_remedy(tmp_path):
    found = Findings("refcoco", "unc", Place(tmp_path, tmp_path, {}))
    for kind in KINDS:
        found.add(kind, "x")
        found.add(kind, "y")
    lines = list(found.remedies())
    assert len(lines) == len(KINDS) and all("{" not in line for line in lines)
    assert len(list(found.fault_lines())) == 2 * len(KINDS) == found.n_faults
