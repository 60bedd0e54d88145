"""SAM's masks made in less time: beside segment-anything's own generator, bit for bit."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from segment_anything.utils import amg

from tasutils.compute import one_thread
from tasutils.config import ComputeConfig, OverlapConfig
from tasutils.datasets import load_dataset
from tasutils.images import read_image
from tasutils.mask_runs import changes_of, runs_of
from tasutils.masks import decode_rle
from tasutils.proposals import sam_post
from tasutils.proposals.sam import SamProposer
from tasutils.proposals.sam_builder import build_sam
from tasutils.proposals.sam_decoder import decode_points
from tasutils.proposals.sam_regions import tidy_masks
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


@pytest.fixture(scope="module")
def pictures():
    """Of RefScenes val: one as it is, and others with odd sides, thin, small and large."""
    data = load_dataset("refscenes", "val")
    images = [read_image(data.image_path(name)) for name in data.image_ids[:4]]
    large = np.asarray(Image.fromarray(images[1]).resize((501, 333)))
    small = np.asarray(Image.fromarray(images[3]).resize((77, 90)))
    return [images[0], images[2][100:131, :209], small, large]


def sam(**changes):
    return SamProposer(SamConfig(**(RULES | changes)), OverlapConfig())


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
    proposer = sam(**changes)
    assert sum(check(proposer, picture) for picture in pictures) > 5


def test_no_mask_and_one_mask(pictures):
    few = {"points_per_side": 5}
    second, first = np.sort(sam(**few)(pictures[0]).predicted_iou)[-2:].tolist()
    for bar, n in ((first, 0), (second, 1)):
        for area in (0, 40):
            proposer = sam(**few, pred_iou_thresh=bar, min_mask_region_area=area)
            assert check(proposer, pictures[0]) == n


def test_layers_of_crops_are_left_to_the_generator(pictures):
    proposer = sam(crop_n_layers=1, points_per_side=3)
    codes, guesses, _ = stock(proposer, pictures[0])
    found = proposer(pictures[0])
    assert found.rles == codes and np.array_equal(found.predicted_iou, guesses)
    assert len(found) > 1 and found.device_masks is None


@pytest.mark.parametrize("area", [0, 40])
def test_memory_changes_nothing(pictures, monkeypatch, area):
    proposer = sam(min_mask_region_area=area)
    expected = proposer(pictures[0])
    monkeypatch.setattr(sam_post, "_CPU_PX", 1)
    monkeypatch.setattr(sam_post, "_HELD_PX", 0)
    found = proposer(pictures[0])
    assert found.device_masks is None and found.rles == expected.rles
    assert np.array_equal(found.stability, expected.stability)
    assert torch.equal(found.mask_tensor("cpu"), expected.mask_tensor("cpu"))


@pytest.mark.parametrize("bar", [-1.0, 0.3, 0.5, 9.0])
def test_the_decoder_does_what_the_library_s_does(pictures, bar):
    proposer = sam()
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


@settings(max_examples=25, deadline=None)
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
    found = sam_post.stable_masks(logits, guesses, input_hw, size_hw, 256, config)
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


@settings(max_examples=100)
@given(
    st.tuples(st.integers(0, 4), st.integers(1, 7), st.integers(1, 7)).flatmap(
        lambda shape: arrays(np.bool_, shape)
    )
)
def test_changes_are_the_same_on_a_device(masks):
    assert np.array_equal(sam_post.changes_on_device(torch.from_numpy(masks)), changes_of(masks))


def slowly_tidied(masks, min_area_px):
    tidied, changed = [], []
    for mask in masks:
        mask, filled = amg.remove_small_regions(mask, min_area_px, "holes")
        mask, cut = amg.remove_small_regions(mask, min_area_px, "islands")
        tidied.append(mask)
        changed.append(filled or cut)
    return np.array(tidied), changed


def test_small_regions_are_the_library_s(rng):
    """Blobs anywhere, cut off at any side, of every size against the bar."""
    n_changed = 0
    for round_ in range(300):
        size_hw = rng.integers(4, 60, 2)
        noise = torch.from_numpy(rng.normal(size=(2, *size_hw)))[:, None]
        for _ in range(int(rng.integers(0, 3))):
            noise = torch.nn.functional.avg_pool2d(noise, 3, 1, 1)
        masks = (noise > noise.quantile(rng.uniform(0.2, 0.98)))[:, 0].numpy()
        if round_ % 2:
            y, x = rng.integers(0, size_hw)
            masks[:, :y] = masks[:, :, :x] = False
            masks[:, y + rng.integers(1, 60) :] = masks[:, :, x + rng.integers(1, 60) :] = False
        min_area_px = int(rng.integers(1, 300))
        expected, marks = slowly_tidied(masks, min_area_px)
        found, changed = tidy_masks(masks, runs_of(masks), min_area_px)
        assert np.array_equal(found, expected) and changed.tolist() == marks
        n_changed += changed.sum()
    assert 100 < n_changed < 600


@settings(max_examples=300, deadline=None)
@given(
    st.tuples(st.integers(1, 2), st.integers(1, 12), st.integers(1, 12)).flatmap(
        lambda shape: arrays(np.bool_, shape, fill=st.booleans())
    ),
    st.integers(1, 30),
)
def test_small_regions_of_any_pixels(masks, min_area_px):
    expected, marks = slowly_tidied(masks, min_area_px)
    found, changed = tidy_masks(masks, runs_of(masks), min_area_px)
    assert np.array_equal(found, expected) and changed.tolist() == marks


def test_half_precision_finds_nearly_the_same_masks(pictures):
    exact = sam()(pictures[0])
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
    found = sam()(pictures[0])
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
