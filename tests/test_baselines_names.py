"""The peer methods by name: encoders that fit, refusals, ALIGN, one of one's own, tiny weights."""

import inspect

import numpy as np
import pytest
import small_models
import torch
from small_peers import (
    NAMES,
    PEERS,
    SENTENCES,
    TINY,
    expression,
    scene_of,
    small_clip,
    small_tas,
)  # fmt: skip

from tasutils.baselines import ActivationMethod, Method, make_method, scores_of
from tasutils.baselines.grad_cam import GradCam
from tasutils.baselines.score_map import ScoreMap
from tasutils.colors import COLORS, color_shares
from tasutils.config import load_preset
from tasutils.crops import whole_image
from tasutils.datasets import load_dataset
from tasutils.encoders.align import AlignEncoder
from tasutils.errors import TasError
from tasutils.expression import parse_expression
from tasutils.images import read_image
from tasutils.loading import TAS
from tasutils.parts import AlignConfig


class Blind:
    """An encoder without places, gradients or a tower."""

    dim, image_size, device = 24, 32, "cpu"

    def encode_images(self, crops):
        return np.ones((len(crops), self.dim), np.float32)

    def encode_text(self, texts):
        return np.ones((len(texts), self.dim), np.float32)


# names and refusals


def test_every_name_gives_its_method():
    tas = small_tas()
    for name in NAMES:
        method = make_method(name, tas)
        assert isinstance(method, Method) and method.name == name
        is_map = name.startswith(("score_map", "grad_cam", "clip_surgery"))
        assert isinstance(method, ActivationMethod) == is_map
        resnet = name in {"score_map", "grad_cam"} or name.endswith("_rn")
        assert method.settings["encoder"] == ("peers-resnet" if resnet else "peers-vit")


def test_published_weights_by_data_set():
    tas = small_tas()
    assert make_method("global_local", tas, "refcocog").settings["v"] == 0.85
    assert make_method("global_local", tas, "refcoco").settings["v"] == 0.95
    assert make_method("global_local", tas, "refcocog", v=0.5).settings["v"] == 0.5
    lam = TINY.scores.lambda_for("refscenesg")
    assert make_method("tas", tas, "refscenesg").settings["lambda"] == lam


@pytest.mark.parametrize("name", PEERS)
def test_an_encoder_without_what_is_needed_is_refused(name):
    with pytest.raises(TasError, match="choose|give it") as error:
        make_method(name, TAS(load_preset("photo"), encoder=Blind()))
    assert "\n" not in str(error.value) and "Blind" in str(error.value)


@pytest.mark.parametrize("name", [n for n in PEERS if n.endswith(("_rn", "_vit"))])
def test_another_tower_is_refused_where_the_name_says_which(name):
    other = small_clip("vit" if name.endswith("_rn") else "resnet")
    with pytest.raises(TasError, match=f"{name} cannot use encoder peers-") as error:
        make_method(name, small_tas(encoder=other, peer_encoder=other))
    assert "RN50" in str(error.value) or "ViT-B" in str(error.value)


