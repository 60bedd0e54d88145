"""The peer methods against slow, plainly written versions and the package grad-cam."""

import numpy as np
import pytest
import slow_peers as slow
import torch
from small_peers import expression, random_masks, scene_of, small_clip

from tasutils.baselines.clip_surgery import ClipSurgery, ClipSurgeryConfig, prompt_templates
from tasutils.baselines.global_local import GlobalLocal, GlobalLocalConfig
from tasutils.baselines.grad_cam import GradCam, GradCamConfig
from tasutils.baselines.region_token import RegionToken, RegionTokenConfig
from tasutils.baselines.score_map import ScoreMap, ScoreMapConfig
from tasutils.baselines.square import IMAGENET_MEAN, IMAGENET_STD, SquareConfig
from tasutils.crops import CLIP_MEAN_RGB, CLIP_STD_RGB, whole_image

KINDS = ("vit", "resnet")
SENTENCE = expression()
close = {"rtol": 0, "atol": 1e-5}


@pytest.fixture
def masks(rng):
    return random_masks(rng, 5, (60, 80))


def text_of(encoder, text="a the red car on the left"):
    return encoder.encode_text([text])[0].astype(float)


def pixels_of(encoder, image, size=None):
    """What the network sees of the stretched picture, float64 (3, s, s)."""
    crops = whole_image(image, size or encoder.image_size)
    return encoder.pixel_values(crops)[0].double().numpy()


def resnet_places(encoder, pixels):
    """The map of layer4 (h, w, c), by the library's own way."""
    found = encoder.model.visual.forward_intermediates(
        torch.from_numpy(pixels).float()[None], indices=[4], intermediates_only=True
    )
    return found["image_intermediates"][0][0].detach().permute(1, 2, 0).double().numpy()


# Score Map


def projected(encoder, places, biases=True):
    weights = slow.Weights(encoder.model.visual.attnpool.state_dict())
    v = np.array([[weights("v_proj.weight") @ p for p in row] for row in places])
    v = v + weights("v_proj.bias") if biases else v
    out = np.array([[weights("c_proj.weight") @ p for p in row] for row in v])
    return out + weights("c_proj.bias") if biases else out


def test_score_map(picture, masks):
    encoder = small_clip("resnet")
    places = slow.unit(projected(encoder, resnet_places(encoder, pixels_of(encoder, picture))))
    cosines = np.array([[p @ text_of(encoder) for p in row] for row in places])
    wanted = slow.stretched(slow.bilinear(cosines, picture.shape[:2]))
    method = ScoreMap(encoder)
    heatmap = method.heatmap(picture, SENTENCE)
    assert heatmap.dtype == np.float32 and heatmap.shape == (60, 80)
    np.testing.assert_allclose(heatmap, wanted, **close)
    scores = method.score(scene_of(masks), SENTENCE, picture)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, [slow.mean_inside(wanted, m) for m in masks], **close)


def test_score_map_with_random_biases(picture):
    encoder = small_clip("resnet")
    own = ScoreMap(encoder).heatmap(picture, SENTENCE)
    first, second, again = (
        ScoreMap(encoder, ScoreMapConfig(bias_seed=seed)).heatmap(picture, SENTENCE)
        for seed in (1, 2, 1)
    )
    assert np.array_equal(first, again) and not np.allclose(first, second, atol=1e-3)
    assert not np.allclose(first, own, atol=1e-3)
    pool = encoder.model.visual.attnpool
    kept = {name: bias.detach().clone() for name, bias in pool.named_parameters() if "bias" in name}
    generator = torch.Generator().manual_seed(1)
    try:
        for layer in (pool.v_proj, pool.c_proj):  # in the order in which they are drawn
            draws = torch.rand(layer.out_features, generator=generator)
            layer.bias.data = (2 * draws - 1) / layer.in_features**0.5
        np.testing.assert_allclose(ScoreMap(encoder).heatmap(picture, SENTENCE), first, **close)
    finally:
        pool.load_state_dict(kept, strict=False)


# Grad-CAM


class Similarity(torch.nn.Module):
    """Cosine with one text, as a classifier of one class."""

    def __init__(self, encoder):
        super().__init__()
        self.model = encoder.model
        self.text = torch.from_numpy(text_of(encoder)).float()

    def forward(self, pixels):
        return self.model.encode_image(pixels, normalize=True) @ self.text[:, None]


@pytest.mark.parametrize("kind,block", [("resnet", -1), ("vit", -1), ("vit", 1)])
def test_grad_cam_is_that_of_the_package(kind, block, rng):
    from pytorch_grad_cam import GradCAM

    encoder = small_clip(kind)
    visual, size = encoder.model.visual, encoder.image_size
    if kind == "vit":
        layer = visual.transformer.resblocks[block].ln_1

        def grid(tokens):
            return tokens[:, 1:].reshape(1, 4, 4, -1).permute(0, 3, 1, 2)
    else:
        layer, grid = visual.layer4, None
    method = GradCam(encoder, GradCamConfig(block=block))
    seen = 0
    for _ in range(3):
        image = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
        pixels = torch.from_numpy(pixels_of(encoder, image)).float()[None]
        with GradCAM(Similarity(encoder), [layer], reshape_transform=grid) as cam:
            wanted = cam(pixels, [lambda output: output[0]])[0]
        np.testing.assert_allclose(method.heatmap(image, SENTENCE), wanted, **close)
        seen += wanted.max() > 0.5
    assert seen  # a map of nothing but zeros would prove little


