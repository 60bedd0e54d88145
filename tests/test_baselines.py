"""The peer methods: against slow, plainly written versions and the package grad-cam; by name."""

import numpy as np
import pytest
import slow_peers as slow
import torch
from small_peers import (
    NAMES,
    PEERS,
    SENTENCES,
    TINY,
    expression,
    full_scene,
    random_masks,
    scene_of,
    small_clip,
    small_tas,
)  # fmt: skip

from tasutils.baselines import answers_of, base, global_local, make_method, maps
from tasutils.config import load_preset
from tasutils.crops import CLIP_MEAN_RGB, CLIP_STD_RGB, whole_image
from tasutils.errors import TasError
from tasutils.language.parse import Parser
from tasutils.refer import Answer, parse_expression
from tasutils.tas import TAS

SENTENCE = expression()
close = {"rtol": 0, "atol": 1e-5}


@pytest.fixture
def five(rng):
    return random_masks(rng, 5, (60, 80))


def scores_of(method, scene, expression, picture):
    return answers_of(method, scene, [expression], picture)[0].total


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


def test_score_map_with_random_biases(picture):
    encoder = small_clip("resnet")
    own = maps.ScoreMap(encoder).heatmap(picture, SENTENCE)
    first, second, again = (
        maps.ScoreMap(encoder, maps.ScoreMapConfig(bias_seed=seed)).heatmap(picture, SENTENCE)
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
        np.testing.assert_allclose(
            maps.ScoreMap(encoder).heatmap(picture, SENTENCE), first, **close
        )
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
    method = maps.GradCam(encoder, maps.GradCamConfig(block=block))
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
    first = maps.GradCam(encoder).heatmap(picture, SENTENCE)
    assert all(p.grad is None for p in encoder.model.visual.parameters())
    assert not encoder.model.visual.layer4._forward_hooks
    assert np.array_equal(before, encoder.encode_images(whole_image(picture, encoder.image_size)))
    with torch.inference_mode():  # a caller's mode must not matter
        assert np.array_equal(first, maps.GradCam(encoder).heatmap(picture, SENTENCE))


# Region Token


@pytest.mark.parametrize(("bias", "padding"), [(-100.0, 0), (-2.0, 0), (-100.0, 3)])
def test_region_token(picture, five, bias, padding):
    encoder = small_clip("vit")
    vit, pixels = slow.Vit(encoder.model.visual), pixels_of(encoder, picture)
    pixels = np.pad(pixels, [(0, 0), (padding, padding), (padding, padding)])
    tokens = np.array([slow.region_token(vit, pixels, mask, bias) for mask in five])
    method = global_local.RegionToken(
        encoder, global_local.RegionTokenConfig(outside_bias=bias, padding_px=padding)
    )
    np.testing.assert_allclose(method.embed_masks(picture, five), tokens, rtol=0, atol=1e-5)
    scores = method.score(scene_of(five), SENTENCE, picture)
    np.testing.assert_allclose(scores, slow.unit(tokens) @ text_of(encoder), **close)


# CLIP-Surgery


def surgery_tokens(encoder, kind, pixels, blocks):
    visual = encoder.model.visual
    if kind == "vit":
        return slow.vit_surgery(slow.Vit(visual), pixels, blocks)
    return slow.resnet_surgery(visual.attnpool, resnet_places(encoder, pixels))


@pytest.mark.parametrize(
    ("kind", "size", "others", "ensemble"),
    [
        ("vit", 32, (), True),
        ("vit", 48, (), False),
        ("vit", 48, ("dog", "blue car"), True),
        ("resnet", 96, ("dog", "blue car"), True),
        ("resnet", 128, (), True),
    ],
)
def test_clip_surgery(kind, size, others, ensemble, picture, five):
    encoder, blocks = small_clip(kind), 2
    templates = maps.prompt_templates() if ensemble else ("a {}",)
    tokens = slow.unit(surgery_tokens(encoder, kind, pixels_of(encoder, picture, size), blocks))
    texts = [
        slow.unit(np.mean([text_of(encoder, t.format(text)) for t in templates], axis=0))
        for text in (SENTENCE.text, *(others or [""]))
    ]
    flat = slow.surgery_map(tokens, texts if others else texts[:1], None if others else texts[1])
    side = round(len(flat) ** 0.5)
    wanted = slow.bilinear(slow.stretched(flat).reshape(side, side), picture.shape[:2])
    config = maps.ClipSurgeryConfig(
        blocks=blocks, image_size=size, others=others, ensemble=ensemble
    )
    method = maps.ClipSurgery(encoder, config)
    np.testing.assert_allclose(method.heatmap(picture, SENTENCE), wanted, **close)
    scores = method.score(scene_of(five), SENTENCE, picture)
    np.testing.assert_allclose(scores, [slow.mean_inside(wanted, m) for m in five], **close)


# Global-Local


STATISTICS = {
    "encoder": (CLIP_MEAN_RGB, CLIP_STD_RGB),
    "imagenet": (base.IMAGENET_MEAN, base.IMAGENET_STD),
}


def raw_text(encoder, text):
    with torch.inference_mode():
        return encoder.model.encode_text(encoder.tokenize([text]))[0].double().numpy()


@pytest.mark.parametrize(
    ("kind", "statistics", "fill_normalised", "norms"),
    [
        ("vit", "encoder", True, "released"),
        ("vit", "imagenet", True, "article"),
        ("vit", "imagenet", False, "released"),
        ("resnet", "encoder", True, "released"),
        ("resnet", "encoder", True, "article"),
        ("resnet", "imagenet", False, "released"),
    ],
)
def test_global_local(kind, statistics, fill_normalised, norms, picture, five):
    encoder, three = small_clip(kind), five[:3]
    visual, size = encoder.model.visual, encoder.image_size
    mean, std = (np.array(values) for values in STATISTICS[statistics])
    normalised = (picture / 255 - mean) / std
    fill = np.array(base.IMAGENET_MEAN)
    fill = fill if fill_normalised else (fill - mean) / std
    pixels = slow.bilinear(normalised, (size, size)).transpose(2, 0, 1)
    visuals = []
    for mask in three:
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
    square = base.SquareConfig(interpolation="bilinear", antialias=False, statistics=statistics)
    config = global_local.GlobalLocalConfig(
        v=0.7, masked_blocks=2, square=square, fill_normalised=fill_normalised, norms=norms
    )
    method = global_local.GlobalLocal(encoder, config)
    assert global_local.GlobalLocalConfig().norms == "released"
    loud = expression("The red CAR on the left")
    assert loud.phrase.lower() == "the red car"
    np.testing.assert_allclose(method.score(scene_of(three), loud, picture), wanted, **close)


# what holds of every method


@pytest.mark.parametrize("name", [name for name in PEERS if name != "hybridgl"])  # it ranks them
def test_masks_do_not_meddle(name, picture, rng):
    masks = random_masks(rng, 7, (60, 80))
    method = make_method(name, small_tas())
    scores = scores_of(method, scene_of(masks), SENTENCES[0], picture)
    order = rng.permutation(7)
    again = scores_of(method, scene_of(masks[order]), SENTENCES[0], picture)
    np.testing.assert_allclose(again, scores[order], rtol=0, atol=1e-6)
    for number in (0, 3):
        alone = scores_of(method, scene_of(masks[[number]]), SENTENCES[0], picture)
        np.testing.assert_allclose(alone, scores[[number]], rtol=0, atol=1e-6)
    assert np.ptp(scores) > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_no_masks_empty_masks_and_tiny_ones(name, picture, rng):
    """No number is missing or not finite."""
    method, masks = make_method(name, small_tas()), np.zeros((3, 60, 80), bool)
    masks[1, 59, 79] = masks[2] = True
    for n in (0, 3):
        scores = scores_of(method, full_scene(rng, masks[:n]), SENTENCES[0], picture)
        assert scores.shape == (n,) and scores.dtype == np.float64 and np.isfinite(scores).all()
    with pytest.raises(TasError, match="give the uint8"):
        scores_of(method, scene_of(masks.transpose(0, 2, 1)), SENTENCES[0], picture)


@pytest.mark.parametrize("name", PEERS)
def test_pictures_are_seen_once_and_never_confused(name, picture, masks):
    """The towers' first layers run a fixed number of times, however many sentences come."""
    tas, scene = small_tas(), scene_of(masks)
    method, runs = make_method(name, tas), []
    count = method.encoder.model.visual.conv1.register_forward_hook(lambda *_: runs.append(1))
    try:
        first = [scores_of(method, scene, s, picture) for s in SENTENCES]
        once = len(runs)
        method.prepare(SENTENCES)
        assert [list(scores_of(method, scene, s, picture)) for s in SENTENCES] == [
            list(f) for f in first
        ]
        assert len(runs) == once <= 2  # Global-Local sees the picture and, in one batch, the crops
        drawn = picture.copy()
        scores_of(method, scene, SENTENCES[0], drawn)
        drawn[:, :40] = 255 - drawn[:, :40]  # drawn upon in place
        changed = scores_of(method, scene, SENTENCES[0], drawn)
        assert len(runs) == 2 * once
    finally:
        count.remove()
    fresh = scores_of(make_method(name, tas), scene, SENTENCES[0], drawn)
    assert np.array_equal(changed, fresh) and not np.allclose(changed, first[0], atol=1e-4)


def test_a_mask_over_everything_gives_the_pictures_embedding(picture):
    encoder = small_clip("vit")
    whole = np.ones((1, 60, 80), bool)
    token = global_local.RegionToken(encoder).embed_masks(picture, whole)
    token /= np.linalg.norm(token)
    plain = encoder.encode_images(whole_image(picture, encoder.image_size))
    np.testing.assert_allclose(token, plain, rtol=0, atol=1e-5)


def test_columns_of_the_table(picture, rng):
    scene = full_scene(rng, random_masks(rng, 6, (60, 80)))
    for changes in ({}, {"scores.logit_scale": True}, {"encoder.template": "see a {}"}):
        tas = TAS(TINY.override(changes), encoder=small_clip("vit"), language=Parser())
        for text in ("the red car on the left", "dog", "bottle at the bottom right"):
            answer = tas.refer(scene, text, dataset="refscenesg")
            table, read = answer.table(), parse_expression(text, tas.language, tas.preset)
            for name, column in (("clip_only", "v"), ("text_only", "p")):
                scores = make_method(name, tas).score(scene, read, picture)
                np.testing.assert_allclose(scores, table[column], rtol=0, atol=1e-5)
            (same,) = answers_of(make_method("tas", tas, "refscenesg"), scene, [read], picture)
            assert same.chosen == answer.chosen and np.array_equal(same.rank, answer.rank)


# squares


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("antialias", [True, False])
def test_squares_are_torchvisions(interpolation, antialias, picture, masks):
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import resize

    encoder = small_clip("vit")
    config = base.SquareConfig(
        interpolation=interpolation, antialias=antialias, statistics="imagenet"
    )
    seen = encoder.pixel_values(base.square_picture(picture, encoder, config))[0]
    planes = torch.from_numpy(picture).permute(2, 0, 1) / 255
    wanted = resize(planes, [32, 32], InterpolationMode(interpolation), antialias=antialias)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    wanted = (wanted.clamp(0, 1) - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(seen, wanted, rtol=0, atol=1e-5)
    soft = base.masks_on_grid(masks, (7, 7), "cpu", mode="bilinear", antialias=antialias)
    torch.testing.assert_close(
        soft, resize(torch.from_numpy(masks).float(), [7, 7], antialias=antialias)
    )


# names and refusals


class Blind:
    """An encoder without places, gradients or a tower."""

    dim, image_size, device = 24, 32, "cpu"

    def encode_images(self, crops):
        return np.ones((len(crops), self.dim), np.float32)

    def encode_text(self, texts):
        return np.ones((len(texts), self.dim), np.float32)


def test_published_weights_by_data_set():
    tas = small_tas()
    assert make_method("global_local", tas, "refcocog").settings["v"] == 0.85
    assert make_method("global_local", tas, "refcoco").settings["v"] == 0.95
    assert make_method("global_local", tas, "refcocog", v=0.5).settings["v"] == 0.5
    weights = TINY.weights("refscenesg")
    assert make_method("tas", tas, "refscenesg").settings["weights"] == weights


@pytest.mark.parametrize("name", PEERS)
def test_an_encoder_without_what_is_needed_is_refused(name):
    with pytest.raises(TasError, match="choose|give it") as error:
        make_method(name, TAS(load_preset("photo"), encoder=Blind()))
    assert "\n" not in str(error.value) and "Blind" in str(error.value)
    if name.endswith(("_rn", "_vit")):  # which says the tower
        other = small_clip("vit" if name.endswith("_rn") else "resnet")
        with pytest.raises(TasError, match=f"{name} cannot use .*(RN50|ViT-B)"):
            make_method(name, small_tas(encoder=other, peer_encoder=other))


@pytest.mark.parametrize(
    ("name", "switches", "what"),
    [
        ("gradcam", {}, "'gradcam' is none of METHODS: choose tas"),
        ("global_local", {"v": 2}, "global_local: v:"),
        ("global_local", {"w": 2}, "global_local: w:"),
        ("score_map", {"square": {"antialias": "perhaps"}}, "score_map: square.antialias:"),
        ("clip_only", {"alpha": 1}, "method clip_only: alpha:"),
        ("tas", {"alpha": 1}, "method tas: alpha:"),
        ("clip_surgery", {"image_size": 33}, "33 is no multiple of 8"),
        ("clip_surgery_rn", {"image_size": 100}, "no multiple of 32"),
        ("grad_cam_vit", {"block": 4}, "there is no block 4; the last is 3"),
        ("region_token", {"padding_px": 4}, "choose less than half of 8 px"),
        ("score_map_vit", {"bias_seed": 1}, "with bias_seed cannot use encoder"),
    ],
)
def test_wrong_names_and_switches(name, switches, what):
    with pytest.raises(TasError, match=what) as error:
        make_method(name, small_tas(), **switches)
    assert "\n" not in str(error.value)


def test_peer_encoder_of_presets():
    assert load_preset("paper").peer_encoder.model == "RN50-quickgelu"
    other = TINY.override({"peer_encoder.checkpoint": "tiny/none.safetensors"})
    assert other.describe_digest() == TINY.describe_digest() and other.digest() != TINY.digest()
    with pytest.raises(TasError, match="peer_encoder.checkpoint is not at"):
        TAS(other).peer_encoder  # noqa: B018
    with pytest.raises(TasError, match="preset photo has no peer_encoder"):
        TAS(load_preset("photo")).peer_encoder  # noqa: B018


# a method of one's own


@pytest.mark.parametrize(
    ("kind", "given", "what"),
    [
        ("answer", lambda scene, e: [], "one Answer for each of 1"),
        ("answer", lambda scene, e: ["left"], "one Answer for each of 1"),
        ("answer", lambda scene, e: [Answer(e, scene, (3,))], r"chose masks \(3,\) of 3"),
        (
            "answer", lambda scene, e: [Answer(e, scene, (), own_mask={"size": [6, 8]})],
            r"mask of \(6, 8\)",
        ),
        ("score", lambda scene, e: [1.0], "each of the 3 masks"),
        ("score", lambda scene, e: [np.nan, 1, 2], "1 not finite"),
        ("score", lambda scene, e: [[1, 2, 3]], r"not \(1, 3\)"),
        ("nothing", None, "neither answer"),
    ],
)  # fmt: skip
def test_other_answers_are_refused_in_one_line(kind, given, what, picture, masks):
    class Wrong:
        name = "wrong"

    setattr(
        Wrong, kind, lambda self, scene, e, image: given(scene, e[0] if isinstance(e, list) else e)
    )
    with pytest.raises(TasError, match=f"method wrong .*{what}") as error:
        answers_of(Wrong(), scene_of(masks), SENTENCES[:1], picture)
    assert "\n" not in str(error.value)
