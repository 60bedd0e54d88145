"""SAM's proposals beside segment-anything's own generator, bit for bit; odd pictures, weights."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from segment_anything.utils import amg

from tasutils.compute import one_thread
from tasutils.config import ComputeConfig, OverlapConfig
from tasutils.datasets import load_dataset
from tasutils.errors import TasError
from tasutils.images import read_image
from tasutils.masks import decode_rle, runs_of
from tasutils.proposals import as_proposals, check_proposer, sam
from tasutils.proposals.sam import SamProposer, decode_points, stable_masks
from tasutils.proposals.sam_net import build_sam
from tasutils.proposals.settings import SamConfig
from tasutils.scene import Proposals

RULES = {
    "size": "tiny",
    "checkpoint": "tiny/sam.safetensors",
    "points_per_side": 6,
    "points_per_batch": 20,
    "pred_iou_thresh": 0.3,
    "stability_score_thresh": 0.2,
}
ALL_PASS = {
    "checkpoint": None, "points_per_side": 3, "pred_iou_thresh": -9.0, "stability_score_thresh": 0.0
}  # fmt: skip


def proposer_of(**changes):
    return SamProposer(SamConfig(**(RULES | changes)), OverlapConfig())


@pytest.fixture(scope="module")
def random_sam():
    """A SAM of the tiny size with random weights that lets every mask pass."""
    torch.manual_seed(0)
    return proposer_of(**ALL_PASS)


@pytest.fixture(scope="module")
def pictures():
    """Of RefScenes val: one as it is, and others with odd sides, thin, small and large."""
    data = load_dataset("refscenes", "val")
    images = [read_image(data.image_path(name)) for name in data.image_ids[:4]]
    large = np.asarray(Image.fromarray(images[1]).resize((501, 333)))
    small = np.asarray(Image.fromarray(images[3]).resize((77, 90)))
    return [images[0], images[2][100:131, :209], small, large]


def stock(proposer, image):
    """The generator's masks that are not empty: codes, guesses and stability."""
    records = proposer.generator.generate(image)
    records = [r for r in records if decode_rle([r["segmentation"]]).any()]
    codes = [r["segmentation"] for r in records]
    scores = [[r[key] for r in records] for key in ("predicted_iou", "stability_score")]
    return codes, *(np.nan_to_num(np.array(values, np.float32)) for values in scores)


def check(proposer, image):
    codes, guesses, stability = stock(proposer, image)
    found = proposer(image)
    assert found.rles == codes
    assert np.array_equal(found.predicted_iou, guesses)
    assert np.array_equal(found.stability, stability)
    assert found.device_masks is not None
    assert np.array_equal(found.device_masks.numpy(), decode_rle(codes, found.size_hw))
    return len(found)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "points_per_side": 4},
        {"pred_iou_thresh": -1.0, "stability_score_thresh": 0.7, "box_nms_thresh": 0.95},
        {"pred_iou_thresh": 0.6, "stability_score_offset": 2.0, "points_per_batch": 64},
        {"min_mask_region_area": 40},
        {"min_mask_region_area": 800, "box_nms_thresh": 0.9, "pred_iou_thresh": 0.1},
    ],
)
def test_masks_order_and_scores_are_the_generator_s(pictures, changes):
    proposer = proposer_of(**changes)
    assert sum(check(proposer, picture) for picture in pictures) > 5


def test_no_mask_and_one_mask(pictures):
    few = {"points_per_side": 5}
    second, first = np.sort(proposer_of(**few)(pictures[0]).predicted_iou)[-2:].tolist()
    for bar, n in ((first, 0), (second, 1)):
        for area in (0, 40):
            proposer = proposer_of(**few, pred_iou_thresh=bar, min_mask_region_area=area)
            assert check(proposer, pictures[0]) == n


def test_layers_of_crops_are_left_to_the_generator(pictures):
    proposer = proposer_of(crop_n_layers=1, points_per_side=3)
    codes, guesses, _ = stock(proposer, pictures[0])
    found = proposer(pictures[0])
    assert found.rles == codes and np.array_equal(found.predicted_iou, guesses)
    assert len(found) > 1 and found.device_masks is None


@pytest.mark.parametrize("area", [0, 40])
def test_memory_changes_nothing(pictures, monkeypatch, area):
    proposer = proposer_of(min_mask_region_area=area)
    expected = proposer(pictures[0])
    monkeypatch.setattr(sam, "_CPU_PX", 1)
    monkeypatch.setattr(sam, "_HELD_PX", 0)
    found = proposer(pictures[0])
    assert found.device_masks is None and found.rles == expected.rles
    assert np.array_equal(found.stability, expected.stability)
    assert torch.equal(found.mask_tensor("cpu"), expected.mask_tensor("cpu"))


