"""FreeSOLO: the published keys, each step of inference against slow loops, odd input, presets."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from slow_peers import bilinear
from small_models import published_shapes

from making import freesolo as training
from making.freesolo import FreeMasks, contrast, shard_entry
from making.pools import draw_shard, write_shard
from tasutils.config import OverlapConfig, load_preset
from tasutils.errors import TasError
from tasutils.masks import iou
from tasutils.proposals import FreeSoloConfig, freesolo


def lively(seed=0):
    """Return a tiny network whose random weights claim objects and cut masks of all sizes."""
    torch.manual_seed(seed)
    model = freesolo.build_freesolo("tiny")
    with torch.no_grad():
        for module in model.modules():
            norm = getattr(module, "norm", None)
            if norm is not None:
                norm.running_mean.uniform_(-0.1, 0.1)
                norm.weight.uniform_(0.5, 1.5)
        model.ins_head.cate_pred.weight.mul_(4)
        model.ins_head.cate_pred.bias.fill_(-1.5)
        model.ins_head.kernel_pred.weight.mul_(12)
    return model


@pytest.fixture(scope="module")
def proposer():
    return lively_proposer(short_side_px=96, longest_side_px=200)


def lively_proposer(overlap=None, **changes):
    found = freesolo.FreeSoloProposer(
        FreeSoloConfig(size="tiny", **changes), overlap or OverlapConfig()
    )
    found.model.load_state_dict(lively().state_dict())
    return found


# --- the network ---


def test_r101_has_the_published_keys_and_shapes():
    with torch.device("meta"):
        model = freesolo.FreeSolo(freesolo.SIZES["r101"])
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert len(shapes) == 591 and shapes == published_shapes("freesolo_keys")


# --- every step of the inference, against plain loops ---


def slow_point_nms(heat):
    result = heat.copy()
    for c, i, j in np.ndindex(heat.shape):
        window = heat[c, max(i - 1, 0) : i + 1, max(j - 1, 0) : j + 1]
        if heat[c, i, j] < window.max():
            result[c, i, j] = 0
    return result


def slow_maskness(soft, bar):
    inside = [value for value in soft.ravel() if value > bar]
    return sum(inside) / len(inside) if inside else 0.0


def slow_matrix_nms(masks, scores, labels, sigma):
    def overlap(i, j):
        return (masks[i] & masks[j]).sum() / (masks[i] | masks[j]).sum()

    def rivals(j):
        return [i for i in range(j) if labels[i] == labels[j]]

    result = []
    for j in range(len(masks)):
        factors = [1.0]
        for i in rivals(j):
            hidden = max((overlap(k, i) for k in rivals(i)), default=0.0)
            factors.append(np.exp(-sigma * overlap(i, j) ** 2) / np.exp(-sigma * hidden**2))
        result.append(scores[j] * min(factors))
    return np.array(result)


def slow_inference(output, config):
    """Soft masks, scores and labels of one picture, in the order of reference/models.md."""
    features = output.masks[0].double().numpy()
    rows = []
    for logits, kernels, stride in zip(
        output.classes, output.kernels, freesolo.STRIDES, strict=True
    ):
        heat = slow_point_nms(torch.sigmoid(logits[0]).numpy())
        for c, i, j in np.ndindex(heat.shape):
            if heat[c, i, j] > config.score_thresh:
                kernel = kernels[0, :, i, j].double().numpy()
                soft = 1 / (1 + np.exp(-np.tensordot(kernel, features, 1)))
                if (soft > config.mask_thresh).sum() > stride:
                    quality = slow_maskness(soft, config.mask_thresh)
                    rows.append((heat[c, i, j] * quality, c, soft))
    rows = sorted(rows, key=lambda row: -row[0])[: config.max_candidates]
    hard = [row[2] > config.mask_thresh for row in rows]
    scores = slow_matrix_nms(hard, [r[0] for r in rows], [r[1] for r in rows], config.nms_sigma)
    kept = [i for i in np.argsort(-scores) if scores[i] >= config.final_thresh]
    kept = kept[: config.max_masks]
    return [rows[i][2] for i in kept], scores[kept]


@st.composite
def ranked_masks(draw):
    """Return masks that are not empty, falling scores and labels."""
    n = draw(st.integers(1, 7))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    masks = rng.uniform(size=(n, 4, 5)) < rng.uniform(0.2, 0.9)
    masks[np.arange(n), rng.integers(4, size=n), rng.integers(5, size=n)] = True
    for index in range(1, n):  # some doubles
        if rng.uniform() < 0.3:
            masks[index] = masks[rng.integers(index)]
    scores = np.sort(rng.uniform(0.05, 1, n))[::-1].copy()
    return masks, scores, rng.integers(0, 2, n)


@settings(max_examples=40, deadline=None)
@given(ranked_masks(), st.floats(0, 4))
def test_matrix_nms_is_the_slow_one_and_raises_no_score(given_masks, sigma):
    masks, scores, labels = given_masks
    fast = freesolo.matrix_nms(*map(torch.from_numpy, given_masks), sigma).numpy()
    assert np.allclose(fast, slow_matrix_nms(masks, scores, labels, sigma))
    assert (fast <= scores + 1e-12).all() and (fast > 0).all()
    for label in (0, 1):  # the best of a class is never lowered
        assert not (labels == label).any() or np.isclose(
            fast[labels == label][0], scores[labels == label][0]
        )


@pytest.mark.parametrize(
    ("size_hw", "expected"),
    [((480, 640), (800, 1067)), ((300, 1200), (333, 1333)), ((800, 800), (800, 800)),
     ((1, 5000), (1, 1333)), ((1, 1), (800, 800))],
)  # fmt: skip
def test_input_size(size_hw, expected):
    for order in (1, -1):
        image = np.zeros((*size_hw[::order], 3), np.uint8)
        assert freesolo.network_input(image, 800, 1333)[1] == expected[::order]


def test_network_input_is_resized_normalised_and_padded(picture):
    pixels, (height, width) = freesolo.network_input(picture, 50, 1333)
    assert (height, width) == (50, 67) and pixels.shape == (1, 3, 64, 96)
    resized = np.asarray(Image.fromarray(picture).resize((67, 50), Image.Resampling.BILINEAR))
    for channel in range(3):
        slow = (resized[..., channel] - freesolo.PIXEL_MEAN[channel]) / freesolo.PIXEL_STD[channel]
        assert np.allclose(pixels[0, channel, :50, :67].numpy(), slow, atol=1e-5)
    assert (pixels[:, :, 50:] == 0).all() and (pixels[:, :, :, 67:] == 0).all()


def test_full_size_is_enlarged_cut_and_resized(rng):
    soft = rng.uniform(size=(2, 3, 4)).astype(np.float32)
    found = freesolo.full_size(torch.from_numpy(soft), (9, 14), (7, 5), 0.5)
    for mask, one in zip(found, soft, strict=True):
        slow = bilinear(bilinear(one, (12, 16))[:9, :14], (7, 5))
        clear = np.abs(slow - 0.5) > 1e-5
        assert clear.mean() > 0.9 and np.array_equal(mask[clear], slow[clear] > 0.5)


def test_the_whole_inference_is_the_slow_one(proposer, picture):
    config = FreeSoloConfig(size="tiny", max_candidates=60, max_masks=20)
    pixels, inner_hw = freesolo.network_input(picture, 240, 400)
    with torch.inference_mode():
        output = proposer.model(pixels)
    slow_soft, slow_scores = slow_inference(output, config)
    assert len(slow_scores) == 20, "the random network must find enough to compare"
    found = lively_proposer(max_candidates=60, max_masks=20)(picture)
    large = freesolo.full_size(
        torch.from_numpy(np.stack(slow_soft)).float(), inner_hw, (60, 80), 0.5
    )
    kept = large.any(axis=(1, 2))
    assert np.allclose(found.predicted_iou, slow_scores[kept], atol=1e-4)
    assert (found.masks() != large[kept]).mean() < 1e-3


# --- behind Proposer ---


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 1000))
def test_any_picture_gives_whole_proposals(proposer, height, width, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    found = proposer(image)
    assert found.size_hw == (height, width) and found.masks().shape[1:] == (height, width)
    assert found.masks().any(axis=(1, 2)).all() and len(found) <= 100
    assert (np.diff(found.predicted_iou) <= 0).all()
    assert ((found.predicted_iou >= 0.05) & (found.predicted_iou <= 1)).all()


def test_thresholds_and_filters_are_settings(picture):
    def count(overlap=None, max_masks=1000, **changes):
        changes = {"short_side_px": 96, "max_masks": max_masks} | changes
        return len(lively_proposer(overlap, **changes)(picture))

    assert count(score_thresh=1.0) == 0 and count(max_masks=3) == 3
    assert 0 < count(final_thresh=0.4) < count() != count(short_side_px=64)
    assert count(OverlapConfig(max_overlap=0.5)) < count()


# --- a switch of any preset ---


R101 = {"kind": "freesolo", "size": "r101", "checkpoint": "paper/FreeSOLO_R101_30k_pl.pth"}


def test_any_preset_can_be_switched_to_it():
    preset = load_preset("photo")
    switched = preset.override({"proposals": R101})
    chosen = switched.proposals
    assert isinstance(chosen, FreeSoloConfig)
    assert (chosen.score_thresh, chosen.mask_thresh, chosen.nms_sigma) == (0.1, 0.5, 2.0)
    assert (chosen.max_candidates, chosen.final_thresh, chosen.max_masks) == (500, 0.05, 100)
    assert (freesolo.SIZES["r101"].short_px, freesolo.SIZES["r101"].long_px) == (800, 1333)
    assert switched.weight_paths()["proposals.checkpoint"].name == "FreeSOLO_R101_30k_pl.pth"
    assert switched.override({"proposals.nms_sigma": 1.0}).proposals.nms_sigma == 1.0


# --- the training without labels ---


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Folders of three training scenes and of pseudo masks: two things of each, best first."""
    pool, masks = tmp_path_factory.mktemp("pool"), tmp_path_factory.mktemp("masks")
    draw_shard(pool, 1_000_000, 3)
    labels = np.load(pool / "1000000.labels.npy")
    found = [np.stack([one == k for k in np.unique(one)[1:3]]) for one in labels]
    write_shard(masks, "1000000", [shard_entry(m, np.ones(len(m), np.float32)) for m in found])
    return pool, masks


