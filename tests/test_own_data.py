"""Own pictures with sentences: what is read, what is refused and in which words, and the run."""

import csv
import json
from itertools import product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from published_trees import Boxes, H, W, compressed, draw_images, uncompressed

from tasutils import cli
from tasutils.datasets import dataset, load_dataset
from tasutils.datasets.own import read_own
from tasutils.errors import TasError
from tasutils.runs import read_run

SQUARE = [4, 4, 14, 4, 14, 14, 4, 14]
ALL = ("image", "expression", "mask", "value")


def square():
    mask = np.zeros((H, W), bool)
    mask[4:14, 4:14] = True
    return mask


@pytest.fixture
def folder(tmp_path):
    """Pictures a.png, b.png, c.png of 32 x 24 px, and masks of several kinds."""
    draw_images(tmp_path, ["a.png", "b.png", "c.png"])
    place = tmp_path / "masks"
    place.mkdir()
    labels = square().astype(np.uint8)
    labels[6:16, 20:28] = 2
    grey = Image.fromarray(labels)
    palette = grey.copy()
    palette.putpalette([0, 0, 0, 0, 0, 0, 255, 0, 0])  # labels 0 and 1 are both black
    for name, picture in {
        "labels.png": grey, "palette.png": palette, "bits.png": Image.fromarray(square()),
        "square.png": Image.fromarray(square().astype(np.uint8) * 255).convert("RGB"),
        "empty.png": Image.new("L", (W, H)), "turned.png": Image.fromarray(labels.T),
        "lossy.jpg": grey,
    }.items():  # fmt: skip
        picture.save(place / name)
    (place / "damaged.png").write_bytes((place / "labels.png").read_bytes()[:40])
    (place / "square.json").write_text(json.dumps(compressed(square())))
    return tmp_path


def write_csv(folder, rows, header=("image", "expression", "mask"), name="my.csv", **options):
    path = folder / name
    with path.open("w", newline="", encoding=options.pop("encoding", "utf-8")) as file:
        csv.writer(file, **options).writerows([header, *rows])
    return path


def test_every_form_of_mask_gives_the_same(folder):
    forms = [
        ("masks/square.png", ""), ("masks/bits.png", ""), ("masks/square.json", ""),
        ("masks/labels.png", "1"), ("masks/palette.png", "1"),
        (str(folder / "masks/bits.png"), "1"),
        *((json.dumps(shape(square())), "") for shape in (compressed, uncompressed)),
        (json.dumps([SQUARE]), ""),
    ]  # fmt: skip
    path = write_csv(folder, [("a.png", f"thing {k}", *f) for k, f in enumerate(forms)], ALL)
    data = load_dataset("own", str(path))
    assert (data.name, data.split, len(data)) == ("own", "my", len(forms))
    assert [s.sample_id for s in data.samples] == [str(k + 2) for k in range(len(forms))]
    for sample in data.samples:
        assert (data.gt_mask(sample) == square()).all(), sample.text
    assert data.image_ids == ("a.png",) and not data.without_mask
    assert mask_of(folder, "masks/labels.png").sum() == 180  # without a value whatever is not 0


def test_json_lines(folder):
    rows = [
        {"image": "a.png", "expression": " the red dog ", "mask": [SQUARE], "note": "x", "n": 3},
        {"image": "./a.png", "expression": "two things", "mask": "masks/labels.png", "value": 2},
        {"image": "b.png", "expression": "le chien à gauche", "category": "dog"},
    ]
    path = folder / "own.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8")
    data = load_dataset("own", path)
    assert [s.text for s in data.samples] == ["the red dog", "two things", "le chien à gauche"]
    assert data.samples[0].flags == {"note": "x", "n": "3"}
    assert data.samples[2].category == "dog" and data.without_mask == {"3"}
    assert data.image_ids == ("a.png", "b.png")  # ./a.png is the same picture
    assert data.gt_mask(data.samples[1]).sum() == 80
    assert not data.gt_mask(data.samples[2]).any()