@pytest.mark.parametrize("bar", [-1.0, 0.3, 0.5, 9.0])
def test_the_decoder_does_what_the_library_s_does(pictures, bar):
    proposer = proposer_of()
    model, resize = proposer.model, proposer._resize
    for picture in pictures[:2]:
        points = torch.rand((20, 2), dtype=torch.float64) * 200
        pixels = torch.from_numpy(resize.apply_image(picture)).permute(2, 0, 1)[None]
        with torch.no_grad(), one_thread():
            embedding = model.image_encoder(model.preprocess(pixels))
            prompts = model.prompt_encoder((points[:, None], torch.ones(20, 1)), None, None)
            place = model.prompt_encoder.get_dense_pe()
            logits, guesses = model.mask_decoder(embedding, place, *prompts, True)
            found = decode_points(model, embedding, points, bar)
        passes = guesses > bar if bar > 0 else guesses > -9
        assert torch.equal(found[1], guesses[passes])
        assert torch.equal(found[0], logits[passes])


@settings(max_examples=15, deadline=None)
@given(
    st.tuples(st.integers(2, 90), st.integers(2, 90)),
    st.integers(0, 4),
    st.sampled_from([0.0, 0.3, 0.8]),
    st.integers(0, 999),
)
def test_stable_masks_beside_the_library_s_steps(size_hw, n, bar, seed):
    """On smooth noise: enlarged twice, judged, thresholded, boxed, one step after the other."""
    torch.manual_seed(seed)
    model = build_sam("tiny")
    noise = torch.randn(1, max(n, 1), 128, 128)
    logits = torch.nn.functional.avg_pool2d(noise, 15, 1, 7)[0, :n] * 40
    guesses = torch.rand(n)
    scale = 256 / max(size_hw)
    input_hw = tuple(int(side * scale + 0.5) for side in size_hw)
    config = SamConfig(**(RULES | {"stability_score_thresh": bar}))
    found = stable_masks(model, logits, guesses, input_hw, size_hw, config)
    if not n:
        assert found.runs.n == 0 and found.masks.shape == (0, *size_hw)
        return
    large = model.postprocess_masks(logits[None], input_hw, size_hw)[0]
    stability = amg.calculate_stability_score(large, 0.0, 1.0)
    stays = stability >= bar if bar > 0 else torch.ones(n, dtype=torch.bool)
    masks = large[stays] > 0
    assert torch.equal(found.masks, masks)
    assert torch.equal(found.guesses, guesses[stays])
    assert np.array_equal(found.stability, stability[stays], equal_nan=True)
    assert np.array_equal(found.runs.rles(), runs_of(masks.numpy()).rles())


def once(encoder):
    """The encoder, which is the library's own class in both, run once for equal inputs."""
    forward, seen = encoder.forward, []

    def encode(pixels):
        if not (seen and torch.equal(seen[0], pixels)):
            seen[:] = pixels.clone(), forward(pixels)
        return seen[1]

    return encode


def test_masks_are_those_of_segment_anything_s_own_model():
    """Beside the library's own ViT-B and its own generator."""
    from segment_anything import SamAutomaticMaskGenerator, sam_model_registry

    torch.manual_seed(0)
    data = load_dataset("refscenes", "val")
    image = read_image(data.image_path(data.image_ids[0]))
    rules = {
        "points_per_side": 2,
        "points_per_batch": 16,
        "pred_iou_thresh": -1e9,
        "stability_score_thresh": 0.0,
    }
    config = SamConfig(size="vit_b", **rules)
    ours = SamProposer(config, OverlapConfig(), "cpu")
    theirs = sam_model_registry["vit_b"]().eval()
    theirs.load_state_dict(ours.model.state_dict())
    theirs.image_encoder.forward = ours.model.image_encoder.forward = once(theirs.image_encoder)
    generator = SamAutomaticMaskGenerator(theirs, **rules)
    records = [r for r in generator.generate(image) if r["segmentation"].any()]
    found = ours(image)
    assert len(records) > 0
    assert np.array_equal(found.masks(), np.array([r["segmentation"] for r in records]))
    scores = np.array([(r["predicted_iou"], r["stability_score"]) for r in records], np.float32)
    assert np.array_equal(np.stack([found.predicted_iou, found.stability], 1), scores)


def test_points_per_batch_changes_nothing(random_sam, picture):
    small = proposer_of(**ALL_PASS, points_per_batch=2)
    small.model.load_state_dict(random_sam.model.state_dict())
    a, b = random_sam(picture), small(picture)
    assert a.rles == b.rles
    assert np.allclose(a.predicted_iou, b.predicted_iou, atol=1e-5)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 40), (3, 2000), (2, 2), (2, 500), (40, 1)])
