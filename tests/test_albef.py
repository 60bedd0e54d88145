"""ALBEF: the published keys, a slow second version of both towers, both layouts, bad files."""

from pathlib import Path

import numpy as np
import pytest
import small_models
import torch
from slow_networks import Weights, bert_states, resized, vit_tokens

from tasutils.config import ComputeConfig
from tasutils.crops import CLIP_MEAN_RGB, CLIP_STD_RGB
from tasutils.encoders import AlbefConfig, albef
from tasutils.encoders.albef import (
    WORDS,
    AlbefEncoder,
    build_albef,
    plain_words,
    read_albef,
    resize_positions,
)
from tasutils.errors import TasError

SIDE = 48  # px; a 3 x 3 grid
TEXTS = ["the red car", "A dog, on the left!", "", "x" * 70, "T-shirt & 2/3 of it", "dog " * 50]


@pytest.mark.parametrize(("name", "side"), [("albef_keys", 384), ("albef_pretrain_keys", 256)])
def test_every_published_key_is_accounted_for(name, side, monkeypatch):
    published = small_models.published_shapes(name)
    with torch.device("meta"):
        ours = build_albef(side).state_dict()
        state = {key: torch.empty(size) for key, size in published.items()}
        monkeypatch.setattr(albef, "read_state_dict", lambda path: state)
        needed = read_albef(Path("published"), side)
    assert {k: v.shape for k, v in needed.items()} == {k: v.shape for k, v in ours.items()}


# --- a small ALBEF ---


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tmp_path_factory.mktemp("albef")


@pytest.fixture(scope="module")
def shape(files):
    return small_models.write_albef(files, SIDE)


@pytest.fixture(scope="module")
def words(files, shape):
    return files, shape.vocabulary


def make(files, words, shape, layout="retrieval", image_size=SIDE, **settings):
    config = AlbefConfig(
        checkpoint=str(files / f"{layout}.pth"), tokenizer=str(words[0]), image_size=image_size
    )
    return AlbefEncoder(config, shape=shape, **settings)


@pytest.fixture(scope="module")
def encoder(files, words, shape):
    return make(files, words, shape)


def crops_of(seed, n, side=SIDE):
    return torch.rand((n, 3, side, side), generator=torch.Generator().manual_seed(seed))


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_images_are_the_slow_one(encoder, shape):
    weights = Weights(encoder.model.state_dict())
    crops = crops_of(0, 2)
    embeddings, places = encoder.encode_images(crops), encoder.encode_dense(crops)
    assert embeddings.shape == (2, 16) and places.shape == (2, 3, 3, 16)
    assert embeddings.dtype == places.dtype == np.float32
    mean, std = np.array(CLIP_MEAN_RGB), np.array(CLIP_STD_RGB)
    for crop, embedding, grid in zip(crops.double().numpy(), embeddings, places, strict=True):
        pixels = (crop - mean[:, None, None]) / std[:, None, None]
        tokens = vit_tokens(weights.at("visual_encoder"), pixels, 16, shape.heads, 2)
        slow = unit(weights.linear(tokens, "vision_proj"))
        assert np.abs(embedding - slow[0]).max() < 1e-5
        assert np.abs(grid.reshape(9, 16) - slow[1:]).max() < 1e-5


def test_the_whole_text_is_counted(encoder):
    assert encoder.n_tokens("dog") < encoder.context_length == 30 < encoder.n_tokens("dog " * 40)


def test_texts_are_the_slow_one(encoder, shape):
    weights = Weights(encoder.model.state_dict())
    for text, embedding in zip(TEXTS, encoder.encode_text(TEXTS), strict=True):
        ids = encoder.tokenizer(plain_words(text))["input_ids"]
        ids = ids if len(ids) <= WORDS else [*ids[: WORDS - 1], ids[-1]]
        states = bert_states(weights.at("text_encoder"), ids, shape.heads, shape.fusion_layer)
        slow = unit(weights.linear(states[0], "text_proj"))
        assert np.abs(embedding - slow).max() < 1e-5


