"""The bench: nothing is timed unless both sides give the same; FLOP counts; every section."""

import json
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasutils import bench, cli
from tasutils.bench import child, equal, flops, gpu, plan, ray, released_crops, rows, scale, store
from tasutils.bench import describe as describe_section
from tasutils.bench import sweep as sweep_section
from tasutils.bench.profile import profiled, stage_times
from tasutils.bench.released_loop import answer_cached, answer_released, propose, require_plain
from tasutils.bench.table import foot_lines, section_lines
from tasutils.bench.timing import alternate
from tasutils.bench.true_size import blip2_opt_config, random_tas
from tasutils.config import CropConfig, load_preset
from tasutils.crops import masked_crops
from tasutils.errors import TasError
from tasutils.masks import boxes_xyxy
from tasutils.store import SceneStore

SMALL = {"proposals.points_per_side": 3, "captioner.max_new_tokens": 6}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """These networks are too small for two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def small():
    """Preset tiny with few points and short captions, one image, one repeat; loaded once."""
    return plan.Plan(load_preset("tiny").override(SMALL), "cpu", images=1, repeats=1)


def measured(name, given, **sizes):
    return import_module(f"tasutils.bench.{name}").rows(given, **sizes)


def check_rows(found, section):
    assert found and all(row.section == section and not row.skipped for row in found)
    for row in found:
        if row.ours_s is not None and row.plain_s is not None:
            middle = row.plain_s.median / row.ours_s.median
            assert row.ratio.low * 0.5 <= middle <= row.ratio.high * 2
        assert row.ratio is None or row.checked or row.section == "gpu"
    text = "\n".join(section_lines(found))
    assert section in text and all(row.what in text for row in found)


# timing ------------------------------------------------------------------------------------------


def test_nothing_is_timed_before_both_sides_are_found_equal():
    calls = []

    def side(name):
        return lambda: calls.append(name) or name

    def same(a, b):
        calls.append("same")
        assert (a, b) == ("ours", "plain")
        return "names"

    timed = alternate(side("ours"), side("plain"), same, repeats=3)
    assert calls[:3] == ["ours", "plain", "same"]
    assert calls[3:] == ["ours", "plain", "plain", "ours", "ours", "plain"]
    assert timed.checked == "names" and timed.ratio.n == 3

    def differ(a, b):
        raise equal.Unequal("they differ")

    calls.clear()
    with pytest.raises(equal.Unequal):
        alternate(side("ours"), side("plain"), differ, repeats=3)
    assert calls == ["ours", "plain"]


def test_seconds_are_of_one_image_and_ratios_of_pairs(monkeypatch):
    clock = iter([0.0, 4.0, 0.0, 2.0, 0.0, 6.0, 0.0, 1.0])  # ours, plain, plain, ours
    monkeypatch.setattr("tasutils.bench.timing.perf_counter", lambda: next(clock))
    timed = alternate(int, int, lambda a, b: "", repeats=2, per=2, plain_per=1)
    assert (timed.ours_s.low, timed.ours_s.high, timed.ours_s.median) == (0.5, 2.0, 1.25)
    assert (timed.plain_s.low, timed.plain_s.high) == (2.0, 6.0)
    assert (timed.ratio.low, timed.ratio.high) == (1.0, 12.0)


# equality ----------------------------------------------------------------------------------------


@given(st.integers(0, 2), st.floats(-1, 1))
@settings(max_examples=20, deadline=None)
def test_near_is_what_it_says(place, change):
    a = np.array([0.1, 0.2, 0.3])
    b = a.copy()
    b[place] += change
    if np.abs(a - b).max() <= 0.25:
        assert "within 0.25" in equal.near(a, b, 0.25)
    else:
        with pytest.raises(equal.Unequal, match="differ by up to"):
            equal.near(a, b, 0.25)


def test_not_a_number_and_other_shapes_are_not_near():
    for other in (np.array([np.nan]), np.zeros((1, 1)), np.zeros(2)):
        with pytest.raises(equal.Unequal):
            equal.near(np.zeros(1), other, 1.0)


def test_one_pixel_one_letter_one_answer(masks):
    other = masks.copy()
    other[1, 40, 55] ^= True
    assert equal.equal_masks(masks, masks.copy()) == "masks equal"
    for changed in (other, masks[:2]):
        with pytest.raises(equal.Unequal, match="masks differ"):
            equal.equal_masks(masks, changed)
    assert equal.near_masks(masks, other, 0.99)
    with pytest.raises(equal.Unequal, match="IoU"):
        equal.near_masks(masks, masks[::-1], 0.99)
    with pytest.raises(equal.Unequal, match="1 of 2 captions.*'a dog'"):
        equal.equal_words(["a dog", "b"], ["a cat", "b"])
    with pytest.raises(equal.Unequal):
        equal.equal_words(["b"], ["b", "c"])
    totals = [np.array([1.0, 0.5]), np.array([1.0, 0.9995])]
    assert "1 ties" in equal.equal_answers([0, 1], [0, 0], totals, 1e-3)
    for chosen in ([1, 0], [None, 0]):
        with pytest.raises(equal.Unequal, match="1 of 2 sentences"):
            equal.equal_answers(chosen, [0, 0], totals, 1e-3)


# the loop ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", ["black", "mean", "blur"])
def test_one_crop_by_pillow_is_that_of_the_batch(picture, masks, fill):
    for pad_square in (True, False):
        config = CropConfig(fill=fill, blur_kernel_px=9, pad_square=pad_square)
        outside = released_crops.background(picture, config)
        one = [released_crops.crop_one(picture, mask, 20, config, outside) for mask in masks]
        batch = masked_crops(picture, masks, boxes_xyxy(masks), 20, config)
        assert float((torch.cat(one) - batch).abs().max()) < 4e-3


@pytest.fixture(scope="module")
def answered(small):
    """One picture answered by ours and by the loop."""
    cases = plan.drawn_cases(1, references=2, sentences=1)
    ours = describe_section.answered(small, cases)
    return ours, describe_section.looped(small, cases, answer_cached), cases


def test_the_loop_answers_as_we_do(small, answered):
    ours, loops, cases = answered
    words = describe_section.same_answers(ours, loops)
    assert "masks equal" in words and "captions equal" in words and "2 sentences" in words
    again = answer_released(cases[0].image, cases[0].references, small.tas, plan.DATASET)
    assert again.chosen == loops[0].chosen and again.captions == loops[0].captions
    assert len(again.totals) == 2 and len(again.masks) > 1


@pytest.mark.parametrize("what", ["masks", "captions", "crops", "words", "chosen"])
def test_an_altered_output_is_not_timed(answered, what):
    ours, (found,), _ = answered
    altered = {
        "masks": {"masks": ~found.masks},
        "captions": {"captions": [*found.captions[:-1], "a llama"]},
        "crops": {"crop_embeddings": found.crop_embeddings * 1.1},
        "words": {"caption_embeddings": found.caption_embeddings[::-1] * 1.1},
        "chosen": {"chosen": [len(found.masks) - 1 - i for i in found.chosen]},
    }[what]
    with pytest.raises(equal.Unequal):
        describe_section.same_answers(ours, [replace(found, **altered)])


def test_pairs_that_overlap_are_dropped_as_by_the_filter(small):
    image = plan.drawn_images(1)[0]
    rules = {"overlap.min_area_px": 100, "overlap.max_overlap": 0.2}
    from tasutils.proposals.sam import SamProposer
    from tasutils.tas import TAS

    preset = small.preset.override(rules)
    tas = TAS(preset, SamProposer(preset.proposals, preset.overlap))
    assert np.array_equal(propose(image, tas), tas.proposer(image).masks())
    assert len(tas.proposer(image)) < len(small.tas.proposer(image))


def test_presets_that_the_loop_cannot_answer_as_are_refused():
    with pytest.raises(TasError, match="cannot answer as preset official"):
        require_plain(load_preset("official"))
    for name in ("tiny", "photo", "paper"):
        require_plain(load_preset(name))


# sections ----------------------------------------------------------------------------------------


def test_section_describe(small, monkeypatch):
    cases = plan.drawn_cases(1, references=2, sentences=1)
    monkeypatch.setattr(describe_section, "drawn_cases", lambda count: cases)
    found = measured("describe", small)
    check_rows(found, "describe")
    assert [row.target.at_least for row in found] == [8.0, 2.0]


@pytest.mark.parametrize("name", ["sam", "sentence"])
def test_section_on_one_image(small, name):
    check_rows(measured(name, small), name)


@pytest.mark.parametrize(("name", "n_rows"), [("crops", 3), ("peers", 5)])
def test_section_of_masks(small, name, n_rows):
    found = measured(name, small, n_masks=3)
    check_rows(found, name)
    assert len(found) == n_rows


def test_a_section_whose_outputs_differ_says_so_and_times_nothing(small, monkeypatch):
    from tasutils.bench import crops

    monkeypatch.setattr(crops, "TOLERANCE", 1e-9)
    found = bench.run_bench(small, ["crops"], tell=lambda text: None)
    assert bench.unequal(found) == ["crops"]
    assert [row.ours_s for row in found.rows] == [None]


@pytest.fixture
def in_process(monkeypatch):
    """Tasks of children run here, which spares loading the libraries again."""

    def run(task, environment, **given):
        module, _, name = task.partition(":")
        return getattr(import_module(module), name)(**given) | {"peak_mib": child.peak_mib()}

    for module in (sweep_section, scale, ray):
        monkeypatch.setattr(module, "run_child", run)


def test_section_sweep(small, in_process, monkeypatch):
    found = measured("sweep", small, sentences=40)
    check_rows(found, "sweep")
    assert found[0].what.startswith("1,000 settings, 40 sentences")
    rectify = sweep_section.rectifier.rectify
    last = SimpleNamespace(rectify=lambda total, inside: len(total) - 1 - rectify(total, inside))
    monkeypatch.setattr(sweep_section, "rectifier", last)
    with pytest.raises(equal.Unequal, match="mIoU"):
        measured("sweep", small, sentences=40)


def test_section_store(small):
    found = measured("store", replace(small, images=3))
    check_rows(found, "store")
    sizes = next(row.measures for row in found if row.what.startswith("bytes"))
    parts = sum(size for name, size in sizes.items() if name != "bytes_a_scene")
    assert parts == pytest.approx(sizes["bytes_a_scene"])
    assert sizes["crop_embeddings"] >= store.MASKS * store.DIM * 2


def test_scenes_of_a_store_that_differ_are_noticed(tmp_path):
    scenes = list(store.random_scenes(2))
    store.write_files(tmp_path / "plain", scenes)
    assert store.same_scenes(scenes[::-1], list(store.read_files(tmp_path / "plain")))
    caption = replace(scenes[1], captions=["a llama", *scenes[1].captions[1:]])
    moved = replace(scenes[1].proposals, boxes_xyxy=scenes[1].proposals.boxes_xyxy + 1)
    dark = replace(scenes[1], views={"crop": scenes[1].crop_embeddings * 0})
    for other in (caption, dark, replace(scenes[1], proposals=moved)):
        with pytest.raises(equal.Unequal):
            store.same_scenes([scenes[0], other], scenes)
    with pytest.raises(equal.Unequal, match="1 and 2 scenes"):
        store.same_scenes(scenes[:1], scenes)


def test_section_scale(small, in_process, monkeypatch):
    monkeypatch.setattr(scale, "TIMES", 2)
    monkeypatch.setattr(scale, "started", lambda preset, device: (small.tas, 0.5))
    found = measured("scale", small)
    check_rows(found, "scale")
    assert [row.what.split()[0] for row in found] == ["1", "2"]
    assert found[0].ratio is not None and found[1].ratio is None
    monkeypatch.setattr(scale, "pipeline", lambda **given: {"chosen": {}} | given)
    monkeypatch.setattr(scale, "loop", lambda **given: {"chosen": {"1": 0}} | given)
    with pytest.raises(equal.Unequal, match="other masks"):
        measured("scale", small)


def test_section_ray_tells_why_it_is_not_measured(small, monkeypatch):
    monkeypatch.setattr(ray, "find_spec", lambda name: None)
    (row,) = measured("ray", small)
    assert "pip install -e '.[scale]'" in row.skipped and row.met is None
    assert "not measured" in "\n".join(section_lines([row]))


def test_section_ray(small, in_process, monkeypatch):
    """Everything but Ray itself, whose engine tests/test_ray.py starts."""
    pytest.importorskip("ray")
    from tasutils.engines import describe_batch
    from tasutils.engines import ray as engine

    def actors_of_one(batches, tas, place, actors):
        return (describe_batch(batch, tas, place) for batch in batches)

    monkeypatch.setattr(engine, "describe_by_ray", actors_of_one)
    monkeypatch.setattr(ray, "cores", lambda: 2)
    (row,) = measured("ray", small)
    assert "9 images or more" in row.skipped
    preset = small.preset.override({"compute.image_batch": 1})
    (row,) = measured("ray", replace(small, given=preset, images=2))
    check_rows([row], "ray")
    assert "2 rows of both stores equal" in row.checked and row.met


def test_stores_that_differ_are_noticed(tmp_path):
    scenes = list(store.random_scenes(2))
    stores = [SceneStore(tmp_path / name) for name in ("one", "two", "three")]
    later = [replace(scene, times_s={"proposals": 9.0}) for scene in scenes[::-1]]
    other = [scenes[0], replace(scenes[1], image_caption="a llama")]
    for place, some in zip(stores, (scenes, later, other), strict=True):
        store.put_all(place, [(scene.image_id, scene) for scene in some])
    assert "2 rows" in ray.same_rows(stores[1], stores[0])
    with pytest.raises(equal.Unequal):
        ray.same_rows(stores[2], stores[0])
    with pytest.raises(equal.Unequal, match="empty"):
        ray.same_rows(SceneStore(tmp_path / "none"), stores[0])


# FLOP --------------------------------------------------------------------------------------------


def vit_flop(tokens, width, layers, mlp, seen=None):
    """By hand: 2 m n k of each product; every token sees `seen` others, itself included."""
    linear = 4 * width * width + 2 * width * mlp
    return layers * tokens * (2 * linear + 4 * width * (seen or tokens))


def test_sams_encoder_by_hand():
    from tasutils.proposals.sam_net import build_sam

    with torch.device("meta"):
        sam = build_sam("vit_h")
    found = flops.sam_flop(sam, n_points=64)
    width, side, window = 1280, 64, 14
    padded = 25 * window * window  # 64 x 64 padded to 70 x 70
    linear = 2 * 4 * width * width
    mlp = 2 * 2 * width * 4 * width * side * side
    near = padded * (linear + 4 * width * window * window + 2 * 2 * width * window)
    far = side * side * (linear + 4 * width * side * side + 2 * 2 * width * side)
    neck = 2 * side * side * (width * 256 + 256 * 256 * 9)
    patches = 2 * side * side * width * 3 * 16 * 16
    assert found["SAM encoder"] == 28 * near + 4 * far + 32 * mlp + neck + patches
    one = flops.sam_flop(sam, n_points=1)["SAM decoder"]
    assert found["SAM decoder"] == 64 * one
    upscaling = 2 * 64 * 64 * 256 * 64 * 4 + 2 * 128 * 128 * 64 * 32 * 4 + 2 * 4 * 32 * 256 * 256
    assert upscaling < one < 5 * upscaling


def test_clips_towers_by_hand():
    import open_clip

    config = open_clip.get_model_config("ViT-B-32-quickgelu")
    with torch.device("meta"):
        model = open_clip.CLIP(**config)
    found = flops.clip_flop(model, n_crops=30, n_texts=36)
    patches = 2 * 49 * 768 * 3 * 32 * 32
    assert found["CLIP image"] == 30 * (vit_flop(50, 768, 12, 3072) + patches + 2 * 768 * 512)
    assert found["CLIP text"] == 36 * (vit_flop(77, 512, 12, 2048) + 2 * 512 * 512)


def test_blip2_by_hand():
    from transformers import Blip2ForConditionalGeneration

    with torch.device("meta"):
        model = Blip2ForConditionalGeneration(blip2_opt_config())
    found = flops.blip2_flop(model, n_pictures=31, n_beams=5, n_tokens=30)
    patches = 2 * 256 * 1408 * 3 * 14 * 14
    assert found["BLIP-2 image"] == 31 * (vit_flop(257, 1408, 39, 6144) + patches)
    weights = 32 * (4 * 2560**2 + 2 * 2560 * 10240) + 50304 * 2560
    attention = 4 * 2560 * 32 * (33 * 34 // 2 + 5 * sum(range(34, 63)))
    tokens = 2 * weights * (33 + 5 * 29) - 2 * 50304 * 2560 * 32
    assert found["OPT"] == 31 * (tokens + attention)
    size = flops.decode_bytes(model, 31, 5, 30, itemsize=2)
    assert 30 * 2 * weights < size < 30 * 2 * 1.01 * weights + 31 * 5 * 30 * 63 * 2 * 32 * 2560 * 2


def test_opt_by_torchs_counter():
    from transformers import OPTConfig, OPTForCausalLM

    config = OPTConfig(vocab_size=50, hidden_size=32, word_embed_proj_dim=32, ffn_dim=64)
    config.num_hidden_layers, config.num_attention_heads = 3, 4
    with torch.device("meta"):
        model = OPTForCausalLM(config).eval()
        tokens = torch.zeros((1, 7), dtype=torch.long)
    counted = flops.counted(lambda: model(tokens, logits_to_keep=1, use_cache=False))
    unseen = 4 * 32 * 3 * (7 * 7 - 7 * 8 // 2)  # torch counts what the causal mask hides
    assert flops.opt_flop(config, prompt=7, n_beams=5, n_tokens=1) == counted - unseen


def test_the_floor_is_flop_and_bytes():
    work = flops.Work({"a": 3e12, "b": 1e12}, 2e9)
    assert work.floor_s(2e12, 1e9) == 4.0
    assert flops.matmul_rate("cpu", 64, torch.float32, repeats=2) > 1e6
    assert flops.bandwidth("cpu", 1 << 20, repeats=2) > 1e6


# random weights ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def true_size(small, tmp_path_factory):
    """Preset tiny with random weights."""
    return random_tas(small.preset, "cpu", tmp_path_factory.mktemp("random") / "blip2")


def test_random_sam_gives_discs_that_the_stock_generator_gives_too(true_size):
    image = plan.noise_and_blobs(1)[0]
    proposals = true_size.proposer(image)
    masks = proposals.masks()
    assert 2 <= len(masks) <= 7  # about half of nine points
    assert np.array_equal(propose(image, true_size), masks)
    width, height = (proposals.boxes_xyxy[:, 2:] - proposals.boxes_xyxy[:, :2]).T
    fill = proposals.areas_px / (width * height)
    assert ((fill > 0.6) & (fill < 0.95)).all()  # of a disc pi / 4
    assert np.allclose(proposals.predicted_iou, 0.95)


def test_random_captions_have_the_fixed_length(true_size, monkeypatch):
    lengths = []
    generate = true_size.captioner.model.generate

    def watched(**given):
        tokens = generate(**given)
        lengths.append((given["min_new_tokens"], given["max_new_tokens"]))
        return tokens

    monkeypatch.setattr(true_size.captioner.model, "generate", watched)
    size = true_size.captioner.image_size
    assert len(true_size.captioner.caption(torch.zeros(2, 3, size, size))) == 2
    assert lengths == [(6, 6)]


def test_published_sizes_are_written_where_there_is_no_folder(tmp_path, monkeypatch, small):
    """The very code of preset paper, but for its billions of weights."""
    from tasutils.bench import true_size as module

    real = module.blip2_opt_config()
    assert (real.text_config.num_hidden_layers, real.vision_config.hidden_size) == (32, 1408)
    few = {"num_hidden_layers": 1, "num_attention_heads": 2}
    for part in (real.text_config, real.vision_config, real.qformer_config):
        for name, value in few.items():
            setattr(part, name, value)
        part.hidden_size = 16
    real.text_config.word_embed_proj_dim = real.text_config.ffn_dim = 16
    real.vision_config.intermediate_size = real.qformer_config.intermediate_size = 16
    real.qformer_config.encoder_hidden_size = 16
    monkeypatch.setattr(module, "blip2_opt_config", lambda: real)
    preset = small.preset.override({"captioner.checkpoint": "no/such/folder"})
    tas = random_tas(preset, "cpu", tmp_path / "blip2")
    assert tas.captioner.image_size == 224
    (caption,) = tas.captioner.caption(torch.zeros(1, 3, 224, 224))
    assert len(caption.split()) == 6


def test_section_gpu_is_a_dry_run_without_a_gpu(small):
    found = measured("gpu", small)
    check_rows(found, "gpu")
    assert "DRY RUN" in found[0].note and all(row.target is None for row in found)
    floor = found[-1].measures
    total = sum(value for name, value in floor.items() if name.endswith("GFLOP"))
    floor_s = total / 1e3 / floor["matmul_TFLOP_per_s"]
    floor_s += floor["decode_GB"] / floor["memory_GB_per_s"]
    assert floor["floor_s"] == pytest.approx(floor_s) and floor["share_of_floor"] > 0


def test_section_gpu_is_refused_without_a_gpu():
    (row,) = gpu.rows(plan.Plan(None, "cpu"))
    assert "preset paper" in row.skipped and "--preset tiny" in row.skipped
    with pytest.raises(TasError, match="not SAM, CLIP and BLIP-2"):
        random_tas(load_preset("photo"), "cpu", None)


# rows, tables, the command -----------------------------------------------------------------------


def row(**given):
    ratio = rows.Spread.of([2.0, 4.0, 3.0])
    return rows.Row(**({"section": "crops", "what": "black", "ratio": ratio} | given))


def test_targets_are_judged_by_the_median():
    assert row().met is None
    assert row(target=rows.Target(number="ratio", at_least=3)).met is True
    assert row(target=rows.Target(number="ratio", at_least=3.1)).met is False
    most = rows.Target(number="peak_MiB", at_most=10)
    assert row(target=most, measures={"peak_MiB": 10.0}).met is True
    assert row(target=most, measures={"peak_MiB": 10.1}).met is False
    assert row(target=most).met is None


def test_a_bench_is_read_back_as_it_was_written(small, tmp_path):
    told = []
    found = bench.run_bench(replace(small, given=None), ["gpu"], tell=told.append)
    path = tmp_path / "new" / "bench.json"
    found.write(path)
    assert rows.read_bench(path) == found
    assert {"cores", "threads", "versions", "device", "preset_digest", "commit"} <= set(
        json.loads(path.read_text(encoding="utf-8"))["conditions"]
    )
    assert len(told) == 2 and "load average" in told[1]


def test_a_busy_machine_is_said_in_the_foot(small, monkeypatch):
    monkeypatch.setattr("tasutils.bench.conditions.load_average", lambda: 3.5)
    found = bench.run_bench(small, [], tell=lambda text: None)
    assert found.conditions["busy"] and "BUSY (3.50" in "\n".join(foot_lines(found))
    monkeypatch.setattr("tasutils.bench.conditions.load_average", lambda: 0.0)
    quiet = bench.run_bench(small, [], tell=lambda text: None)
    assert not quiet.conditions["busy"] and "BUSY" not in "\n".join(foot_lines(quiet))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read"), ("{}", "no file of tas bench"), ("[", "no file of tas bench")]
    + [('{"format": 9, "conditions": {}, "rows": []}', "has format 9")],
)
def test_a_file_that_is_no_bench_is_refused(tmp_path, content, message):
    path = tmp_path / "bench.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(TasError, match=message):
        rows.read_bench(path)


def test_the_command_writes_its_file(tmp_path, capsys):
    path = tmp_path / "bench.json"
    assert cli.main(["bench", "gpu", "--device", "cpu", "--json", str(path)]) == 0
    assert "not measured: random weights" in capsys.readouterr().out
    assert rows.read_bench(path).rows[0].section == "gpu"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nonsense"], "no section 'nonsense'"),
        (["crops", "--images", "0"], "--images is a number"),
        (["crops", "--threads", "0"], "--threads is a number"),
        (["crops", "--preset", "nonsense"], "unknown preset"),
        (["crops", "--json", "."], "is a folder"),
        (["describe", "--preset", "official"], "cannot answer as preset official"),
        (["sam", "--preset", "photo"], "has no SAM"),
    ],
)
def test_a_mistake_is_told_in_one_line(capsys, words, message):
    assert cli.main(["bench", "--device", "cpu", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_outputs_that_differ_end_the_command_with_code_1(capsys, monkeypatch):
    from tasutils.bench import crops

    def differ(given):
        raise equal.Unequal("3 captions differ")

    monkeypatch.setattr(crops, "rows", differ)
    assert cli.main(["bench", "crops", "--device", "cpu"]) == 1
    out, error = capsys.readouterr()
    assert "3 captions differ" in out and "outputs differ in crops" in error


def test_a_child_knows_its_own_memory(small, tmp_path):
    folder = str(tmp_path)
    found = child.run_child("tasutils.bench.store:read_store", small.environment(), folder=folder)
    assert found["masks"] == 0 and found["peak_mib"] < child.peak_mib()  # torch is not in it
    with pytest.raises(TasError, match="failed in its own process"):
        child.run_child("tasutils.bench.child:no_such_task", small.environment())


# profile -----------------------------------------------------------------------------------------


def test_a_profile_names_no_folder(small):
    table = profiled(lambda: small.tas.encoder.encode_text(["a dog"]))
    assert table["share"].sum() == pytest.approx(1) and (table["calls"] > 0).all()
    assert table["own_s"].is_monotonic_decreasing
    assert not table["function"].str.contains("/").any()
    assert "openclip.encode_text" in set(table["function"])


def test_stage_times_have_a_row_a_scene():
    scenes = [replace(scene, times_s={"a": 1.0, "b": k}) for k, scene in enumerate(
        store.random_scenes(2)
    )]  # fmt: skip
    table = stage_times(scenes)
    assert list(table.columns) == ["a", "b"] and table["b"].tolist() == [0.0, 1.0]