def test_tiny_and_thin_pictures(random_sam, size_hw):
    proposals = random_sam(np.full((*size_hw, 3), 128, np.uint8))
    assert proposals.size_hw == size_hw
    assert proposals.masks().shape[1:] == size_hw
    assert np.isfinite(proposals.centers_xy).all()


@pytest.mark.parametrize("changes", [{}, {"crop_n_layers": 1}, {"min_mask_region_area": 20}])
def test_no_mask_passes(random_sam, picture, changes):
    strict = proposer_of(**(ALL_PASS | {"pred_iou_thresh": 9.0} | changes))
    proposals = strict(picture)
    assert len(proposals) == 0
    assert proposals.boxes_xyxy.shape == (0, 4) and proposals.stability.shape == (0,)


def test_missing_and_damaged_weights(tmp_path):
    damaged = tmp_path / "sam.safetensors"
    damaged.write_bytes(b"no weights")
    for path in (tmp_path / "absent.safetensors", damaged):
        with pytest.raises(TasError, match=path.name) as error:
            proposer_of(checkpoint=str(path))
        assert "\n" not in str(error.value)


def test_half_precision_finds_nearly_the_same_masks(pictures):
    exact = proposer_of()(pictures[0])
    config = SamConfig(**RULES)
    rough = SamProposer(config, OverlapConfig(), compute=ComputeConfig(precision="bfloat16"))(
        pictures[0]
    )
    assert rough.predicted_iou.dtype == np.float32 and len(rough) > 3
    a, b = exact.masks().reshape(len(exact), -1), rough.masks().reshape(len(rough), -1)
    shared = (a[:, None] & b[None]).sum(-1) / (a[:, None] | b[None]).sum(-1)
    assert not np.array_equal(a, b), "autocast did not reach the networks"
    assert np.median(shared.max(axis=1)) > 0.9


def test_masks_on_the_device_stay_out_of_everything_else(masks, pictures):
    found = proposer_of()(pictures[0])
    assert found.mask_tensor("cpu") is found.device_masks
    assert found.released().device_masks is None and found.released().rles == found.rles
    assert "device_masks" not in repr(found)
    again = pickle.loads(pickle.dumps(found))
    assert again.device_masks is None and again.rles == found.rles
    assert torch.equal(again.mask_tensor("cpu"), found.mask_tensor("cpu"))
    picked = found.take(np.array([2, 0]))
    assert torch.equal(picked.mask_tensor("cpu"), torch.from_numpy(picked.masks()))
    decoded = Proposals.from_masks(masks)
    assert decoded.released() is decoded
    assert decoded.mask_tensor("cpu").dtype == torch.bool
    assert np.array_equal(decoded.mask_tensor("cpu"), masks)
    none = Proposals.from_masks(masks[:0])
    assert none.mask_tensor("cpu").shape == (0, 60, 80) and len(Proposals.joined([none, none])) == 0


# masks of one's own


@pytest.mark.parametrize(
    "form",
    [
        lambda masks: masks,
        lambda masks: torch.from_numpy(masks),
        lambda masks: masks.astype(np.uint8) * 255,
        list,
        lambda masks: [torch.from_numpy(mask) for mask in masks],
        lambda masks: [{"segmentation": mask, "area": 1} for mask in masks],
        Proposals.from_masks,
    ],
)
def test_masks_of_ones_own_are_read(form, masks, picture):
    assert np.array_equal(as_proposals(form(masks), picture).masks(), masks)


def test_no_masks_of_ones_own(picture, masks):
    check_proposer(lambda image: masks)
    with pytest.raises(TasError, match=r"the proposer is ndarray; give .* lambda image: masks"):
        check_proposer(masks)
    for none in ([], np.zeros((0, 60, 80), bool)):
        assert as_proposals(none, picture).size_hw == (60, 80)


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (None, "NoneType"),
        ("masks", "list"),
        (np.ones((60, 80), bool), r"bool \(60, 80\)"),
        (np.full((1, 60, 80), 0.5), "float64"),
        ([np.ones((60, 80), bool), np.ones((6, 8), bool)], "list"),
        (np.ones((2, 80, 60), bool), r"masks of \(80, 60\) for a picture of \(60, 80\)"),
    ],
)
def test_other_things_are_refused_in_one_line(wrong, what, picture):
    with pytest.raises(TasError, match=what) as error:
        as_proposals(wrong, picture)
    assert "\n" not in str(error.value)