@pytest.mark.parametrize(
    ("name", "switches", "what"),
    [
        ("gradcam", {}, "no method 'gradcam'; there are tas"),
        ("", {}, "no method"),
        ("global_local", {"v": 2}, "global_local: v:"),
        ("global_local", {"w": 2}, "global_local: w:"),
        ("score_map", {"square": {"antialias": "perhaps"}}, "score_map: square.antialias:"),
        ("clip_only", {"alpha": 1}, "no switch 'alpha'"),
        ("clip_surgery", {"image_size": 33}, "33 is no multiple of 8"),
        ("clip_surgery_rn", {"image_size": 100}, "no multiple of 32"),
        ("grad_cam_vit", {"block": 4}, "there is no block 4"),
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


# encoders that are not of open_clip


def test_maps_of_align(tmp_path, picture, masks):
    encoder = AlignEncoder(
        AlignConfig(checkpoint=str(small_models.write_align(tmp_path / "align")))
    )
    tas = small_tas(encoder=encoder, peer_encoder=encoder)
    heatmap = ScoreMap(encoder).heatmap(picture, SENTENCES[1])
    assert make_method("score_map", tas).encoder is encoder
    assert heatmap.min() == 0 and heatmap.max() == 1
    crops = whole_image(picture, encoder.image_size)
    text = encoder.encode_text(["a dog"])[0]
    places = encoder.model.vision_model(encoder.pixel_values(crops, whole=True))
    places = places.last_hidden_state[0].detach().double().numpy()  # (d, h, w)
    mean = places.mean((1, 2))
    unit = mean / np.linalg.norm(mean)
    slope = (text - (unit @ text) * unit) / np.linalg.norm(mean)  # of the cosine, by hand
    cam = np.maximum(np.einsum("c,chw->hw", slope, places), 0)
    assert cam.max() > 0
    small = (cam - cam.min()) / (cam - cam.min()).max()
    large = torch.nn.functional.interpolate(
        torch.from_numpy(small)[None, None], (60, 80), mode="bilinear"
    )[0, 0].numpy()
    large = (large - large.min()) / np.ptp(large)
    found = GradCam(encoder).heatmap(picture, SENTENCES[1])
    np.testing.assert_allclose(found, large, rtol=0, atol=1e-3)
    with pytest.raises(TasError, match="region_token cannot use encoder align"):
        make_method("region_token", tas)


# a method of one's own


class Colored:
    """The mask with most pixels of a colour that the sentence names; without one, the largest."""

    name = "colored"

    def score(self, scene, expression, image):
        named = [word for word in expression.text.lower().split() if word in COLORS]
        if not named:
            return scene.proposals.areas_px.astype(float)
        column = COLORS.index(named[0])
        return np.array(
            [color_shares(image[mask] / 255)[column] for mask in scene.proposals.masks()]
        )


def test_a_method_of_ones_own(picture, masks):
    assert isinstance(Colored(), Method) and len(inspect.getsource(Colored).splitlines()) < 30
    scene = scene_of(masks)  # a red disc, a blue square, half of it
    for text, chosen in (("the red thing", 0), ("blue square", 1), ("thing", 0)):
        scores = scores_of(Colored(), scene, expression(text), picture)
        assert int(scores.argmax()) == chosen, text


# the tiny weights


@pytest.fixture(scope="module")
def tiny():
    return TAS(TINY, device="cpu")


@pytest.fixture(scope="module")
def first_sentences(tiny):
    """The first sentence of each of 20 val pictures: picture, expression, target."""
    data = load_dataset("refscenes", "val")
    firsts = [samples[0] for samples in list(data.by_image().values())[:20]]
    return [
        (
            read_image(data.image_path(sample.image_id)),
            parse_expression(sample.text, tiny.language, TINY),
            data.gt_mask(sample),
        )
        for sample in firsts
    ]


# not score_map_vit: patches of a ViT tell of the picture, not of their place (CLIP-Surgery, sec. 3)
@pytest.mark.parametrize(
    ("name", "switches"),
    [
        ("score_map", {}),
        ("grad_cam", {}),
        ("grad_cam_vit", {}),
        ("clip_surgery", {"ensemble": False}),
        ("clip_surgery_rn", {"ensemble": False}),
    ],
)
def test_maps_of_the_tiny_weights_find_things(name, switches, tiny, first_sentences):
    method = make_method(name, tiny, **switches)
    method.prepare([read for _, read, _ in first_sentences])
    inside, outside = [], []
    for image, read, target in first_sentences:
        heatmap = method.heatmap(image, read)
        assert heatmap.shape == target.shape and 0 <= heatmap.min() <= heatmap.max() <= 1
        inside.append(heatmap[target].mean())
        outside.append(heatmap[~target].mean())
    assert np.mean(inside) > np.mean(outside) + 0.02
