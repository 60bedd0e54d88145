"""SAM 3, Grounding DINO with SAM 2, Florence-2: against transformers' own pipelines, at random.

No published weights are to be had here, so each network is the smallest of its kind, in a folder
as the hub keeps it, and the library answers one sentence at a time, looking at the picture anew.
"""

import shutil
from functools import cache

import numpy as np
import pytest
import torch
import transformers as t
from PIL import Image, ImageDraw
from small_drawers import write_dino, write_florence2, write_sam2, write_sam3
from small_peers import expression, full_scene, scene_of, small_tas

from tasutils import cli, paths
from tasutils.baselines import METHODS, answers_of, lacking, make_method
from tasutils.compare import compare_runs, compare_text, run_lines
from tasutils.controls import controls
from tasutils.errors import TasError
from tasutils.evaluate import evaluate_all
from tasutils.masks import encode_rle
from tasutils.models import ledger, load_registry, saw
from tasutils.refer import Answer
from tasutils.runs import list_runs, read_run

SENTENCES = ["the red car on the left", "a dog", "Is it the dog. on 2 the left?"]
SWITCHES = {
    "sam3": {"checkpoint": "sam3"},
    "grounded": {"checkpoint": "dino", "sam_checkpoint": "sam2"},
    "florence2": {"checkpoint": "florence2", "max_new_tokens": 40},
}
NAMES = list(SWITCHES)


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A folder with the folders of all four."""
    root = tmp_path_factory.mktemp("hub")
    for write in (write_sam3, write_dino, write_sam2, write_florence2):
        folder = root / write.__name__.removeprefix("write_")
        folder.mkdir()
        write(folder)
    return root


def switches(hub, name, **more):
    """The settings of a method over the small folders."""
    own = SWITCHES[name.removesuffix("_chooses")]
    return {k: str(hub / v) if k.endswith("checkpoint") else v for k, v in own.items()} | more


def method_of(hub, name, **more):
    return make_method(name, small_tas(), **switches(hub, name, **more))


@cache
def read(kind, folder):
    return kind.from_pretrained(folder)


def by_sam3(hub, image, text):
    """The library's way: all queries at full size, the surest of them."""
    model, processor = read(t.Sam3Model, hub / "sam3"), read(t.Sam3Processor, hub / "sam3")
    with torch.no_grad():
        out = model(**processor(images=image, text=text, return_tensors="pt"))
    (found,) = processor.post_process_instance_segmentation(
        out, threshold=-1, mask_threshold=0.5, target_sizes=[image.size[::-1]]
    )
    best = found["scores"].argmax()
    return found["masks"][best].bool().numpy(), found["scores"][best].item()


def by_grounded(hub, image, text):
    model = read(t.GroundingDinoForObjectDetection, hub / "dino")
    processor = read(t.GroundingDinoProcessor, hub / "dino")
    sam = read(t.Sam2Model, hub / "sam2")
    prompts = read(t.Sam2Processor, hub / "sam2")
    phrase = text.lower().replace(".", " ").replace("?", " ").strip() + "."
    inputs = processor(images=image, text=phrase, return_tensors="pt")
    with torch.no_grad():
        (found,) = processor.post_process_grounded_object_detection(
            model(**inputs), inputs.input_ids, threshold=0, target_sizes=[image.size[::-1]]
        )
        best = found["scores"].argmax()
        sides = torch.tensor([*image.size, *image.size])
        box = torch.minimum(found["boxes"][best].clamp(min=0), sides)
        asked = prompts(images=image, input_boxes=[[box.tolist()]], return_tensors="pt")
        out = sam(**asked, multimask_output=False)
        (masks,) = prompts.post_process_masks(out.pred_masks, asked.original_sizes)
    return masks[0, 0].numpy(), found["scores"][best].item()