def test_grad_cam_leaves_no_trace_in_the_model(picture):
    encoder = small_clip("resnet")
    encoder.model.zero_grad()
    before = encoder.encode_images(whole_image(picture, encoder.image_size))
    first = GradCam(encoder).heatmap(picture, SENTENCE)
    assert all(p.grad is None for p in encoder.model.visual.parameters())
    assert not encoder.model.visual.layer4._forward_hooks
    assert np.array_equal(before, encoder.encode_images(whole_image(picture, encoder.image_size)))
    with torch.inference_mode():  # a caller's mode must not matter
        assert np.array_equal(first, GradCam(encoder).heatmap(picture, SENTENCE))


# Region Token


@pytest.mark.parametrize("bias", [-100.0, -2.0])
def test_region_token(picture, masks, bias):
    encoder = small_clip("vit")
    vit, pixels = slow.Vit(encoder.model.visual), pixels_of(encoder, picture)
    tokens = np.array([slow.region_token(vit, pixels, mask, bias) for mask in masks])
    method = RegionToken(encoder, RegionTokenConfig(outside_bias=bias))
    np.testing.assert_allclose(method.embed_masks(picture, masks), tokens, rtol=0, atol=1e-5)
    scores = method.score(scene_of(masks), SENTENCE, picture)
    np.testing.assert_allclose(scores, slow.unit(tokens) @ text_of(encoder), **close)


# CLIP-Surgery


def surgery_tokens(encoder, kind, pixels, blocks):
    visual = encoder.model.visual
    if kind == "vit":
        return slow.vit_surgery(slow.Vit(visual), pixels, blocks)
    return slow.resnet_surgery(visual.attnpool, resnet_places(encoder, pixels))


@pytest.mark.parametrize("kind,size", [("vit", 32), ("vit", 48), ("resnet", 96), ("resnet", 128)])
@pytest.mark.parametrize("others", [(), ("dog", "blue car")])
def test_clip_surgery(kind, size, others, picture, masks):
    encoder = small_clip(kind)
    blocks = 2
    tokens = slow.unit(surgery_tokens(encoder, kind, pixels_of(encoder, picture, size), blocks))
    texts = [
        slow.unit(np.mean([text_of(encoder, t.format(text)) for t in prompt_templates()], axis=0))
        for text in (SENTENCE.text, *(others or [""]))
    ]
    flat = slow.surgery_map(tokens, texts if others else texts[:1], None if others else texts[1])
    side = round(len(flat) ** 0.5)
    wanted = slow.bilinear(slow.stretched(flat).reshape(side, side), picture.shape[:2])
    config = ClipSurgeryConfig(blocks=blocks, image_size=size, others=others)
    method = ClipSurgery(encoder, config)
    np.testing.assert_allclose(method.heatmap(picture, SENTENCE), wanted, **close)
    scores = method.score(scene_of(masks), SENTENCE, picture)
    np.testing.assert_allclose(scores, [slow.mean_inside(wanted, m) for m in masks], **close)


def test_the_templates_are_85():
    assert len(set(prompt_templates())) == 85
    assert all(template.count("{}") == 1 for template in prompt_templates())


def test_without_an_ensemble_the_encoders_template_is_used():
    encoder = small_clip("vit")
    method = ClipSurgery(encoder, ClipSurgeryConfig(ensemble=False))
    method.prepare([SENTENCE])
    np.testing.assert_allclose(method._texts(SENTENCE), text_of(encoder), **close)


# Global-Local


STATISTICS = {"encoder": (CLIP_MEAN_RGB, CLIP_STD_RGB), "imagenet": (IMAGENET_MEAN, IMAGENET_STD)}


def raw_text(encoder, text):
    with torch.inference_mode():
        return encoder.model.encode_text(encoder.tokenize([text]))[0].double().numpy()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("statistics", STATISTICS)
@pytest.mark.parametrize("fill_normalised", [True, False])
@pytest.mark.parametrize("norms", ["article", "released"])
def test_global_local(kind, statistics, fill_normalised, norms, picture, masks):
    encoder, masks = small_clip(kind), masks[:3]
    visual, size = encoder.model.visual, encoder.image_size
    mean, std = (np.array(values) for values in STATISTICS[statistics])
    normalised = (picture / 255 - mean) / std
    fill = np.array(IMAGENET_MEAN)
    fill = fill if fill_normalised else (fill - mean) / std
    pixels = slow.bilinear(normalised, (size, size)).transpose(2, 0, 1)
    visuals = []
    for mask in masks:
        crop = slow.filled_crop(normalised, mask, fill, size).transpose(2, 0, 1)
        if kind == "vit":
            vit = slow.Vit(visual)
            around = slow.global_vit(vit, pixels, mask, masked_blocks=2)
            x = vit.tokens(crop)
            for block in vit.blocks:
                x = vit.run(block, x)
            local = vit.out(x[0])
        else:
            around = slow.global_resnet(visual.attnpool, resnet_places(encoder, pixels), mask)
            local = slow.unit(slow.pooled(visual.attnpool, resnet_places(encoder, crop)))
        visuals.append(0.7 * around + 0.3 * local)
    texts = [raw_text(encoder, text) for text in ("the red car on the left", "the red car")]
    if kind == "resnet" and norms == "released":
        wanted = [v @ (0.5 * slow.unit(texts[0]) + 0.5 * slow.unit(texts[1])) for v in visuals]
    else:
        text = slow.unit(0.5 * texts[0] + 0.5 * texts[1])
        wanted = [slow.unit(v) @ text for v in visuals]
    square = SquareConfig(interpolation="bilinear", antialias=False, statistics=statistics)
    config = GlobalLocalConfig(
        v=0.7, masked_blocks=2, square=square, fill_normalised=fill_normalised, norms=norms
    )
    method = GlobalLocal(encoder, config)
    loud = expression("The red CAR on the left")
    assert loud.phrase.lower() == "the red car"
    np.testing.assert_allclose(method.score(scene_of(masks), loud, picture), wanted, **close)
