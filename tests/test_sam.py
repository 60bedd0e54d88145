"""SAM's proposals: the filter behind the generator, odd pictures, damaged weights."""

import numpy as np
import pytest
import torch

from tasutils.config import OverlapConfig
from tasutils.datasets import load_dataset
from tasutils.errors import TasError
from tasutils.images import read_image
from tasutils.masks import boxes_xyxy, encode_rle
from tasutils.proposals.ground_truth import GroundTruthProposer
from tasutils.proposals.sam import SamProposer
from tasutils.proposals.settings import SamConfig


def settings(**changes):
    base = {"size": "tiny", "points_per_side": 3, "pred_iou_thresh": -9.0}
    return SamConfig(**(base | {"stability_score_thresh": 0.0} | changes))


@pytest.fixture(scope="module")
def random_sam():
    """A SAM of the tiny size with random weights that lets every mask pass."""
    torch.manual_seed(0)
    return SamProposer(settings(), OverlapConfig())


def test_random_weights_give_whole_proposals(random_sam, picture):
    proposals = random_sam(picture)
    n = len(proposals)
    assert proposals.size_hw == (60, 80)
    assert proposals.masks().shape == (n, 60, 80) and proposals.masks().any(axis=(1, 2)).all()
    assert np.array_equal(boxes_xyxy(proposals.masks()), proposals.boxes_xyxy)
    assert proposals.predicted_iou.dtype == proposals.stability.dtype == np.float32
    assert np.isfinite(proposals.predicted_iou).all() and np.isfinite(proposals.stability).all()


def once(encoder):
    """The encoder, which is the library's own class in both, run once for equal inputs."""
    forward, seen = encoder.forward, []

    def encode(pixels):
        if not (seen and torch.equal(seen[0], pixels)):
            seen[:] = pixels.clone(), forward(pixels)
        return seen[1]

    return encode


@pytest.mark.parametrize(
    ("size", "checkpoint"), [("tiny", "tiny/sam.safetensors"), ("vit_b", None)]
)
def test_masks_are_segment_anything_s_own(size, checkpoint):
    """Beside the library's own model, where its registry has the size, and its own generator."""
    from segment_anything import SamAutomaticMaskGenerator, sam_model_registry

    torch.manual_seed(0)
    data = load_dataset("refscenes", "val")
    image = read_image(data.image_path(data.image_ids[0]))
    rules = {
        "points_per_side": 2 if size == "vit_b" else 6,
        "points_per_batch": 16,
        "pred_iou_thresh": -1e9 if checkpoint is None else 0.3,
        "stability_score_thresh": 0.0,
    }
    config = SamConfig(size=size, checkpoint=checkpoint, **rules)
    ours = SamProposer(config, OverlapConfig(), "cpu")
    theirs = ours.model
    if size in sam_model_registry:
        theirs = sam_model_registry[size]().eval()
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
    small = SamProposer(settings(points_per_batch=2), OverlapConfig())
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
    strict = SamProposer(settings(pred_iou_thresh=9.0, **changes), OverlapConfig())
    proposals = strict(picture)
    assert len(proposals) == 0
    assert proposals.boxes_xyxy.shape == (0, 4) and proposals.stability.shape == (0,)


class FakeGenerator:
    """Returns given masks as the generator would, with its boxes one pixel short."""

    def __init__(self, masks):
        self.records = [
            {
                "segmentation": rle,
                "predicted_iou": 0.5 + index / 10,
                "stability_score": float("nan") if index == 0 else 0.9,
                "bbox": [0, 0, 1, 1],
            }
            for index, rle in enumerate(encode_rle(masks))
        ]

    def generate(self, image):
        return self.records


def test_filter_order_scores_and_boxes(monkeypatch, random_sam, picture, masks):
    stack = np.concatenate([masks, np.zeros((1, 60, 80), bool), masks[:1]])
    monkeypatch.setattr(random_sam, "config", settings(crop_n_layers=1))
    monkeypatch.setitem(random_sam.__dict__, "generator", FakeGenerator(stack))
    monkeypatch.setattr(random_sam, "overlap", OverlapConfig(min_area_px=0, max_overlap=0.8))
    proposals = random_sam(picture)
    assert np.array_equal(proposals.masks(), stack[:2])
    assert proposals.predicted_iou.tolist() == pytest.approx([0.5, 0.6])
    assert proposals.stability.tolist() == pytest.approx([0.0, 0.9])
    assert proposals.boxes_xyxy[1].tolist() == [50, 35, 70, 55]
    monkeypatch.setattr(random_sam, "overlap", OverlapConfig(min_area_px=0, max_overlap=None))
    assert len(random_sam(picture)) == 4, "an empty mask is never a proposal"


def test_missing_and_damaged_weights(tmp_path):
    damaged = tmp_path / "sam.safetensors"
    damaged.write_bytes(b"no weights")
    for path in (tmp_path / "absent.safetensors", damaged):
        with pytest.raises(TasError, match=path.name) as error:
            SamProposer(settings(checkpoint=str(path)), OverlapConfig())
        assert "\n" not in str(error.value)


def test_ground_truth_proposer(picture, masks):
    proposer = GroundTruthProposer(np.concatenate([masks, np.zeros((1, 60, 80), bool)]))
    assert np.array_equal(proposer(picture).masks(), masks)
    with pytest.raises(ValueError, match="picture"):
        proposer(picture[:10])