def by_florence2(hub, image, text):
    model = read(t.Florence2ForConditionalGeneration, hub / "florence2")
    processor = read(t.Florence2Processor, hub / "florence2")
    task = "<REFERRING_EXPRESSION_SEGMENTATION>"
    inputs = processor(images=image, text=task + text, return_tensors="pt")
    out = model.generate(
        **inputs, num_beams=3, do_sample=False, max_new_tokens=40, output_scores=True,
        return_dict_in_generate=True,
    )  # fmt: skip
    (written,) = processor.batch_decode(out.sequences, skip_special_tokens=False)
    told = processor.post_process_generation(text=written, task=task, image_size=image.size)
    picture = Image.new("1", image.size)
    for thing in told[task]["polygons"]:
        for ring in (ring for ring in thing if len(ring) > 4):  # two places are no outline
            ImageDraw.Draw(picture).polygon([float(c) for c in ring], fill=1)
    return np.asarray(picture), out.sequences_scores.exp().item()


PIPELINES = {"sam3": by_sam3, "grounded": by_grounded, "florence2": by_florence2}


@pytest.mark.parametrize("name", NAMES)
def test_as_the_library_does_it_and_the_picture_is_looked_at_once(name, hub, picture, masks):
    method, looks = method_of(hub, name), []
    tower = {
        "sam3": lambda: method.model.vision_encoder,
        "grounded": lambda: method.model.model.backbone.conv_encoder,
        "florence2": lambda: method.model.model.vision_tower,
    }[name]()
    tower.register_forward_hook(lambda *_: looks.append(1))
    asked, scene = [expression(text) for text in SENTENCES], scene_of(masks)
    answers = answers_of(method, scene, asked, picture)
    chosen = answers_of(method_of(hub, f"{name}_chooses"), scene, asked, picture)
    assert len(looks) == 1
    for one, answer, choice in zip(asked, answers, chosen, strict=True):
        mask, sure = PIPELINES[name](hub, Image.fromarray(picture), one.text)
        if "the best beam drew nothing" in answer.notes:
            assert not mask.any()
            continue
        assert abs(answer.confidence - sure) < 1e-5
        assert (answer.mask() == mask).all() and "these are no published" in answer.notes[-1]
        fits = [(m & mask).sum() / max((m | mask).sum(), 1) for m in masks]
        np.testing.assert_allclose(choice.total, fits)
        assert choice.best == int(np.argmax(fits)) and choice.own_mask is None
    assert len({answer.mask().tobytes() for answer in answers}) > 1 and answers[0].mask().any()


@pytest.mark.parametrize("name", NAMES)
def test_a_sentence_over_the_limit_is_cut_and_an_empty_answer_falls_back(name, hub, picture, masks):
    method, scene = method_of(hub, name), scene_of(masks)
    words = "the small red car " * (70 if name == "grounded" else 10)
    asked = [expression(words), expression("a dog")]
    cut, short = answers_of(method, scene, asked, picture)
    assert cut.notes[0] == "the sentence was cut off" not in short.notes
    kept = words[: words.find("small", 60 if name == "florence2" else 0)]
    assert len(method.tokenizer(kept).input_ids) < method.room  # something was left
    if name != "florence2":
        strict = method_of(hub, name, least_score=1.0)
        (low,) = answers_of(strict, scene, asked[1:], picture)
        assert "nothing above 1" in low.notes and (low.mask() == short.mask()).all()