@pytest.mark.parametrize("options", [
    {"delimiter": ";"}, {"delimiter": "\t"}, {"encoding": "utf-8-sig"}, {"quoting": csv.QUOTE_ALL},
    {"lineterminator": "\n"},
])  # fmt: skip
def test_what_spreadsheets_write(folder, options):
    rows = [("a.png", 'the dog, left; "big"', ""), ("b.png", "two\nlines", "")]
    path = write_csv(folder, rows, ("Image", " Expression ", "MASK"), **options)
    data = load_dataset("own", path)
    assert [s.text for s in data.samples] == ['the dog, left; "big"', "two\nlines"]


def test_pictures_may_lie_in_another_folder(folder, tmp_path):
    (tmp_path / "lists").mkdir()
    path = write_csv(tmp_path / "lists", [("a.png", "dog", "")])
    with pytest.raises(TasError, match="line 2: no picture at"):
        load_dataset("own", path)
    assert len(load_dataset("own", path, images=tmp_path)) == 1


BAD = [
    (("nowhere.png", "dog", "", ""), "no picture at"),
    (("masks/square.json", "dog", "", ""), "no picture that Pillow can read"),
    (("a.png", "  ", "", ""), "no words in column expression"),
    (("", "dog", "", ""), "no picture in column image"),
    (("a.png", "dog", "masks/no.png", ""), "no mask at"),
    (("a.png", "dog", "masks/damaged.png", ""), "no picture that Pillow can read"),
    (("a.png", "dog", "masks/empty.png", ""), "no pixel that is not 0"),
    (("a.png", "dog", "masks/turned.png", ""), "the mask is 24 x 32 px, its picture 32 x 24"),
    (("a.png", "dog", "masks/lossy.jpg", ""), "JPEG blurs masks; export the mask anew"),
    (("a.png", "dog", "masks/labels.png", "7"), "no pixel with value 7; there are 0, 1, 2"),
    (("a.png", "dog", "masks/labels.png", "one"), "value 'one' is no whole number"),
    (("a.png", "dog", "masks/square.png", "1"), "a value goes with a PNG of one channel"),
    (("a.png", "dog", "", "1"), "a value '1' but no mask"),
    (("a.png", "dog", "[[1, 2", ""), "mask: no JSON ("),
    (("a.png", "dog", "[[1, 2, 3, 4]]", ""), "a polygon needs three points or more"),
    (("a.png", "dog", "[[[1, 2], [3], [5, 6]]]", ""), "points that are no pairs x, y"),
    (("a.png", "dog", "[[1, 2, 3, 4, 5, null]]", ""), "no list of x, y pairs"),
    (("a.png", "dog", "[[90, 90, 95, 90, 95, 95]]", ""), "covers no pixel of the picture"),
    (("a.png", "dog", '{"size": [9, 9], "counts": [81]}', ""), "do not fill the picture of 32 x "),
    (("a.png", "dog", "[[1, 1, 9, 1, 9, 9]]", "2"), "goes with a PNG of labels only"),
    (("a.png", "dog"), "2 cells in a row of 4 columns; quote cells that hold ','"),
    (("a.png", "a dog", " left", "", ""), "5 cells in a row of 4 columns"),
]