def test_both_layouts_are_one_encoder(encoder, files, words, shape):
    other = make(files, words, shape, "pretraining")
    crops = crops_of(1, 3)
    for a, b in (
        (encoder, other),
        (other, make(files, words, shape, compute=ComputeConfig(crop_batch=2, text_batch=2))),
    ):
        assert np.abs(a.encode_images(crops) - b.encode_images(crops)).max() < 1e-6
        assert np.abs(a.encode_text(TEXTS) - b.encode_text(TEXTS)).max() < 1e-6


def test_positions_are_resized():
    positions = torch.randn(1, 10, 5)
    for side in (1, 2, 4, 7):
        found = resize_positions(positions, side)
        slow = resized(positions[0, 1:].reshape(3, 3, 5).double().numpy(), side).reshape(-1, 5)
        assert torch.equal(found[:, 0], positions[:, 0])
        assert np.abs(found[0, 1:].numpy() - slow).max() < 1e-5
    assert torch.equal(resize_positions(positions, 3), positions)


def test_another_size_of_pictures_and_nothing_to_encode(encoder, files, words, shape):
    wide = make(files, words, shape, image_size=64)
    assert wide.encode_dense(crops_of(2, 2, 64)).shape == (2, 4, 4, 16)
    state = read_albef(files / "retrieval.pth", 64, shape)
    assert state["visual_encoder.pos_embed"].shape == (1, 17, 32)
    assert encoder.encode_images(crops_of(0, 0)).shape == (0, 16)
    assert encoder.encode_dense(crops_of(0, 0)).shape == (0, 3, 3, 16)
    assert encoder.encode_text([]).shape == (0, 16)


def test_words_as_albef_reads_them():
    for text, plain in {
        "The Man's RED car.": "the mans red car",
        'a T-shirt/jacket; "so" (blue)': "a t shirt jacket so blue",
        "  left\n of <person>: #2 ~ * ! ?": "left of person 2",
        "red & $5 [sic] {x} ü": "red & $5 [sic] {x} ü",
        "": "",
        "w " * 40: " ".join("w" * 30),
    }.items():
        assert plain_words(text) == plain


# --- bad files ---


def refused(files, words, shape, match, **settings):
    with pytest.raises(TasError, match=match) as error:
        make(files, words, shape, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def written(state, tmp_path):
    torch.save(state, tmp_path / "retrieval.pth")
    return tmp_path


def test_the_file_must_fit(files, words, shape, tmp_path):
    state = torch.load(files / "retrieval.pth")["model"]
    del state["text_encoder.embeddings.word_embeddings.weight"]
    state["stranger"] = torch.zeros(1)
    state["text_encoder.encoder.layer.x.weight"] = torch.zeros(1)
    state["vision_proj.weight"] = torch.zeros(3, 3)
    faults = "1 missing .*word_embed.*2 unexpected .*stranger.*1 of other shape .*vision_proj"
    refused(written({"model": state}, tmp_path), words, shape, faults)
    for size in ((3,), (1, 7, 32), (1, 0, 32)):
        odd = {"model": {"visual_encoder.pos_embed": torch.zeros(size)}}
        refused(written(odd, tmp_path), words, shape, "of other shape")
    refused(tmp_path, words, shape, "no weights at", layout="absent")


def test_tokenizer_missing_or_another(files, words, shape, tmp_path):
    refused(files, (tmp_path / "absent", 0), shape, "no tokenizer folder")
    refused(files, (tmp_path, 0), shape, "no usable tokenizer")
    (tmp_path / "vocab.txt").write_text("\n".join([*small_models.SPECIAL, "a", "dog"]))
    refused(files, (tmp_path, 0), shape, f"7 entries, ALBEF's {words[1]}")
