"""Sentences that mean none, one or several things: readers, the embedded family, its maker."""

import json
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st
from light import PARSER, HashEncoder, boxes, light_tas, scene_of
from PIL import Image
from published_trees import (
    FAR,
    SQUARE,
    H,
    W,
    annotation,
    draw_images,
    file_name,
    instances,
    reference,
    write_refcoco,
)
from pycocotools import mask as coco

from tasutils.cli import main
from tasutils.config import DecideConfig, load_preset
from tasutils.datasets import load_dataset
from tasutils.datasets.published import get_data
from tasutils.errors import TasError
from tasutils.evaluate import evaluate
from tasutils.metrics import aurc, gres_ratios, metric_variants, risk_coverage
from tasutils.refer import decide, refer
from tasutils.runs import list_runs, read_run
from tasutils.terms import combine

PRESET = load_preset("tiny")
NONE = {"ann_id": [-1], "category_id": [-1], "no_target": True}
MANY = {"ann_id": [101, 102], "category_id": [18, 18], "no_target": False}


def write_grefcoco(root, refs, **changes):
    write_refcoco(root, "grefcoco", content=instances() | changes)
    (root / "grefcoco" / "refs(unc).p").unlink()
    (root / "grefcoco" / "grefs(unc).json").write_text(json.dumps(refs))
    return root


def rectangle(flat):
    mask = coco.decode(coco.frPyObjects([flat], H, W))
    return mask.any(-1)


def test_grefcoco_none_one_and_many(tmp_path):
    refs = [
        reference(0, **NONE), reference(1, ann_id=[101], no_target=False, split="val"),
        reference(2, **MANY, split="val"), reference(3, sentences=[], split="val"),
    ]  # fmt: skip
    data = load_dataset("grefcoco", "val", root=write_grefcoco(tmp_path, refs))
    assert [s.ann_ids for s in data.samples] == [(), (), (101,), (101, 102), (101, 102)]
    assert [s.category for s in data.samples] == ["", "", "dog", "dog", "dog"]
    truths = [data.gt_mask(sample) for sample in data.samples]
    assert not truths[0].any() and not data.without_mask
    assert (truths[3] == rectangle(SQUARE) | rectangle(FAR)).all()
    assert data.notes == ()  # nothing is missing where nothing is meant


def test_crowds_are_left_out_as_by_its_own_reader(tmp_path):
    shapes = [annotation(1), annotation(2, iscrowd=1)]
    root = write_grefcoco(tmp_path, [reference(2, **MANY, split="val")], annotations=shapes)
    data = load_dataset("grefcoco", "val", root=root)
    assert (data.gt_mask(data.samples[0]) == rectangle(SQUARE)).all()


@pytest.mark.parametrize("change, words", [
    ({"ann_id": [100], "no_target": True}, "no_target is True with annotations"),
    ({"ann_id": [-1], "no_target": False}, "no_target is False with annotations"),
    ({"ann_id": [100, 999]}, "annotation 999 of ref 0 is not in it"),
    (NONE | {"image_id": 77}, "image 77 of ref 0 is not in it"),
    ({"ann_id": [100, 101]}, "annotation 101 of ref 0 lies in image 2, not 1"),
])  # fmt: skip
def test_records_that_contradict_each_other(tmp_path, change, words):
    root = write_grefcoco(tmp_path, [reference(0, **change)])
    with pytest.raises(TasError, match=words) as caught:
        load_dataset("grefcoco", "val", root=root)
    assert "\n" not in str(caught.value)


def write_refcoco_m(root, drop=(), **changes):
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = root / "refcoco-m" / "data"
    folder.mkdir(parents=True)
    draw_images(root / "drawn", map(file_name, (1, 2, 3)))
    for k, image_id in enumerate((1, 2)):
        rle = coco.encode(np.asfortranarray(rectangle(SQUARE).astype(np.uint8)))
        sample = {
            "id": 10 + k, "image_id": image_id, "category": "dog", "supercategory": "animal",
            "label": "dog", "sentences": ["left dog", "the dog"], "bbox": [4.0, 4.0, 10.0, 10.0],
            "mask": {"counts": rle["counts"].decode(), "size": [H, W]},
        }  # fmt: skip
        row = {
            "image": {"bytes": (root / "drawn" / file_name(image_id)).read_bytes(), "path": None},
            "image_id": image_id, "file_name": file_name(image_id), "samples": [sample | changes],
        }  # fmt: skip
        table = pa.Table.from_pylist([{n: v for n, v in row.items() if n not in drop}])
        pq.write_table(table, folder / f"validation-{k:05}-of-00002.parquet")
    return root