def test_every_bad_row_is_named_with_its_line_all_at_once(folder, capsys):
    rows = []
    for number, (bad, _) in enumerate(BAD):
        rows += [("a.png", f"dog {number}", "masks/labels.png", "1"), bad]
    path = write_csv(folder, rows, ALL)
    found, faults = read_own(path)
    assert len(found.samples) == len(BAD) == len(faults)
    for number, (_, message) in enumerate(BAD):
        assert faults[number].startswith(f"line {2 * number + 3}: ")
        assert message in faults[number] and "\n" not in faults[number]
    with pytest.raises(TasError) as caught:
        load_dataset("own", path)
    text = str(caught.value)
    assert text.startswith(f"{path}: {len(BAD)} bad rows: line 3: no picture at")
    assert text.endswith(f"; all {len(BAD)}: tas data check {path}") and text.count("line ") == 5
    assert cli.main(["data", "check", str(path)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == len(BAD)
    assert cli.main(["evaluate", "own", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_bad_json_lines(folder):
    path = folder / "x.jsonl"
    lines = ["{", "7", '{"image": "a.png"}', '{"image": 3, "expression": "x"}', "", "[" * 99999,
             '{"image": "a.png", "expression": "x", "mask": 7}', "[NaN]"]  # fmt: skip
    path.write_text("\n".join(lines))
    faults = read_own(path)[1]
    words = ["no JSON (", "no JSON object", "no text in expression", "no text in image",
             "no JSON (", "neither run lengths nor polygons", "NaN is no number"]  # fmt: skip
    for fault, line, word in zip(faults, (1, 2, 3, 4, 6, 7, 8), words, strict=True):
        assert fault.startswith(f"line {line}: ") and word in fault


@pytest.mark.parametrize("name, raw, message", [
    ("x.csv", b"", "no rows"), ("x.csv", b"image,expression\n", "no rows"),
    ("x.csv", b"picture,sentence\na.png,dog\n", "no column image and expression; its first line"),
    ("x.csv", b"image,expression,mask,mask\n", "column 'mask' twice; rename it"),
    ("x.csv", b"image,expression,chosen\na.png,x,1\n", "column 'chosen' is a name that runs use"),
    ("x.csv", b",image,expression\n", "no rows"),
    ("x.csv", b"image,expression,,\n", "column '' has no name"),
    ("x.csv", b"image,expression\na.png,\xff\xfe\n", "not UTF-8 text"),
    ("x.csv", b'image,expression\na.png,"dog\n', "line 2: no CSV from here on"),
    ("x.csv", None, "cannot be read"), ("x.csv", "folder", "cannot be read"),
    ("x.txt", b"a dog", "own data is a .csv, .tsv, .json or .jsonl file"),
    ("x.jsonl", b"\n", "no rows"), ("x.json", b"{", "no JSON"),
    ("x.json", b'{"a": 1}', "no list of objects"), ("x.json", b"[NaN]", "no number"),
    ("x.jsonl", b'{"image": "a.png", "expression": "x", "iou": 1}', "column 'iou' is a name that"),
])  # fmt: skip
def test_bad_files(folder, name, raw, message):
    path = folder / name
    if raw is not None:
        path.mkdir() if raw == "folder" else path.write_bytes(raw)
    with pytest.raises(TasError) as caught:
        load_dataset("own", path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


# ---- what other tools write


def mask_of(folder, cell, value=""):
    data = load_dataset("own", write_csv(folder, [("a.png", "dog", cell, value)], ALL))
    return data.gt_mask(data.samples[0])


def picture_of(kind):
    """The square as a mask in the form that a tool writes."""
    grey = Image.fromarray(square().astype(np.uint8) * 255)
    white, black = (Image.new("L", (W, H), value) for value in (255, 0))
    bands = {
        "cut-out": [white, white, white, grey], "grey cut-out": [white, grey],
        "black cut-out": [black, grey], "both": [grey] * 4, "colour": [grey, black, black],
    }  # fmt: skip
    if kind in bands:
        return Image.merge({2: "LA", 3: "RGB", 4: "RGBA"}[len(bands[kind])], bands[kind])
    light = kind == "palette, light first"
    made = Image.fromarray((square() ^ light).astype(np.uint8))
    made.putpalette([255, 255, 255, 0, 0, 0] if light else [255, 255, 255] * 2)
    if not light:
        made.info["transparency"] = 0
    return grey if kind == "grey" else made


FLAT = ("palette, light first", "palette with a transparent colour", "grey")
KINDS = (*FLAT, "cut-out", "grey cut-out", "black cut-out", "both", "colour")


@pytest.mark.parametrize("kind, form", [*product(KINDS, ("png", "tiff")), *product(FLAT, ("gif",))])
def test_forms_of_a_mask_that_mean_one_thing(folder, kind, form):
    picture_of(kind).save(folder / f"mask.{form}")
    assert (mask_of(folder, f"mask.{form}") == square()).all()


def refusal(folder, cell, value=""):
    with pytest.raises(TasError) as caught:
        mask_of(folder, cell, value)
    text = str(caught.value)
    assert "\n" not in text and "1 bad row: line 2: " in text
    return text


def test_forms_of_a_mask_that_could_mean_two_things(folder):
    grey, other = picture_of("grey"), Image.fromarray((~square()).astype(np.uint8) * 255)
    grey.save(folder / "stained.jpg", quality=40)
    grounds = Image.fromarray(square().astype(np.uint8))
    grounds.putpalette([90, 90, 90, 255, 0, 0])
    soft = grey.resize((W // 4, H // 4)).resize((W, H), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(0).integers(0, 256, (H, W, 3), np.uint8)
    for name, picture, words in (
        ("stained.png", Image.open(folder / "stained.jpg"), "px have other values than 0 and 255"),
        ("soft.png", soft, "smooth scaling leave them; save two, or name one in the column value"),
        ("two.png", Image.merge("RGBA", [other] * 3 + [grey]), "its colours show another mask"),
        ("grounds.png", grounds, "a palette whose index 0 has the colour (90, 90, 90)"),
        ("photo.png", Image.fromarray(noise), "colours is no mask"),
    ):
        picture.save(folder / name)
        assert words in refusal(folder, name)
    assert "export the mask anew as PNG" in refusal(folder, "stained.jpg")
    for value in ("1", "1.0"):  # pandas, beside a gap
        assert (mask_of(folder, "grounds.png", value) == square()).all()
    assert "value '1.5' is no whole number" in refusal(folder, "grounds.png", "1.5")
    (folder / "voc.xml").write_text("<annotation/>")
    assert "as CVAT and VOC write them; export masks as PNG" in refusal(folder, "voc.xml")


def test_a_mask_is_turned_as_its_exif_note_says(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.fromarray(np.rot90(square()).astype(np.uint8) * 255)
    turned.save(folder / "turned.png", exif=exif)
    assert (mask_of(folder, "turned.png") == square()).all()
    turned.save(folder / "plain.png")
    assert "is one of them turned by its EXIF note?" in refusal(folder, "plain.png")


PAIRS = [[4, 4], [14, 4], [14, 14], [4, 14]]


def label_studio(**value):
    result = {"original_width": W, "original_height": H, "value": value}
    return [{"data": {"image": "/data/1-a.png"}, "annotations": [{"result": [result]}]}]


def labelme(*shapes):
    listed = [{"label": n, "points": p, "shape_type": k} for n, p, k in shapes]
    return {"version": "5", "shapes": listed, "imageHeight": H, "imageWidth": W}


def via(*shapes):
    regions = [{"shape_attributes": s, "region_attributes": {"name": n}} for n, s in shapes]
    return {"_via_img_metadata": {
        "a.png1": {"filename": "a.png", "regions": regions},
        "b.png1": {"filename": "b.png", "regions": []},
    }}  # fmt: skip


def brush(mask):
    """Label Studio's run lengths: here repeated bytes alone, in counts of 8 bits."""
    values = np.repeat(mask.ravel().astype(int) * 255, 4)
    bits, at = f"{len(values):032b}{7:05b}" + f"{7:04b}" * 4, 0
    while at < len(values):
        same = int(np.argmax(np.append(values[at : at + 256] != values[at], True)))
        bits += f"100{min(same, 256) - 1:08b}{values[at]:08b}"
        at += min(same, 256)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[k : k + 8], 2) for k in range(0, len(bits), 8)]


def polygon_of(points):
    return {"name": "polygon", "all_points_x": [x for x, _ in points],
            "all_points_y": [y for _, y in points]}  # fmt: skip


PERCENT = [[100 * x / W, 100 * y / H] for x, y in PAIRS]
FAR = [[20, 6], [28, 6], [28, 16], [20, 16]]


@pytest.mark.parametrize("shape", [
    PAIRS, [PAIRS], [c for pair in PAIRS for c in pair],
    labelme(("cup", PAIRS, "polygon")), labelme(("cup", [[14, 14], [4, 4]], "rectangle")),
    via(("cup", polygon_of(PAIRS))),
    via(("cup", {"name": "rect", "x": 4, "y": 4, "width": 10, "height": 10})),
    label_studio(points=PERCENT, polygonlabels=["cup"]), label_studio(points=PERCENT, labels=[[]]),
    label_studio(x=12.5, y=100 / 6, width=31.25, height=1000 / 24, rotation=0),
    label_studio(format="rle", rle=brush(square()), brushlabels=["cup"]),
    {"label": "cup", "rle": "0, 100", "left": 4, "top": 4, "width": 10, "height": 10},
    {"id": 7, "image_id": 1, "segmentation": [SQUARE], "bbox": [4, 4, 10, 10], "area": 100},
])  # fmt: skip
def test_shapes_of_other_tools(folder, shape):
    (folder / "shape.json").write_text(json.dumps(shape))
    assert (mask_of(folder, "shape.json") == square()).all()
    assert (mask_of(folder, json.dumps(shape)) == square()).all()


@pytest.mark.parametrize("content, form", [
    (labelme(("cup", PAIRS, "polygon"), ("pen", FAR, "polygon")), "a labelme file"),
    (via(("cup", polygon_of(PAIRS)), ("pen", polygon_of(FAR))), "a VIA file"),
])  # fmt: skip
def test_a_label_chooses_among_several_shapes(folder, content, form):
    (folder / "two.json").write_text(json.dumps(content))
    assert (mask_of(folder, "two.json", "cup") == square()).all()
    assert mask_of(folder, "two.json", "pen").sum() == 80
    text = refusal(folder, "two.json")
    assert f"this is {form} of 2 shapes (cup, pen); name the target's label in the" in text
    assert "without a shape 'dog'; it has cup, pen" in refusal(folder, "two.json", "dog")


@pytest.mark.parametrize("shape, words", [
    ({"images": [], "annotations": []}, "this is a whole COCO file; give each row one annotation"),
    (labelme(("cup", [[4, 4], [9, 9]], "circle")), "labelme file, its shape neither polygon nor b"),
    (labelme() | {"imageWidth": 9}, "a labelme file of a picture of 9 x 24 px, not 32 x 24"),
    (labelme(), "it has none for this picture"),
    (via(("x", {"name": "ellipse"})), "this is a VIA file, its shape neither polygon nor box"),
    (label_studio(x=1, y=1, width=9, height=9, rotation=30), "its shape neither polygon nor box"),
    (label_studio(format="rle", rle=brush(square()[:9])), "damaged (ValueError"),
    ({"rle": "0, 9", "left": 4, "top": 4, "width": 10, "height": 10}, "do not fill their box"),
    ({"rle": "0, 100", "left": 30, "top": 4, "width": 10, "height": 10}, "do not fill their box"),
    ({"shapes": [{}]}, "damaged (KeyError"), ({"shapes": 3}, "damaged (TypeError"),
    ({"segmentation": 3}, "neither run lengths nor polygons"),
])  # fmt: skip
def test_what_is_not_read_of_other_tools_is_named(folder, shape, words):
    assert words in refusal(folder, json.dumps(shape))


def test_what_pandas_spreadsheets_and_windows_write(folder):
    path = folder / "x.csv"
    path.write_text(
        ",image,expression,mask,value\n0,a.png,dog,masks\\labels.png,1.0\n1,b.png,x,,\n"
    )
    data = load_dataset("own", path)
    assert data.gt_mask(data.samples[0]).sum() == 100 and data.samples[0].flags == {}
    path.write_text("sep=|\nimage|expression\n.\\a.png|a dog, left; big\n")
    data = load_dataset("own", path)
    assert (data.samples[0].text, data.samples[0].sample_id) == ("a dog, left; big", "3")
    assert data.image_path(data.image_ids[0]).is_file()
    rows = [{"image": "a.png", "expression": "dog", "mask": PAIRS}, {"image": "b.png"}, 3]
    (folder / "x.json").write_text(json.dumps(rows))
    found, faults = read_own(folder / "x.json")
    assert len(found.samples) == 1 and [f[:7] for f in faults] == ["line 2:", "line 3:"]


def test_sentences_of_one_mask_are_one_reference_and_equal_rows_are_told(folder):
    one, two = ("masks/labels.png", "1", ""), ("masks/labels.png", "2", "")
    rows = [
        ("a.png", "dog", *one), ("a.png", "pup", *one), ("a.png", "cat", *two),
        ("b.png", "dog", *one), ("a.png", "dog", *one),
        ("a.png", "x", "", "", "r"), ("a.png", "x", "", "", "r"), ("a.png", "x", "", "", ""),
    ]  # fmt: skip
    header = (*ALL, "ref_id")
    path = write_csv(folder, rows, header)
    data = load_dataset("own", path)
    assert [s.ref_id for s in data.samples] == ["2", "2", "4", "5", "2", "r", "r", "9"]
    assert [s.sent_id for s in data.samples] == ["0", "1", "0", "0", "2", "0", "1", "0"]
    assert data.notes == (
        f"{path}: rows that say what an earlier one says, and each counts: 3 sentences (6, 8, 9)",
    )
    rows = [("a.png", "dog", json.dumps([SQUARE]), "", "r"), ("a.png", "cat", "", "", "r")]
    path = write_csv(folder, rows, header)
    with pytest.raises(TasError, match="line 3: ref_id 'r' has another picture or mask"):
        load_dataset("own", path)


TEXTS = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=20
).filter(lambda text: any(c.isprintable() and not c.isspace() for c in text))


@settings(max_examples=20, deadline=None, suppress_health_check=[*HealthCheck])
@given(st.lists(TEXTS, min_size=1, max_size=5), st.sampled_from([".csv", ".tsv", ".jsonl"]))
def test_what_is_written_is_read_back(folder, texts, suffix):
    path = folder / f"drawn{suffix}"
    if suffix == ".jsonl":
        rows = [json.dumps({"image": "a.png", "expression": text}) for text in texts]
        path.write_text("\n".join(rows), encoding="utf-8")
    else:
        cells = [("a.png", text, "") for text in texts]
        write_csv(folder, cells, name=path.name, delimiter="\t" if suffix == ".tsv" else ",")
    assert [s.text for s in load_dataset("own", path).samples] == [text.strip() for text in texts]


def test_digest_of_the_file_and_its_masks_and_preset_by_the_size_of_the_pictures(folder):
    path = write_csv(folder, [("a.png", "dog", "masks/bits.png")])
    before = load_dataset("own", path).index_digest
    assert load_dataset("own", path).index_digest == before
    Image.fromarray(~square()).save(folder / "masks" / "bits.png")
    assert load_dataset("own", path).index_digest != before
    path = write_csv(folder, [("a.png", "dog", "")])
    assert dataset("own").preset(str(path)) == "photo"
    Image.new("RGB", (320, 240)).save(folder / "a.png")
    assert dataset("own").preset(str(path)) == "tiny"


def run_of(folder, path, *more):
    out = folder / "runs"
    args = ["evaluate", "own", str(path), "--preset", "tiny", "--out", str(out), *more]
    assert cli.main(args) == 0
    (record,) = out.glob("*/run.json")
    return read_run(record)


def test_evaluate_with_masks(folder, seeing, capsys):
    rows = [("a.png", "dog", "masks/labels.png", "1", "near"), ("b.png", "dog", "", "", "far")]
    path = write_csv(folder, rows, (*ALL, "place"))
    run = run_of(folder, path)
    samples = run.samples.set_index("sample_id")
    assert samples.loc["2", "oracle_iou"] == 1.0 and samples.loc["2", "gt_area_px"] == 100
    assert samples.loc["3", ["iou", "gt_area_px", "oracle_iou"]].isna().all()
    assert samples.loc["3", "chosen"] in (0, 1, 2) and samples.loc["3", "place"] == "far"
    record = run.record
    assert (record.n_used, record.n_without_mask) == (2, 1)
    assert record.metrics["miou"].n == 1 == record.metrics["miou"].n_images
    assert record.metrics["miou"].value == samples.loc["2", "iou"]
    out = capsys.readouterr().out
    assert "(n = 2 sentences, 2 images; metrics on the 1 with a mask; 0 without a proposal)" in out
    chosen = np.asarray(Image.open(run.folder / "masks" / "3.png"))
    expected = Boxes()(np.zeros((H, W, 3))).masks()[int(samples.loc["3", "chosen"])]
    assert set(np.unique(chosen)) == {0, 255} and ((chosen == 255) == expected).all()
    assert run.scores.groupby("sample_id").size().to_dict() == {"2": 3, "3": 3}


def test_evaluate_without_masks(folder, seeing, capsys):
    path = write_csv(folder, [("a.png", "dog"), ("b.png", "blue thing")], ("image", "expression"))
    run = run_of(folder, path)
    assert run.record.metrics == {} and run.record.n_without_mask == 2
    assert sorted(p.name for p in (run.folder / "masks").iterdir()) == ["2.png", "3.png"]
    assert (run.samples["chosen"] >= 0).all() and run.samples["iou"].isna().all()
    assert "no ground truth, so no metric" in capsys.readouterr().out