def test_pseudo_masks_come_back_mirrored_with_the_picture_and_no_label_is_opened(shards, tmp_path):
    for path in shards[0].iterdir():
        if "labels" not in path.name:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    pool = training.PseudoPool(tmp_path, shards[1])
    assert len(pool) == 3
    rng = np.random.default_rng(0)
    plain = [pool.draw(rng, mirror=0) for _ in range(8)]
    labels = np.load(shards[0] / "1000000.labels.npy")
    images = np.load(shards[0] / "1000000.images.npy")
    for scene in plain:
        index = next(i for i in range(3) if np.array_equal(images[i], scene.image))
        assert all(np.array_equal(m, labels[index] == k) for m, k in
                   zip(scene.masks, np.unique(labels[index])[1:3], strict=True))  # fmt: skip
    turned = training.PseudoPool(*shards).draw(np.random.default_rng(0), mirror=1)
    assert np.array_equal(turned.image[:, ::-1], plain[0].image)
    assert np.array_equal(turned.masks[:, :, ::-1], plain[0].masks)
    with pytest.raises(TasError, match="free-masks"):
        training.PseudoPool(tmp_path, tmp_path / "absent")


def test_cells_around_the_centre_answer_for_a_mask_of_their_size():
    masks = np.zeros((3, 64, 80), np.uint8)
    masks[0, 30:34, 38:42] = 1  # 16 px: p2 and, since 14 <= 16, p3
    masks[1, 20:44, 20:60] = 1  # about 124 px: p5 and p6
    levels = training.responsible_cells(masks, (24, 20, 16, 10, 8))
    assert [sorted(set(np.unique(level)) - {-1}) for level in levels] == [[0], [0], [], [1], [1]]
    assert levels[0][12, 12] == 0 and levels[1][10, 10] == 0
    rows, columns = np.nonzero(levels[3] == 1)
    assert np.abs(rows - 5).max() <= 1 and np.abs(columns - 5).max() <= 1
    both = training.responsible_cells(masks[[0, 0]], (24, 20, 16, 10, 8))
    assert {int(n) for level in both for n in np.unique(level)} == {-1, 0}, "the better mask wins"