def test_refcoco_m_lies_there_and_is_unpacked(tmp_path):
    root = write_refcoco_m(tmp_path)
    lines = list(get_data("refcoco-m", nullcontext, root))
    assert [line.partition(":")[0] for line in lines[-2:]] == [
        f"validation-{k:05}-of-00002.parquet (as it lay there)" for k in (0, 1)
    ]
    data = load_dataset("refcoco-m", "val", root=root)
    assert [s.sample_id for s in data.samples] == ["10-0", "10-1", "11-0", "11-1"]
    assert (data.gt_mask(data.samples[3]) == rectangle(SQUARE)).all()
    for image_id in data.image_ids:
        with Image.open(data.image_path(image_id)) as picture:
            assert picture.size == (W, H)


@pytest.mark.parametrize("change, words", [
    ({"drop": ["samples"]}, "no column samples; this is no file of moondream/refcoco-m"),
    ({"mask": {"counts": "x", "size": [H]}}, "image .* has 0 x 24 px"),
    ({"sentences": None}, "samples.0.sentences: "),
])  # fmt: skip
def test_other_parquet_files(tmp_path, change, words):
    with pytest.raises(TasError, match=words):
        load_dataset("refcoco-m", "val", root=write_refcoco_m(tmp_path, **change))


@pytest.mark.parametrize("name", ["grefcoco", "refcoco-m", "grefscenes"])
def test_a_split_that_there_is_not(tmp_path, name):
    write_grefcoco(write_refcoco_m(tmp_path), [reference(0, **NONE)])
    options = {} if name == "grefscenes" else {"root": tmp_path}
    with pytest.raises(TasError, match=r"'testX'; it has .*val") as caught:
        load_dataset(name, "testX", **options)
    assert "\n" not in str(caught.value)


# ---- metrics


def official(samples):
    """gRefCOCO's evaluator, sample by sample: a table of what it counts."""
    ious, total, cells, reached = [], [0, 0], dict.fromkeys(["TP", "FN", "FP", "TN"], 0), []
    for answer, truth, said_none in samples:
        n_both, n_any = (answer & truth).sum(), (answer | truth).sum()
        if not truth.any():
            cells["TP" if said_none else "FN"] += 1
            ious.append(1.0 if said_none else 0.0)
            total[1] += 0 if said_none else answer.sum()
            continue
        cells["FP" if said_none else "TN"] += 1
        ious.append(0.0 if said_none or not n_any else n_both / n_any)
        total = [total[0] + (0 if said_none else n_both), total[1] + n_any]
        reached.append(ious[-1])
    none = cells["TP"] + cells["FN"]
    found = {"giou": np.mean(ious), "ciou": total[0] / total[1] if total[1] else None}
    found["n_acc"] = cells["TP"] / none if none else None
    if reached:
        found["t_acc"] = cells["TN"] / len(reached) if none else 0.0
        found |= {f"pr@{x}": np.mean([v >= x for v in reached]) for x in (0.7, 0.8, 0.9)}
    return found


def masks_of(bits):
    return np.array([int(bit) for bit in f"{bits:04b}"], bool)


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15), st.booleans()), min_size=1))
def test_gres_as_its_own_evaluator_counts(drawn):
    samples = [(masks_of(a), masks_of(b), said) for a, b, said in drawn]
    inter = [(a & b).sum() for a, b, _ in samples]
    union = [(a | b).sum() for a, b, _ in samples]
    none = [not b.any() for _, b, _ in samples]
    found = gres_ratios(inter, union, none, [said for *_, said in samples])
    values = {k: a.sum() / b.sum() for k, (a, b) in found.items() if b.any()}
    wanted = {k: v for k, v in official(samples).items() if v is not None}
    assert values == pytest.approx(wanted, abs=1e-12)


