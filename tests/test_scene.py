"""describe() with small random networks of the real architectures, and its parts."""

import numpy as np
import pytest
import small_models

from tasutils.captioners import CaptionerConfig, clean_caption
from tasutils.captioners.image_to_text import ImageToTextCaptioner
from tasutils.config import load_preset
from tasutils.encoders import EncoderConfig
from tasutils.encoders.openclip import OpenClipEncoder
from tasutils.errors import TasError
from tasutils.scene import STAGES
from tasutils.tas import TAS, load, pick_device


@pytest.fixture(scope="session")
def encoder(tmp_path_factory):
    path = small_models.write_clip(tmp_path_factory.mktemp("clip"))
    return OpenClipEncoder(EncoderConfig(model="test-ViT", checkpoint=str(path)))


@pytest.fixture(scope="session")
def captioner(tmp_path_factory):
    folder = small_models.write_blip2(tmp_path_factory.mktemp("blip2"))
    return ImageToTextCaptioner(
        CaptionerConfig(checkpoint=str(folder), num_beams=3, max_new_tokens=6)
    )


class WordChunks:
    """Every word is a noun phrase."""

    def noun_chunks(self, text, pronouns=False):
        return text.split()


class FixedCaptioner:
    image_size, device = 20, "cpu"

    def __init__(self, *captions):
        self.captions = captions

    def caption(self, crops):
        assert crops.shape[1:] == (3, 20, 20)
        return [self.captions[index % len(self.captions)] for index in range(len(crops))]


def make_tas(encoder, captioner, masks):
    return TAS(load_preset("tiny"), lambda image: masks, encoder, captioner, WordChunks(), "cpu")


def test_describe(encoder, picture, masks):
    captions = FixedCaptioner("a red car a red car ", "a photo of", "dog")
    scene = make_tas(encoder, captions, masks).describe(picture, "picture 7")
    assert scene.image_id == "picture 7" and scene.size_hw == (60, 80)
    assert scene.crop_embeddings.shape == scene.caption_embeddings.shape == (3, encoder.dim)
    assert np.allclose(np.linalg.norm(scene.crop_embeddings, axis=1), 1, atol=1e-3)
    assert scene.captions == ["a red car", "", "dog"]
    assert scene.captions_raw == ["a red car a red car ", "a photo of", "dog"]
    assert not scene.caption_embeddings[1].any(), "an empty caption says nothing: P = 0"
    assert np.allclose(scene.caption_embeddings[2], encoder.encode_text(["dog"])[0], rtol=1e-3)
    assert scene.image_caption == "a red car" and scene.phrases == ["a", "red", "car"]
    assert scene.phrase_embeddings.shape == (3, encoder.dim)
    assert tuple(scene.times_s) == STAGES and min(scene.times_s.values()) >= 0
    assert scene.describe_digest == load_preset("tiny").describe_digest()


def test_permuted_masks_permute_the_scene(encoder, captioner, picture, masks):
    a = make_tas(encoder, captioner, masks).describe(picture)
    b = make_tas(encoder, captioner, masks[::-1]).describe(picture)
    np.testing.assert_array_equal(a.crop_embeddings, b.crop_embeddings[::-1])
    assert a.captions == b.captions[::-1]


def test_empty_scene(encoder, captioner, picture, masks):
    scene = make_tas(encoder, captioner, masks[:0]).describe(picture)
    assert len(scene.proposals) == 0
    assert scene.crop_embeddings.shape == scene.caption_embeddings.shape == (0, encoder.dim)
    assert scene.captions == scene.captions_raw == []
    silent = make_tas(encoder, FixedCaptioner(""), masks).describe(picture)
    assert silent.phrases == [] and silent.phrase_embeddings.shape == (0, encoder.dim)
    assert np.isfinite(silent.caption_embeddings).all()


def test_parts_are_lazy_and_missing_weights_are_named(tmp_path):
    tas = load("paper", device="cpu")
    assert "proposer" not in tas.__dict__
    for part in ("proposer", "encoder", "captioner"):
        with pytest.raises(TasError, match="GB") as error:
            getattr(tas, part)
        assert "\n" not in str(error.value) and "tas models get" in str(error.value)


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta", "", "cpu cpu"])
def test_unknown_device(name):
    with pytest.raises(TasError, match="choose cpu"):
        pick_device(name)