def test_the_losses_are_the_slow_ones(rng):
    chance, target = rng.uniform(size=(2, 6)), rng.integers(0, 2, (2, 6)).astype(float)
    slow = [1 - 2 * p @ t / (p @ p + t @ t + 1e-3) for p, t in zip(chance, target, strict=True)]
    assert np.allclose(training.dice_loss(torch.from_numpy(chance), torch.from_numpy(target)), slow)

    lab, logits = rng.uniform(0, 4, (3, 5, 6)), rng.normal(size=(5, 6))
    goal = np.zeros((5, 6))
    goal[1:4, 2:5] = 1
    p = 1 / (1 + np.exp(-logits))
    terms = []
    for i, j in np.ndindex(5, 6):
        for k, m in ((i, j + 2), (i + 2, j), (i + 2, j + 2), (i + 2, j - 2)):
            if goal[i, j] and k < 5 and 0 <= m < 6:
                distance = np.sqrt(((lab[:, i, j] - lab[:, k, m]) ** 2).sum())
                if np.exp(-distance / 2) >= 0.3:
                    same = p[i, j] * p[k, m] + (1 - p[i, j]) * (1 - p[k, m])
                    terms.append(-np.log(same))
    assert 3 < len(terms) < 30
    pairs = training.alike(torch.from_numpy(lab))
    fast = training.affinity_loss(
        torch.from_numpy(logits)[None], torch.from_numpy(goal)[None], pairs
    )
    assert fast.item() == pytest.approx(np.mean(terms))