def test_gres_of_a_run_beside_saying_nothing():
    def samples(inter, union):
        return pd.DataFrame({
            "image_id": list("aabb"), "ref_id": list("wxyz"), "chosen": 0, "n_proposals": 1,
            "no_target": [True, True, False, False], "gt_area_px": [0.0, 0.0, 10.0, 10.0],
            "intersection_px": inter, "union_px": union, "oracle_intersection_px": [0, 0, 10, 10],
            "oracle_union_px": [0, 0, 10, 10],
        })  # fmt: skip

    def gres(table):
        rows = metric_variants(table)
        return rows[rows["convention"] == "GRES"].set_index("metric")["value"].to_dict()

    nothing = gres(samples([0] * 4, [0, 0, 10, 10]))
    assert nothing == dict.fromkeys(nothing, 0.0) | {"giou": 0.5, "n_acc": 1.0}
    some = gres(samples([0, 0, 8, 0], [0, 7, 10, 25]))
    assert some["giou"] == (1 + 0 + 0.8 + 0) / 4 and some["ciou"] == 8 / 42
    assert some["n_acc"] == 0.5 and some["t_acc"] == 1.0 and some["pr@0.8"] == 0.5


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=12))
def test_risk_against_a_slow_one(drawn):
    loss, sure = (np.array(column) / 4 for column in zip(*drawn, strict=True))
    coverage, risk = risk_coverage(loss, sure)
    order = np.argsort(-sure, kind="stable")
    tied = [loss[sure == sure[k]].mean() for k in order]
    assert np.allclose(risk, [np.mean(tied[: k + 1]) for k in range(len(loss))])
    assert coverage[-1] == 1 and risk[-1] == pytest.approx(loss.mean())


def test_aurc_knows_a_sure_method_from_a_random_one(rng):
    loss = rng.random(400)
    images = np.repeat(np.arange(100), 4)
    good, none = aurc(loss, -loss, images), aurc(loss, rng.random(400), images)
    assert good["gain"].low > 0.2 and none["gain"].low < 0 < none["gain"].high
    assert good["aurc"].value + good["gain"].value == pytest.approx(loss.mean())
    assert aurc(loss, np.zeros(400), images)["gain"].value == pytest.approx(0, abs=1e-12)


# ---- reading and deciding


@pytest.mark.parametrize("sentence, things", [
    ("the dog", ()), ("the dog on the left", ()), ("the man in black and white", ()),
    ("the black and white cat", ()), ("all red cars", (("red car", True),)),
    ("both dogs on the left", (("dog on the left", True),)),
    ("the three buses", (("bus", True),)),
    ("the cat and the red car", (("cat", False), ("red car", False))),
    ("the man and all dogs", (("man", False), ("dog", True))), ("left of the two", ()),
    ("the box above and to the left of it", ()),
])  # fmt: skip
def test_things_that_a_sentence_speaks_of(sentence, things, parser):
    assert parser.parse(sentence).asks.things == things


@given(st.lists(st.integers(0, 6), min_size=1, max_size=6), st.data())
def test_decide(totals, data):
    total = np.array(totals) / 4
    inside = np.array(data.draw(st.lists(st.booleans(), min_size=len(total), max_size=len(total))))
    order = np.lexsort((-total, ~inside))
    assert decide(total, order, inside, True, None) == (order[0],)
    rules = DecideConfig(least=0.5, margin=0.25)
    first = total[order[0]]
    near = {
        k for k in range(len(total)) if total[k] >= first - 0.25 and (inside[k] or not inside.any())
    }
    for every in (False, True):
        found = decide(total, order, inside, every, rules)
        assert set(found) == (set() if first < 0.5 else near if every else {order[0]})
        assert not found or found[0] == order[0]


def test_an_answer_of_several_parts():
    def ask(text, **decide):
        rules = {"decide": {"least": -9, "margin": 0.1} | decide}
        return refer(scene, text, HashEncoder(), PARSER, PRESET.override(rules))

    scene = scene_of(boxes(6, 1), seed=1)
    first, second = ask("cat"), ask("red car")
    both = ask("the cat and the red car")
    assert both.chosen == tuple(dict.fromkeys((*first.chosen, *second.chosen)))
    assert (both.total == np.maximum(first.total, second.total)).all()
    assert np.allclose(both.total, combine(both.terms, both.weights))
    assert (both.mask() == first.mask() | second.mask()).all()
    assert sorted(both.rank) == list(range(1, len(both.total) + 1))
    assert "cat: mask" in both.reason and "red car: mask" in both.reason
    assert len(ask("all cats", margin=9).chosen) == len(scene.proposals)
    none = ask("the cat", least=9)
    assert none.chosen == () and not none.mask().any() and "nothing is meant" in none.reason
    plain = refer(scene, "the cat and the red car", HashEncoder(), PARSER, PRESET)
    assert len(plain.chosen) == 1 and not plain.parts


def test_presets_that_decide():
    for name in ("tiny", "photo"):
        several, graded = load_preset(f"{name}_gres"), load_preset(f"{name}_graded")
        assert several.digest() != graded.digest() and graded.decide is None
        assert several.describe_digest() == graded.describe_digest()
        assert several.override({"decide.margin": 0.2}).decide.margin == 0.2