def test_graded_terms_on_any_scores(hub, picture, masks, rng):
    tas, scene = small_tas(), full_scene(rng, masks)
    asked = [expression("the biggest car on the left"), expression("a car")]
    for base in ("clip_only", "sam3_chooses"):
        own = switches(hub, base) if base == "sam3_chooses" else {}
        plain = answers_of(make_method(base, tas, **own), scene, asked, picture)
        graded = answers_of(make_method(f"{base}+d+z", tas, **own), scene, asked, picture)
        terms = tas.refer(scene, asked[0].text, weights={"d": 1, "z": 1}).terms
        total = plain[0].total + 0.15 * terms["d"] + 0.1 * terms["z"]  # of tiny_graded
        np.testing.assert_allclose(graded[0].total, total)
        assert graded[0].best == int(total.argmax())
        assert list(graded[0].terms) == ["score", "d", "z"]
        assert (graded[1].total == plain[1].total).all()  # asks for nothing
        assert graded[0].expression.text == asked[0].text
    bare = answers_of(make_method("clip_only+h", tas), scene, asked[:1], picture)[0].total
    said = [expression(asked[0].asks.thing)]
    (thing,) = answers_of(make_method("clip_only", tas), scene, said, picture)
    np.testing.assert_allclose(bare, thing.total)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("clip_only+x", "no graded term 'x'; there are d, z, r, o, h, w"),
        ("clip_only+v", "no graded term 'v'"),
        ("tas+d", "give --weights"),
        ("nobody+d", "'nobody' is none of METHODS"),
        ("sam3", "no weights at .*paper/sam3; get it with: tas models get sam3"),
        ("grounded_chooses", "get it with: tas models get grounding_dino_tiny"),
    ],
)
def test_wrong_names_are_one_line(name, what, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "WEIGHTS", tmp_path)
    with pytest.raises(TasError, match=what) as error:
        make_method(name, small_tas())
    assert "\n" not in str(error.value)


def test_terms_need_scores(hub, picture, masks):
    method = make_method("sam3+d", small_tas(), **switches(hub, "sam3"))
    with pytest.raises(TasError, match=r"sam3\+d has no scores .* sam3_chooses"):
        answers_of(method, scene_of(masks), [expression()], picture)


@pytest.mark.parametrize(
    ("folder", "name", "gone", "what"),
    [
        ("sam3", "sam3", "processor_config.json", "SAM 3 .* has no usable processor"),
        ("sam3", "sam3", "model.safetensors", "SAM 3 .* is damaged"),
        ("sam2", "grounded", "processor_config.json", "SAM 2 .* has no usable processor"),
        ("dino", "grounded", "tokenizer.json", "Grounding DINO .* has no usable processor"),
        ("florence2", "florence2", "config.json", "Florence-2 .* is damaged"),
        ("florence2", "florence2", "half", "Florence-2 .* is damaged"),
        ("dino", "florence2", "", "holds a grounding-dino model, no Florence-2"),
    ],
)
def test_folders_that_are_not_whole_are_one_line(folder, name, gone, what, hub, tmp_path):
    place = shutil.copytree(hub / folder, tmp_path / folder)
    (place / "vocab.txt").unlink(missing_ok=True)
    if gone == "half":
        weights = place / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    elif gone:
        (place / gone).unlink()
    setting = "sam_checkpoint" if folder == "sam2" else "checkpoint"
    with pytest.raises(TasError, match=what) as error:
        method_of(hub, name, **{setting: str(place)})
    assert "\n" not in str(error.value)


def test_evaluate_end_to_end_on_random_weights(hub, world, tmp_path, monkeypatch, capsys):
    weights = tmp_path / "weights"
    (weights / "paper").mkdir(parents=True)
    (weights / "paper" / "sam3").symlink_to(hub / "sam3")
    monkeypatch.setattr(paths, "WEIGHTS", weights)
    command = ["evaluate", "refscenes", "val", "--family", "refscenes", "--limit", "2"]
    assert cli.main([*command, "--method", "sam3", "--method", "sam3_chooses"]) == 0
    said = capsys.readouterr().out
    runs = sorted(list_runs(paths.RESULTS), key=lambda run: run.record.method)
    assert [run.record.method for run in runs] == ["sam3", "sam3_chooses"]
    assert all(run.samples["reason"].str.contains("no published weights").all() for run in runs)
    n = len(runs[0].samples)
    assert f"{n} of {n}: these are no published weights: 1.8 million numbers" in said
    assert f"{n} of {n}: nothing above 0.3" in said
    assert runs[0].record.models["sam3.checkpoint"].name == "paper/sam3"
    assert runs[0].samples["own_mask"].all() and "own_mask" not in runs[1].samples


