"""SAM's proposals beside segment-anything's own generator, bit for bit; odd pictures, weights."""

import pickle

import numpy as np
import pytest
import torch
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

from tasutils.config import ComputeConfig, OverlapConfig
from tasutils.datasets import load_dataset
from tasutils.errors import TasError
from tasutils.images import read_image
from tasutils.masks import decode_rle
from tasutils.proposals import SamConfig, propose, sam
from tasutils.proposals.sam import SamProposer
from tasutils.scene import Proposals

RULES = {
    "size": "tiny", "checkpoint": "tiny/sam.safetensors", "points_per_side": 5,
    "points_per_batch": 20, "pred_iou_thresh": 0.3, "stability_score_thresh": 0.2,
}  # fmt: skip
ALL_PASS = {
    "checkpoint": None, "points_per_side": 3, "pred_iou_thresh": -9.0, "stability_score_thresh": 0.0
}  # fmt: skip


def proposer_of(compute=None, **changes):
    config = SamConfig(**(RULES | changes))
    return SamProposer(config, OverlapConfig(), compute=compute or ComputeConfig())


@pytest.fixture(scope="module")
def random_sam():
    """A SAM of the tiny size with random weights that lets every mask pass."""
    torch.manual_seed(0)
    return proposer_of(**ALL_PASS)


@pytest.fixture(scope="module")
def pictures():
    """Two pictures of RefScenes val: one as it is, one thin and with odd sides."""
    data = load_dataset("refscenes", "val")
    first, second = (read_image(data.image_path(name)) for name in data.image_ids[:3:2])
    return [first, second[100:131, :209]]


def check(proposer, image):
    """Masks, order and scores are the generator's, but for its empty masks; how many."""
    records = proposer.generator.generate(image)
    records = [r for r in records if decode_rle([r["segmentation"]]).any()]
    found = proposer(image)
    assert found.rles == [r["segmentation"] for r in records]
    for name, wanted in (("predicted_iou", "predicted_iou"), ("stability", "stability_score")):
        wanted = np.nan_to_num(np.array([r[wanted] for r in records], np.float32))
        assert np.array_equal(getattr(found, name), wanted)
    if not proposer.config.crop_n_layers:
        assert np.array_equal(found.device_masks.numpy(), found.masks())
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
        {"crop_n_layers": 1, "points_per_side": 3},  # layers are left to the generator
    ],
)
def test_masks_order_and_scores_are_the_generator_s(pictures, changes):
    proposer = proposer_of(**changes)
    assert sum(check(proposer, picture) for picture in pictures) > 2


def test_no_mask_and_one_mask(pictures):
    second, first = np.sort(proposer_of()(pictures[0]).predicted_iou)[-2:].tolist()
    for bar, area, n in ((first, 0, 0), (first, 40, 0), (second, 40, 1)):
        proposer = proposer_of(pred_iou_thresh=bar, min_mask_region_area=area)
        assert check(proposer, pictures[0]) == n


def test_at_the_published_size(monkeypatch, picture):
    """The library's own encoder of 1024 px, made thin."""

    def thin():
        return Sam(
            ImageEncoderViT(depth=1, embed_dim=16, num_heads=1, out_chans=256, window_size=8),
            PromptEncoder(256, (64, 64), (1024, 1024), mask_in_chans=16),
            MaskDecoder(transformer_dim=256, transformer=TwoWayTransformer(2, 256, 8, 2048)),
        )

    monkeypatch.setitem(sam.SIZES, "vit_b", thin)
    few = {"size": "vit_b", "points_per_side": 2, "box_nms_thresh": 1.0}
    assert check(proposer_of(**(ALL_PASS | few)), picture) > 5


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


@pytest.mark.parametrize("size_hw", [(61, 90), (90, 17), (64, 64)])
def test_masks_of_noise_are_the_generator_s(random_sam, rng, size_hw):
    assert check(random_sam, rng.integers(0, 256, (*size_hw, 3), dtype=np.uint8)) > 0


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 40), (3, 2000), (2, 2), (2, 500), (40, 1)])
def test_tiny_and_thin_pictures(random_sam, size_hw):
    proposals = random_sam(np.full((*size_hw, 3), 128, np.uint8))
    assert proposals.size_hw == size_hw and proposals.masks().shape[1:] == size_hw
    assert np.isfinite(proposals.centers_xy).all()


@pytest.mark.parametrize("changes", [{}, {"crop_n_layers": 1}, {"min_mask_region_area": 20}])
def test_no_mask_passes(picture, changes):
    proposals = proposer_of(**(ALL_PASS | {"pred_iou_thresh": 9.0} | changes))(picture)
    assert len(proposals) == 0
    assert proposals.boxes_xyxy.shape == (0, 4) and proposals.stability.shape == (0,)


def test_half_precision_finds_nearly_the_same_masks(pictures):
    exact = proposer_of()(pictures[0])
    rough = proposer_of(ComputeConfig(precision="bfloat16"))(pictures[0])
    assert rough.predicted_iou.dtype == np.float32 and len(rough) > 3
    a, b = exact.masks().reshape(len(exact), -1), rough.masks().reshape(len(rough), -1)
    shared = (a[:, None] & b[None]).sum(-1) / (a[:, None] | b[None]).sum(-1)
    assert not np.array_equal(a, b), "autocast did not reach the networks"
    assert np.median(shared.max(axis=1)) > 0.9


def test_masks_on_the_device_stay_out_of_everything_else(random_sam, picture):
    found = random_sam(picture)
    assert len(found) > 1 and found.mask_tensor("cpu") is found.device_masks
    again = pickle.loads(pickle.dumps(found))
    for copy in (again, found.released()):
        assert copy.device_masks is None and copy.rles == found.rles
    assert "device_masks" not in repr(found)
    assert torch.equal(again.mask_tensor("cpu"), found.mask_tensor("cpu"))
    picked = found.take(np.array([1, 0]))
    assert torch.equal(picked.mask_tensor("cpu"), torch.from_numpy(picked.masks()))


# masks of one's own


@pytest.mark.parametrize(
    "form",
    [
        lambda masks: masks,
        torch.from_numpy,
        lambda masks: masks.astype(np.uint8) * 255,
        list,
        lambda masks: [torch.from_numpy(mask) for mask in masks],
        lambda masks: [{"segmentation": mask, "area": 1} for mask in masks],
        Proposals.from_masks,
    ],
)
def test_masks_of_ones_own_are_read(form, masks, picture):
    assert np.array_equal(propose(lambda image: form(masks), picture).masks(), masks)


@pytest.mark.parametrize("none", [[], np.zeros((0, 60, 80), bool)])
def test_no_masks_of_ones_own(none, picture):
    found = propose(lambda image: none, picture)
    assert len(found) == 0 and found.size_hw == (60, 80)
    assert found.mask_tensor("cpu").shape == (0, 60, 80)
    assert len(Proposals.joined([found, found])) == 0


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
        propose(lambda image: wrong, picture)
    assert "\n" not in str(error.value)
    with pytest.raises(TasError, match="give a function of a picture.* lambda image: masks"):
        propose(wrong, picture)