def test_a_preset_changes_one_of_the_rules_or_brings_them(tmp_path):
    path, own = tmp_path / "mine.yaml", load_preset("tiny_gres").decide
    path.write_text("{name: mine, description: x, extends: tiny_gres, decide: {margin: 0.3}}")
    assert load_preset(path).decide == DecideConfig(least=own.least, margin=0.3)
    path.write_text("{name: mine, description: x, extends: tiny, decide: {least: 0.3}}")
    assert load_preset(path).decide == DecideConfig(least=0.3)
    with pytest.raises(TasError, match="no setting 'decide.margin'"):
        load_preset("tiny").override({"decide.margin": 0.2})


# ---- runs


@pytest.fixture(scope="module")
def graded_and_gres(tmp_path_factory):
    """Runs over three pictures with light parts: always one mask, and as is decided."""
    out = tmp_path_factory.mktemp("runs")
    refs = [reference(0), *(reference(2, **what, split="val") for what in (MANY, NONE))]
    refs[2]["ref_id"] = 9
    data = load_dataset("grefcoco", "val", root=write_grefcoco(out / "data", refs))
    first = read_run(evaluate(data, light_tas(), progress=False, out=out))
    totals = pd.Series(first.table.totals(first.record.weights))
    least = totals.groupby(first.table.segment).max().median()  # of some sentences, not of all
    decide = {"decide": {"least": least, "margin": 0.1}}
    evaluate(data, light_tas(decide), progress=False, out=out)
    return out


def test_compare_tells_none_and_several(graded_and_gres, capsys):
    one, gres = sorted(list_runs(graded_and_gres), key=lambda run: "decide" in run.record.config)
    assert (one.samples["chosen"] >= 0).all() and (gres.samples["chosen"] < 0).any()
    none = gres.samples["no_target"].to_numpy(bool)
    empty = (gres.samples["chosen"] < 0).to_numpy()
    assert set(gres.samples["iou"][none & empty]) == {1.0}
    assert set(gres.samples["iou"][none & ~empty]) | {0.0} == {0.0}
    assert main(["compare", str(one.folder), str(gres.folder), "--convention", "GRES"]) == 0
    rows = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    n_acc = [row for row in rows if "N-acc" in " ".join(row)]
    assert f"{100 * empty[none].mean():.1f} [" in " ".join(n_acc[1])
    assert main(["compare", str(gres.folder)]) == 0
    said = capsys.readouterr().out
    assert "worst sentence" in said and "AURC" in said and "always empty" in said
    assert main(["sweep", str(gres.folder)]) == 2  # its answers are none or several masks
    assert "decides how many are meant" in capsys.readouterr().err
    assert main(["compare", str(gres.folder), "--convention", "best"]) == 2
    assert "no convention 'best'; there are sentence," in capsys.readouterr().err


def test_a_page_of_a_folder(graded_and_gres, capsys):
    assert main(["compare", "--out", str(graded_and_gres)]) == 0
    page = BeautifulSoup((graded_and_gres / "results.html").read_text(), "html.parser")
    (head,) = page.find_all("h2")  # both answer the same sentences
    assert head.text.startswith("grefcoco unc val: n = ")
    links = [cell["href"] for cell in page.find_all("a")]
    assert sorted(links) == sorted(f"{r.folder.name}/run.json" for r in list_runs(graded_and_gres))
    assert "always empty" in page.text


# ---- the embedded family


@pytest.mark.parametrize("split", ["val", "testP"])
def test_grefscenes_means_what_its_kinds_say(split):
    data = load_dataset("grefscenes", split)
    by_id = {sample.sample_id: sample for sample in data.samples}
    kinds = dict.fromkeys(["one", "same", "switch", "void", "absent", "all", "both"], 0)
    for sample in data.samples:
        kind, base = sample.flags["kind"], by_id[sample.flags["base"]]
        kinds[kind] += 1
        n = len(sample.ann_ids)
        assert n == {"void": 0, "absent": 0, "both": 2}.get(kind, n) and (n > 1) == (
            kind in "allboth"
        )
        words, others = sample.text.split(), base.text.split()
        if kind == "same":
            assert sample.ann_ids == base.ann_ids and words != others
        if kind in ("switch", "void"):
            assert sum(a != b for a, b in zip(words, others, strict=True)) == 1
            assert sample.ann_ids != base.ann_ids and base.flags["kind"] == "one"
    assert min(kinds.values()) > 100
    none = sum(sample.ann_ids == () for sample in data.samples) / len(data)
    assert 0.25 < none < 0.4
    asks = [
        PARSER.parse(s.text).asks.things for s in data.samples[:400] if s.flags["kind"] == "both"
    ]
    assert np.mean([len(things) == 2 for things in asks]) > 0.9