def test_all_leaves_out_what_is_not_here(monkeypatch, world, tmp_path, capsys):
    monkeypatch.setattr(paths, "WEIGHTS", tmp_path / "none")
    few = {name: METHODS[name] for name in ("clip_only", "sam3", "sam3_chooses")}
    for name in set(METHODS) - set(few):
        monkeypatch.delitem(METHODS, name)
    assert lacking("clip_only") == "" and "tas models get sam3" in lacking("sam3_chooses")
    command = ["evaluate", "refscenes", "val", "--family", "refscenes", "--limit", "1"]
    assert cli.main([*command, "--method", "all"]) == 0
    out = capsys.readouterr()
    notes = [line for line in out.err.splitlines() if "is left out" in line]
    assert [line.split()[1] for line in notes] == ["sam3", "sam3_chooses"]
    assert all("get it with: tas models get" in line for line in notes)
    assert [run.record.method for run in list_runs(paths.RESULTS)] == ["clip_only"]


def test_the_ledger_knows_every_network_that_sees_pictures(capsys):
    assert set(load_registry()) - {"bert_base_uncased"} <= set(ledger())
    assert all(all(row.values()) for row in ledger().values())
    assert saw(["grounding_dino_base"]) == "COCO, RefCOCO" and saw(["bert_base_uncased"]) == ""
    assert cli.main(["models", "list"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert any(line.startswith("sam3 ") and "saw: Visual Genome boxes" in line for line in said)


def test_controls_read_no_sentence(dataset, tas, tmp_path):
    class Nothing:
        name = "nothing"

        def answer(self, scene, expressions, image):
            return [Answer(e, scene, ()) for e in expressions]

    class Truth:
        name = "truth"

        def answer(self, scene, expressions, image):
            samples = dataset.by_image()[scene.image_id]
            masks = [dataset.gt_mask(sample) for sample in samples]
            return [
                Answer(e, scene, (), own_mask=encode_rle(mask[None])[0])
                for e, mask in zip(expressions, masks, strict=True)
            ]

    methods = (Nothing(), Truth())
    folders = evaluate_all([dataset], tas, methods, progress=False, out=tmp_path / "runs")
    nothing, truth = (read_run(folder) for folder in folders)
    found = controls(nothing)
    wanted = {"the largest": [], "the most central": []}
    for image_id, samples in dataset.by_image().items():
        masks = tas.describe(dataset.image_path(image_id)).proposals.masks()
        if not len(masks):
            for values in wanted.values():
                values += [0] * len(samples)
            continue
        height, width = masks.shape[1:]
        off = [np.hypot(np.nonzero(m)[1].mean() - (width - 1) / 2,
                        np.nonzero(m)[0].mean() - (height - 1) / 2) for m in masks]  # fmt: skip
        picks = {"the largest": masks.sum((1, 2)).argmax(), "the most central": np.argmin(off)}
        for sample in samples:
            gt = dataset.gt_mask(sample)
            for name, k in picks.items():
                wanted[name].append((masks[k] & gt).sum() / (masks[k] | gt).sum())
    for name, values in wanted.items():
        assert found.miou[name] == pytest.approx(np.mean(values))
    assert found.miou["always empty"] == 0 < found.miou["a random mask"] < found.miou[found.best]
    assert not found.told_apart and controls(truth).told_apart
    table = compare_runs([truth, nothing])
    assert table["told_apart"].tolist() == [True, False]
    page = compare_text(table)
    assert "nothing (tiny) *" in page and "truth (tiny) *" not in page
    assert "mIoU without reading the sentence: a random mask" in page and "drawn world" in page
    assert "NOT TOLD APART" in "".join(run_lines(nothing)) and "NOT" not in str(run_lines(truth))