def test_the_loss_prefers_the_pseudo_masks(shards):
    scene = training.PseudoPool(*shards).draw(np.random.default_rng(0))
    batch = training.solo_batch([scene])
    with torch.no_grad():
        output = training.trainable().eval()(batch.pixels)
    assert all(abs(float(x.sigmoid().mean()) - 0.01) < 0.005 for x in output.classes)
    masks = batch.masks[0].float() * 40 - 20  # one feature a mask, chosen by the kernels
    features = torch.zeros_like(output.masks)
    features[0, : len(masks)] = masks
    right, wrong = [], []
    for cells, kernels in zip(batch.cells[0], output.kernels, strict=True):
        for answers, order in ((right, 1), (wrong, -1)):
            answers.append(torch.zeros_like(kernels))
            for i, j in np.argwhere(cells >= 0):
                chosen = range(len(masks))[::order][cells[i, j]]
                answers[-1][0, chosen, i, j] = 1
    loss = {
        name: training.solo_loss(output._replace(kernels=kernels, masks=features), batch,
                        np.random.default_rng(0), 0.3)[1]
        for name, kernels in (("right", right), ("wrong", wrong))
    }  # fmt: skip
    assert loss["right"]["dice"] < 0.01 < 0.5 < loss["wrong"]["dice"]
    assert loss["right"]["agree"] > 0.99 and loss["right"]["max"] < loss["wrong"]["max"]


def test_a_scene_without_pseudo_masks_teaches_that_nothing_is_there():
    batch = training.solo_batch(
        [training.PseudoScene(np.zeros((240, 320, 3), np.uint8), np.zeros((0, 240, 320), bool))]
    )
    model = training.trainable()
    loss, told = training.solo_loss(model(batch.pixels), batch, np.random.default_rng(0), 1.0)
    loss.backward()
    assert loss.item() == pytest.approx(told["focal"]) and told["dice"] == 0
    assert model.ins_head.cate_pred.bias.grad.min() > 0


def test_the_trained_norms_freeze_into_the_published_keys(rng):
    model = training.trainable().train()
    x = torch.randn(2, 3, 64, 64)
    model(x)  # moves the running statistics
    frozen = freesolo.build_freesolo("tiny")
    frozen.load_state_dict(training.published_state(model.state_dict()))
    with torch.no_grad():
        for ours, theirs in zip(model.eval()(x)[:2], frozen(x)[:2], strict=True):
            assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.slow
def test_free_masks_stand_out_from_their_surroundings():
    pytest.importorskip("timm")
    features = torch.zeros(2, 6, 8)
    features[0], features[1, 2:4, 3:5] = 1.0, 4.0
    square = np.zeros((2, 240, 320), bool)
    square[0, 80:160, 120:200], square[1, 80:160, 0:80] = True, True
    thing, ground = contrast(features, square)
    assert thing > 0.1 > 0.02 > abs(ground)
    image = np.full((240, 320, 3), 90, np.uint8)
    image[80:160, 100:200] = (200, 40, 40)
    blurred = np.zeros((3, 240, 320), bool)
    blurred[0, 74:150, 108:204], blurred[1, 86:166, 96:192] = True, True  # one thing, twice
    blurred[2, 0:30, 0:30] = True  # no region is like it
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    snapped, kept = FreeMasks().snapped(image, blurred, scores)
    assert kept == pytest.approx([0.9]) and len(snapped) == 1
    thing = (image == (200, 40, 40)).all(axis=2)
    assert iou(snapped[0], thing) > 0.8 > iou(blurred[0], thing)
